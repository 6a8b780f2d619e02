"""What "Fit the rest" asks the tuner: a budget, the desk's locks and ranges, and stored curves of damage. Imports no torch."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import streamlit as st

from analysis_cache.errors import StoreError
from dashboard.evidence.find import Evidence, find_evidence
from dashboard.limits import Limits
from toast_core.cost.shapes import ModelShape
from toast_core.schedule.compensation import FULL, NONE, Compensation
from toast_core.schedule.schedule import Schedule
from toast_core.schedule.sites import SITES
from toast_core.setup import Setup
from toast_core.studies.sketch.parts import is_compensated
from toast_core.studies.tasks.registry import task_of, task_of_row

UNITS = {"reduction": "% fewer MACs", "gmacs": "GMACs", "params": "M parameters"}
_LOOK_AGAIN_S = 20


@dataclass(frozen=True)
class BudgetRequest:
    """A budget in one of UNITS, the sites that may change, and whether what is dropped is made up for."""

    unit: str
    value: float
    sites: tuple[str, ...]
    compensated: bool

    @property
    def said(self) -> str:
        """For example `40 % fewer MACs`."""
        return f"{self.value:.4g} {UNITS[self.unit]}"

    def limit(self, shape: ModelShape) -> tuple[str, int]:
        """The budget as the tuner takes it: "macs" or "params", and how many at most.

        Raises:
            ScheduleError: the budget is not below the baseline's cost.
        """
        from toast_core.budget.words import read_budget

        scale = {"reduction": 0.01, "gmacs": 1.0, "params": 1e6}[self.unit]
        budget = read_budget(shape, **{self.unit: self.value * scale})
        return budget.unit, budget.limit


@dataclass(frozen=True)
class DamageCurves:
    """Rows of single sites with their damage and where they come from; no rows: `note` says what is missing.

    Damage is KL in nats, or the cosine distance of a model without a classifier.
    """

    rows: tuple[Mapping, ...]
    note: str


@st.cache_data(ttl=_LOOK_AGAIN_S, show_spinner=False)
def damage_curves(setup: Setup, model: str, compensated: bool) -> DamageCurves:
    """Curves of compensated cells where such are wanted and stored, which a tuning leaves, else the exact sensitivity analysis of
    calibrated selection; where those lack a site of a block, what another sketch predicts of it."""
    found = find_evidence(setup, model)
    own = [one for one in found.of("tuning_curves") if _fits(one, compensated)]
    swept = [one for one in found.of("sensitivity") if one.analysis.request.get("mode") == "exact" and one.selection == "calibrated"]
    sketched = [
        one for one in found.of("sketch")
        if one.finished and one.selection == "calibrated" and (compensated or not is_compensated(one.analysis.request))
    ]
    sketched.sort(key=lambda one: is_compensated(one.analysis.request) != compensated)
    try:
        refitted = [one for one in sketched if compensated and is_compensated(one.analysis.request)]
        measured, of = next(_rows_of((*own, *refitted, *swept)), ((), None))
        predicted, by = next(_rows_of(sketched), ((), None))
    except StoreError as error:
        return DamageCurves((), str(error))
    known = {(row["block"], row["site"]) for row in measured}
    missing = tuple(row for row in predicted if (row["block"], row["site"]) not in known)
    notes = [_note(of, measured, compensated)] if of else []
    if by and missing:
        sites = ", ".join(site for site in SITES if any(row["site"] == site for row in missing))
        notes.append((f"{sites} by " if of else "") + _note(by, missing, compensated))
    if not notes:
        return DamageCurves((), "no curves of calibrated selection are stored yet; refine by measuring, which takes them first")
    return DamageCurves(measured + missing, "; ".join(notes))


def _rows_of(evidence: Iterable[Evidence]) -> Iterator[tuple[tuple[Mapping, ...], Evidence]]:
    """The rows of single sites of each analysis that has some and holds for this dashboard."""
    for one in evidence:
        if not one.concerns and (rows := tuple(row for row in one.rows() if row["site"] in SITES)):
            yield rows, one


def _note(evidence: Evidence, rows: tuple[Mapping, ...], compensated: bool) -> str:
    """Where rows come from, and what is not in them."""
    images = f"{rows[0]['images']:,} images"
    if evidence.metric == "tuning_curves":
        return f"curves from {images}"
    has_refits = evidence.metric == "sketch" and is_compensated(evidence.analysis.request)
    before = "before making up for what is dropped" if compensated and not has_refits else ""
    if evidence.metric == "sensitivity":
        return f"curves from {images}" + (before and f", measured {before}")
    known = f"calibrated by {rows[0]['calibrated_by']} measured cells a site" if rows[0]["calibrated_by"] else "not calibrated"
    return f"predicted {task_of_row(rows[0]).damage.label}, by a sketch of {images}, {known}" + (before and f", {before}")


def _fits(evidence: Evidence, compensated: bool) -> bool:
    settings = evidence.analysis.request.get("settings")
    wanted = FULL if compensated else NONE
    return isinstance(settings, dict) and (settings.get("ffn"), settings.get("attention")) == (wanted.ffn, wanted.attention)


def tuning_run(shape: ModelShape, schedule: Schedule, limits: Limits, request: BudgetRequest) -> dict:
    """The tuning run (`toast_core.studies.tuning.job`) for a request; sites that may not change are locked at their ratios in hand.

    Raises:
        ScheduleError: the budget is not below the baseline's cost.
    """
    unit, limit = request.limit(shape)
    locks, ranges = [], []
    for block in range(len(shape.blocks)):
        for site in SITES:
            ratio, held = schedule.ratios(site)[block], limits.get((site, block))
            if (held and held.locked) or (site not in request.sites and ratio):
                locks.append([block, site, ratio])
            elif held and site in request.sites:
                ranges.append([block, site, held.low, min(held.high, 0.99)])
    return {
        "kind": "tuning", "unit": unit, "limit": limit, "sites": list(request.sites), "locks": locks, "ranges": ranges,
        "compensation": dict(vars(FULL if request.compensated else NONE)), "multiple_of": schedule.multiple_of,
    }


@dataclass(frozen=True)
class Fit:
    """A schedule fitted to a budget by prediction alone.

    predicted  damage in nats, as the sum of single sites
    gap        how far from the least predicted damage it can be at most, relative
    left_over  of the budget, in its unit
    price      damage that a million MACs or parameters less would add; None where nothing tighter can be met
    edits      `drop` and `restore`, see `tuning.solver.Edit.to_dict`
    """

    schedule: Schedule
    predicted: float
    gap: float
    left_over: int
    price: float | None
    edits: Mapping[str, list[dict]]
    notes: tuple[str, ...]
    curves: str


@st.cache_data(max_entries=50, show_spinner=False)
def fit(shape: ModelShape, schedule: Schedule, asked: dict, curves: DamageCurves) -> Fit:
    """Solve a `tuning_run` on these curves by prediction alone; takes seconds.

    Raises:
        ScheduleError: no such curves, or locks, ranges and budget that cannot be met together.
    """
    from toast_core.budget.curves import read_curves
    from toast_core.budget.options import make_problem
    from toast_core.budget.problem import Budget
    from toast_core.budget.solver import next_edits, shadow_price, solve

    locks = {(block, site): ratio for block, site, ratio in asked["locks"]}
    ranges = {(block, site): (low, high) for block, site, low, high in asked["ranges"]}
    settings = {"multiple_of": schedule.multiple_of, "seed": schedule.seed, "compensation": Compensation(**asked["compensation"])}
    budget = Budget(asked["unit"], asked["limit"])
    damage = read_curves(curves.rows, shape, damage=task_of(shape).damage.key)
    problem = make_problem(shape, damage, budget, tuple(asked["sites"]), locks, ranges, **settings)
    found = solve(problem)
    edits = {name: [edit.to_dict() for edit in listed] for name, listed in next_edits(problem, found).items()}
    price = shadow_price(problem, found)
    return Fit(
        replace(schedule, blocks=found.schedule.blocks, selection="calibrated", compensation=found.schedule.compensation), found.damage,
        found.gap, budget.limit - found.cost, price, edits, problem.notes, curves.note,
    )
