"""Automatic schedules: measure compensated single-site curves, solve for the budget, let held-out images choose among candidates.

Three disjoint parts of the calibration images are used: `fit` for the closed-form fits, `curves` for the damage of cells, `judge` for
the candidates. Labels choose nothing; where the images have the model's classes, curves carry top-1 as well.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from itertools import pairwise
from statistics import NormalDist

import numpy as np
import torch
from torch import nn

from toast_core.analysis.cells import Cell, grid, summarize
from toast_core.analysis.sensitivity import BatchResult, Sweep, cell_outcomes
from toast_core.compensation.one_shot import BlockSums, one_shot_sums
from toast_core.compensation.walk import compensate, score_channels, uncompensated
from toast_core.data.load import Batch, ImageData
from toast_core.errors import DataError, PlanError
from toast_core.intervals import Z95, paired_interval, wilson_percent
from toast_core.models.info import get_info
from toast_core.pruning.execution.apply import apply_plan
from toast_core.pruning.plan import BlockPlan, Plan
from toast_core.schedule.compensation import FULL, Compensation
from toast_core.schedule.cost import count_cost, kept_counts
from toast_core.schedule.schedule import Schedule
from toast_core.schedule.shapes import ModelShape
from toast_core.tuning.curves import read_curves
from toast_core.tuning.front import SHAPES, front, shaped
from toast_core.tuning.problem import Budget, Place, Problem, make_problem
from toast_core.tuning.solver import Solution, next_edits, shadow_price, solve

DEFAULT_SITES = ("qk", "vo", "fc2")
DEFAULT_RATIOS = (0.2, 0.4, 0.6, 0.8, 0.9)
EXPONENTS = {"kl": 1.0, "kl gathered": 0.5, "kl spread": 2.0}
SHARES = (3, 1, 2)  # of the calibration images: fit, curves, judge
FEWEST_IMAGES = 20
FIRST_LOOK_IMAGES = 128
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Ask:
    """What a schedule is wanted for, and how its curves are measured."""

    budget: Budget
    sites: tuple[str, ...] = DEFAULT_SITES
    ratios: tuple[float, ...] = DEFAULT_RATIOS
    locks: dict[Place, float] = field(default_factory=dict)
    ranges: dict[Place, tuple[float, float]] = field(default_factory=dict)
    compensation: Compensation = FULL
    multiple_of: int = 1
    seed: int = 0
    batch_size: int = 64

    @property
    def settings(self) -> dict[str, object]:
        """The schedule's fields beside its ratios and selection."""
        return {"multiple_of": self.multiple_of, "seed": self.seed, "compensation": self.compensation}


@dataclass(frozen=True)
class Parts:
    """The three disjoint parts of the calibration images, in batches; `labelled` where the labels are the model's classes."""

    fit: list[Batch]
    curves: list[Batch]
    judge: list[Batch]
    labelled: bool

    @property
    def images(self) -> dict[str, int]:
        """How many images each part has."""
        return {name: sum(len(batch.index) for batch in getattr(self, name)) for name in ("fit", "curves", "judge")}


@dataclass(frozen=True)
class Judgement:
    """One candidate on the judge images: KL (nats) and whether the baseline's first choice is kept, an image each."""

    kl: np.ndarray
    agrees: np.ndarray

    def joined(self, other: "Judgement") -> "Judgement":
        """These images followed by the other's."""
        return Judgement(np.concatenate([self.kl, other.kl]), np.concatenate([self.agrees, other.agrees]))


@dataclass(frozen=True)
class Tuned:
    """The schedule that won, its plan as fitted on the fit images, and the report as plain JSON values."""

    schedule: Schedule
    plan: Plan
    report: dict


def tune(
    model: nn.Module,
    calibration: ImageData,
    ask: Ask,
    with_front: bool = False,
    progress: Progress = lambda what, done, total: None,
    rows: list[dict] | None = None,
) -> Tuned:
    """Return the schedule that meets the budget with the least damage on calibration images.

    Args:
        with_front: adds the predicted front over many budgets to the report.
        progress: is told what is done ("curves", "candidates"), how much of it, and of how much.
        rows: of `measure_curves` on these images, from an earlier budget; None measures them.

    Raises:
        PlanError: the model is already pruned.
        DataError: too few images.
        ScheduleError: sites, ratios, locks, ranges or budget that cannot be.
    """
    info = get_info(model)
    if info.execution != "baseline":
        raise PlanError(f"{info.name} is already pruned ({info.execution}); tune the baseline model")
    model = model.eval()
    clock = _Clock()
    parts = split(calibration, ask.batch_size, len(calibration.source.classes) == info.shape.num_classes)
    with clock("curves"):
        rows = rows or measure_curves(model, ask, parts, lambda done, total: progress("curves", done, total))
    with clock("solving"):
        curves = read_curves(rows, info.shape, ask.multiple_of)
        problem = make_problem(info.shape, curves, ask.budget, ask.sites, ask.locks, ask.ranges, **ask.settings)
        solutions, unmet = candidates(problem)
    with clock("candidates"):
        plans = {}
        for number, (name, solution) in enumerate(solutions.items()):
            plans[name] = plan_for(model, solution.schedule, [batch.images for batch in parts.fit])
            progress("candidates", number + 1, len(solutions))
    with clock("judging"):
        judged, winner, decision = judge(model, plans, parts.judge)
    chosen = solutions[winner]
    with clock("advice"):
        advice = {
            "shadow_price_per_million": shadow_price(problem, chosen),
            "next_best_edits": {name: [edit.to_dict() for edit in edits] for name, edits in next_edits(problem, chosen).items()},
        }
        if with_front:
            advice["front"] = [_described(problem, solution) for solution in front(problem)]
    cost, whole = count_cost(info.shape, chosen.schedule), count_cost(info.shape)
    report = {
        "model": info.name,
        "weights": info.weights,
        "calibration": calibration.source.name,
        "images": parts.images,
        "seed": ask.seed,
        "budget": {"unit": ask.budget.unit, "limit": ask.budget.limit},
        "baseline": {"macs": whole.macs, "params": whole.params},
        "achieved": {"macs": cost.macs, "params": cost.params, "left_over": ask.budget.limit - chosen.cost},
        "reduction": 1 - chosen.cost / problem.whole,
        "predicted_kl": chosen.damage,
        "gap": chosen.gap,
        **advice,
        "chosen": winner,
        "decision": decision,
        "candidates": [_candidate(problem, name, solutions[name], judged[name], judged["kl"]) for name in solutions],
        "notes": [*problem.notes, *unmet, *plans[winner].notes],
        "curves": rows,
        "schedule_digest": chosen.schedule.digest(),
        "seconds": clock.seconds,
    }
    return Tuned(chosen.schedule, plans[winner], report)


def split(data: ImageData, batch_size: int, labelled: bool) -> Parts:
    """Cut the images, in their shuffled order, into the three parts.

    Raises:
        DataError: too few images to cut.
    """
    if len(data) < FEWEST_IMAGES:
        raise DataError(f"{len(data)} calibration images are too few to fit, measure and judge on; give at least {FEWEST_IMAGES}")
    ends = np.cumsum([0, *SHARES]) * len(data) // sum(SHARES)
    parts = []
    for start, end in pairwise(ends.tolist()):
        part = ImageData(data.source, data.transform, data.index[start:end], data.order, data.seed)
        batches = list(part.batches(batch_size))
        if not batches:
            raise DataError(f"none of {len(part)} images of {data.source.name} could be read; first {part.skipped[0]}")
        parts.append(batches if labelled else [replace(batch, labels=torch.zeros_like(batch.labels)) for batch in batches])
    return Parts(*parts, labelled)


def measure_curves(model: nn.Module, ask: Ask, parts: Parts, progress: Callable[[int, int], None] = lambda done, total: None) -> list[dict]:
    """Return the rows of a sweep (`cells.summarize`) over compensated cells; without labels, no accuracies.

    A block's cells are fitted in `one_shot` calibration, from sums over the fit images that are taken once for all its ratios.
    """
    shape = get_info(model).shape
    images, cells = [batch.images for batch in parts.fit], grid(len(shape.blocks), ask.sites, ask.ratios)
    uniform = {ratio: _uniform(model, ask, ratio) for ratio in {cell.ratio for cell in cells}}
    statistics, rows = score_channels(model, uniform[cells[0].ratio], images), []
    selected = {ratio: uncompensated(model, schedule, statistics) for ratio, schedule in uniform.items()}
    for sums in one_shot_sums(model, images):
        sweep = Sweep(model, planner=partial(_compensated_cell, selected, sums, shape))
        own = [cell for cell in cells if cell.block == sums.index]
        result = reduce(BatchResult.joined, (sweep.measure(batch, own) for batch in parts.curves))
        rows += [summarize(cell, result.baseline, result.cells[cell]) for cell in own]
        progress(sums.index + 1, len(shape.blocks))
    return rows if parts.labelled else [{key: row[key] for key in ("block", "site", "ratio", "kl", "images")} for row in rows]


def _uniform(model: nn.Module, ask: Ask, ratio: float) -> Schedule:
    return Schedule.uniform(len(get_info(model).shape.blocks), **dict.fromkeys(ask.sites, ratio), selection="calibrated", **ask.settings)


def _compensated_cell(selected: dict[float, Plan], sums: BlockSums, shape: ModelShape, cell: Cell) -> Plan:
    """The cell's plan, its site taken from a plan that prunes every site of every block by the same ratio."""
    plan, blocks = selected[cell.ratio], [BlockPlan()] * len(shape.blocks)
    kept = kept_counts(shape.blocks[cell.block], plan.schedule, cell.block)
    whole = {site: shape.blocks[cell.block].site_width(site) for site in kept if site != cell.site}
    alone = BlockPlan(**{cell.site: getattr(plan.blocks[cell.block], cell.site)})
    blocks[cell.block] = sums.compensated(alone, kept | whole, plan.schedule.compensation)
    return replace(plan, blocks=tuple(blocks))


def candidates(problem: Problem) -> tuple[dict[str, Solution], list[str]]:
    """Return the solutions to try by name, `kl` (least predicted damage) first, and what could not be made; no schedule twice."""
    found = {name: solve(problem, exponent) for name, exponent in EXPONENTS.items()}
    unmet = []
    for shape in SHAPES:
        solution = shaped(problem, shape)
        if solution is None:
            unmet.append(f"the {shape} shape cannot meet the budget within the measured ratios")
        else:
            found[shape] = solution
    schedules = [solution.schedule for solution in found.values()]
    return {name: solution for number, (name, solution) in enumerate(found.items()) if solution.schedule not in schedules[:number]}, unmet


def plan_for(model: nn.Module, schedule: Schedule, images: list[torch.Tensor]) -> Plan:
    """The plan of a calibrated schedule, compensated if it asks for it, from image batches (B, C, H, W)."""
    if schedule.compensation.is_none:
        return uncompensated(model, schedule, score_channels(model, schedule, images))
    return compensate(model, schedule, images)


def judge(model: nn.Module, plans: dict[str, Plan], batches: list[Batch]) -> tuple[dict[str, Judgement], str, str]:
    """Compare candidates on images that neither their curves nor their fits have seen.

    Looks are at 128, 256, 512, ... images; it ends early once every other candidate is clearly worse than the one ahead. Intervals
    share 5 % over all looks and candidates (Bonferroni).

    Returns:
        each candidate's judgement, the winner's name, and why it won. The first candidate wins unless another is clearly better.
    """
    looks = list(_looks(batches))
    z = NormalDist().inv_cdf(1 - 0.025 / max(1, len(looks) * (len(plans) - 1)))
    judged: dict[str, Judgement] = {}
    first, winner = next(iter(plans)), next(iter(plans))
    for look in looks:
        found = _run(model, plans, look)
        judged = {name: judged[name].joined(found[name]) if judged else found[name] for name in plans}
        winner = first
        for name in sorted(plans, key=lambda name: float(judged[name].kl.mean())):
            if _better(judged[name], judged[winner], z):
                winner = name
        if all(_better(judged[winner], judged[name], z) for name in plans if name != winner):
            break
    images = len(judged[first].kl)
    if winner == first:
        return judged, winner, f"{first} has the least predicted damage, and no candidate is clearly better on {images} held-out images"
    low, high = paired_interval(judged[first].agrees, judged[winner].agrees, z)
    by = f"agreement {low:+.2f} to {high:+.2f} points"
    if low <= 0:
        low, high = _kl_interval(judged[winner], judged[first], z)
        by = f"KL {low:+.5f} to {high:+.5f}"
    return judged, winner, f"{winner} is clearly better than {first} on {images} held-out images: {by}"


def _looks(batches: list[Batch]) -> Iterator[list[Batch]]:
    """Batches in groups that end at 128, 256, 512, ... images and at the last."""
    seen, until, group = 0, FIRST_LOOK_IMAGES, []
    for batch in batches:
        group.append(batch)
        seen += len(batch.index)
        if seen >= until:
            yield group
            group = []
            while until <= seen:
                until *= 2
    if group:
        yield group


@torch.inference_mode()
def _run(model: nn.Module, plans: dict[str, Plan], batches: list[Batch]) -> dict[str, Judgement]:
    """Every candidate's judgement on these batches; one pruned model is held at a time."""
    parameter = next(model.parameters())
    inputs = [batch.images.to(parameter.device, parameter.dtype) for batch in batches]
    baseline = [model(x) for x in inputs]
    found = {}
    for name, plan in plans.items():
        pruned = apply_plan(model, plan, "compact")
        outcomes = [cell_outcomes(pruned(x), whole, whole.argmax(1)) for x, whole in zip(inputs, baseline, strict=True)]
        found[name] = reduce(Judgement.joined, (Judgement(part.kl, part.correct) for part in outcomes))
    return found


def _better(one: Judgement, other: Judgement, z: float) -> bool:
    """Whether `one` is clearly better: by agreement with the baseline, or by KL where agreement cannot tell."""
    low, high = paired_interval(other.agrees, one.agrees, z)
    if low > 0 or high < 0:
        return low > 0
    return _kl_interval(one, other, z)[1] < 0


def _kl_interval(one: Judgement, other: Judgement, z: float = Z95) -> tuple[float, float]:
    """The normal interval of the mean paired difference of KL, one - other."""
    difference = one.kl.astype(np.float64) - other.kl
    half = z * float(difference.std(ddof=1)) / len(difference) ** 0.5 if len(difference) > 1 else float("inf")
    return float(difference.mean()) - half, float(difference.mean()) + half


def _described(problem: Problem, solution: Solution) -> dict:
    cost = count_cost(problem.shape, solution.schedule)
    return {"macs": cost.macs, "params": cost.params, "predicted_kl": solution.damage, "schedule": solution.schedule.to_dict()}


def _candidate(problem: Problem, name: str, solution: Solution, judged: Judgement, first: Judgement) -> dict:
    """One candidate's row: what was predicted and what was measured, with the paired difference to the predicted best (95 %)."""
    agreed = int(judged.agrees.sum())
    return {
        "name": name,
        **_described(problem, solution),
        "images": len(judged.kl),
        "kl": float(judged.kl.mean()),
        "agreement": 100 * agreed / len(judged.agrees),
        "agreement_ci95": list(wilson_percent(agreed, len(judged.agrees))),
        "agreement_delta_ci95": list(paired_interval(first.agrees, judged.agrees)),
        "kl_delta_ci95": list(_kl_interval(judged, first)),
    }


class _Clock:
    """Wall and process CPU seconds of each part."""

    def __init__(self) -> None:
        self.seconds: dict[str, dict[str, float]] = {}

    def __call__(self, what: str) -> "_Clock":
        self.what = what
        return self

    def __enter__(self) -> None:
        self.started = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        wall, cpu = (now - then for now, then in zip((time.perf_counter(), time.process_time()), self.started, strict=True))
        self.seconds[self.what] = {"wall": round(wall, 3), "cpu": round(cpu, 3)}
