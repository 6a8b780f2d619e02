"""What is to be solved: one option for each site of each block, under a budget, with locks and ranges. Exact costs."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from typing import Any

from toast_core.budget.curves import Curve, Curves
from toast_core.cost.latency import LatencyTable
from toast_core.cost.macs import Cost, count_cost, kept_counts
from toast_core.cost.shapes import ModelShape
from toast_core.errors import ScheduleError
from toast_core.schedule.rounding import keep_count
from toast_core.schedule.schedule import SITES, BlockSchedule, Schedule, check_ratio
from toast_core.schedule.stops import legal_stops, stop_ratio

MOST_OPTIONS = 128  # of one site: more than enough for a cost within one percent of a block's, and few enough to solve in a second
MOST_PAIRED = 16  # of qk and of vo where their times depend on each other, so that all pairs are options
_STEP_NS = 100  # costs in whole steps, for the solver; a fifth of a percent of the shortest part of a demo's block
Place = tuple[int, str]
UNITS = {"macs": ("GMACs", 1e9), "params": ("M parameters", 1e6), "latency_ns": ("ms", 1e6)}


@dataclass(frozen=True)
class Budget:
    """The most multiply-accumulates (`macs`), parameters (`params`) or nanoseconds (`latency_ns`) that the compact model may have.

    table: what times are taken from, at its batch size and on its machine; of a latency only.
    """

    unit: str
    limit: int
    table: LatencyTable | None = None

    def said(self, value: int) -> str:
        """A cost in this budget's unit, in words."""
        name, scale = UNITS[self.unit]
        return f"{value / scale:.6g} {name}"

    def of(self, cost: Cost) -> int:
        """What a model's cost counts here, in MACs or parameters."""
        return cost.macs if self.unit == "macs" else cost.params

    def whole(self, shape: ModelShape) -> int:
        """What the baseline costs."""
        return self.of(count_cost(shape)) if self.table is None else nanoseconds(self.table.predict_ms())


def nanoseconds(milliseconds: float) -> int:
    """Whole steps of `_STEP_NS`, as a latency budget counts."""
    return round(milliseconds * 1e6 / _STEP_NS) * _STEP_NS


def read_budget(
    shape: ModelShape,
    reduction: float | None = None,
    gmacs: float | None = None,
    params: float | None = None,
    latency_ms: float | None = None,
    table: Callable[[], LatencyTable] | None = None,
) -> Budget:
    """Return the one budget that is given: a fraction of the baseline's MACs to save, GMACs, parameters, or a latency.

    Args:
        latency_ms: of one forward of the table's batch size.
        table: measures or finds the latency table; asked only for a latency.

    Raises:
        ScheduleError: none or several are given, a latency without a table, or the budget is not below the baseline's cost.
    """
    given = {"--reduction": reduction, "--gmacs": gmacs, "--params": params, "--latency-ms": latency_ms}
    named = [name for name, value in given.items() if value is not None]
    if len(named) != 1:
        found = f"the budgets {' and '.join(named)} are given together" if named else "no budget is given"
        raise ScheduleError(f"{found}; give one of {', '.join(given)}")
    if reduction is not None:
        if check_ratio(reduction, "reduction") == 0:
            raise ScheduleError("reduction 0 asks for nothing; write the fraction of MACs to save, for example 0.4")
        return Budget("macs", int(count_cost(shape).macs * (1 - reduction)))
    value = next(value for value in given.values() if value is not None)
    if not math.isfinite(value):
        raise ScheduleError(f"a budget of {value:g} is no number; {named[0]} takes one below what the baseline needs")
    if gmacs is not None:
        budget = Budget("macs", round(value * 1e9))
    elif params is not None:
        budget = Budget("params", int(value))
    elif table is None:
        raise ScheduleError(f"a latency of {value:g} ms needs a latency table; measure one with toast bench --table")
    else:
        budget = Budget("latency_ns", round(value * 1e6), table())
    if not 0 < budget.limit < budget.whole(shape):
        raise ScheduleError(
            f"a budget of {budget.said(budget.limit)} is not between 0 and the baseline's {budget.said(budget.whole(shape))}; "
            "give one below what the baseline needs"
        )
    return budget


def read_place(text: str, value: str) -> tuple[Place, str]:
    """Split BLOCK.SITE=... of a lock or range into its place and what follows.

    Raises:
        ScheduleError: it is not written so; `value` names what should follow.
    """
    place, equals, rest = text.partition("=")
    block, dot, site = place.strip().partition(".")
    if not (equals and dot and block.isdecimal() and site in SITES and rest.strip()):
        sample = f"3.fc2={_SAMPLES[value]}"
        raise ScheduleError(f"{text!r} is not BLOCK.SITE={value} with a site of {', '.join(SITES)}; write for example {sample}")
    return (int(block), site), rest.strip()


_SAMPLES = {"RATIO": "0.5", "LOW:HIGH": "0.2:0.6"}


def read_locks(texts: tuple[str, ...]) -> dict[Place, float]:
    """Read BLOCK.SITE=RATIO entries.

    Raises:
        ScheduleError: an entry that cannot be read, or two that differ about one place.
    """
    locks: dict[Place, float] = {}
    for text in texts:
        place, rest = read_place(text, "RATIO")
        ratio = _ratio(rest, text)
        if locks.setdefault(place, ratio) != ratio:
            raise ScheduleError(f"block {place[0]} {place[1]} is locked to {locks[place]:g} and to {ratio:g}; keep one of them")
    return locks


def read_ranges(texts: tuple[str, ...]) -> dict[Place, tuple[float, float]]:
    """Read BLOCK.SITE=LOW:HIGH entries.

    Raises:
        ScheduleError: an entry that cannot be read, one whose low end is the higher, or two about one place.
    """
    ranges: dict[Place, tuple[float, float]] = {}
    for text in texts:
        place, rest = read_place(text, "LOW:HIGH")
        low, colon, high = rest.partition(":")
        if not colon:
            raise ScheduleError(f"{text!r} gives one ratio; write LOW:HIGH, or use --lock for a single one")
        ends = _ratio(low, text), _ratio(high, text)
        if ends[0] > ends[1]:
            raise ScheduleError(f"{text!r} runs from {ends[0]:g} down to {ends[1]:g}; write the lower ratio first")
        if ranges.setdefault(place, ends) != ends:
            raise ScheduleError(f"block {place[0]} {place[1]} has two ranges; keep one of them")
    return ranges


def _ratio(text: str, where: str) -> float:
    try:
        return check_ratio(float(text), f"the ratio in {where!r}")
    except ValueError as error:
        raise error if isinstance(error, ScheduleError) else ScheduleError(
            f"{text!r} in {where!r} is no number; ratios are fractions dropped, in [0, 1)"
        ) from None


@dataclass(frozen=True)
class Option:
    """One choice of a group: ratios of its sites, what it saves against the baseline, damage predicted in nats.

    saved_ns is 0 unless the budget is a latency; an option can be slower than the baseline.
    """

    ratios: tuple[float, ...]
    saved_macs: int
    saved_params: int
    damage: float
    saved_ns: int = 0


@dataclass(frozen=True)
class Group:
    """Sites of one block of which one option is taken.

    fc1 and fc2 belong together, since their costs multiply; in time qk and vo do too, since they run fast where they are equal.
    """

    block: int
    sites: tuple[str, ...]
    options: tuple[Option, ...]


@dataclass(frozen=True)
class Problem:
    """One option of every group, damage least, cost within the budget. `settings` are the schedule's other fields."""

    shape: ModelShape
    budget: Budget
    groups: tuple[Group, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @cached_property
    def whole(self) -> int:
        """What the baseline costs, in the budget's unit."""
        return self.budget.whole(self.shape)

    @property
    def least(self) -> int:
        """What the cheapest choice costs."""
        return self.whole - sum(max(self.saved(option) for option in group.options) for group in self.groups)

    def saved(self, option: Option) -> int:
        """What an option saves, in the budget's unit."""
        return {"macs": option.saved_macs, "params": option.saved_params, "latency_ns": option.saved_ns}[self.budget.unit]

    def cost(self, chosen: tuple[Option, ...]) -> int:
        """What one option a group costs together, in the budget's unit."""
        return self.whole - sum(map(self.saved, chosen))

    def schedule(self, chosen: tuple[Option, ...]) -> Schedule:
        """The schedule of one option a group."""
        ratios: list[dict[str, float]] = [{} for _ in self.shape.blocks]
        for group, option in zip(self.groups, chosen, strict=True):
            ratios[group.block] |= dict(zip(group.sites, option.ratios, strict=True))
        return Schedule(tuple(BlockSchedule(**row) for row in ratios), selection="calibrated", **self.settings)

    def under(self, limit: int) -> "Problem":
        """The same problem with another limit."""
        return replace(self, budget=replace(self.budget, limit=limit))

    def check_feasible(self) -> None:
        """Raise a ScheduleError that names the nearest budget that can be met, unless this one can."""
        if self.budget.limit < self.least:
            saved = f"{100 * (1 - self.least / self.whole):.1f} %"
            raise ScheduleError(
                f"a budget of {self.budget.said(self.budget.limit)} is below {self.budget.said(self.least)}, the least that locks, ranges "
                f"and measured ratios allow; raise it to at least that ({saved} saved), or free some sites"
            )


def make_problem(
    shape: ModelShape,
    curves: Curves,
    budget: Budget,
    sites: tuple[str, ...],
    locks: Mapping[Place, float] | None = None,
    ranges: Mapping[Place, tuple[float, float]] | None = None,
    **settings: Any,
) -> Problem:
    """Return the problem over every legal count between whole and the fewest measured.

    Args:
        sites: that may be pruned; the others stay whole unless locked.
        settings: of the schedule: `multiple_of`, `compensation`, `seed`.

    Raises:
        ScheduleError: a free site without a curve, a lock or range that cannot be, or a budget that cannot be met.
    """
    locks, ranges, multiple_of = dict(locks or {}), dict(ranges or {}), settings.get("multiple_of", 1)
    _check_places(shape, locks, ranges, sites)
    groups, notes = [], []
    heads = (("qk",), ("vo",)) if budget.table is None else (("qk", "vo"),)
    paired = {"qk", "vo"} <= set(sites) and budget.table is not None
    for block in range(len(shape.blocks)):
        one = _OneBlock(shape, block, multiple_of, budget.table)
        for members in (*heads, ("fc1", "fc2")):
            choices = []
            for site in members:
                place = (block, site)
                if place in locks:
                    choices.append([_locked(curves.get(place), shape.blocks[block].site_width(site), locks[place], multiple_of)])
                    if choices[-1][0][1] is None:
                        notes.append(f"block {block} {site} is locked to {locks[place]:g}, where no damage was measured: it counts as none")
                elif site not in sites:
                    choices.append([(0.0, 0.0)])
                elif place not in curves:
                    raise ScheduleError(
                        f"block {block} {site} has no measured curve; measure it, or fix it with --lock {block}.{site}=RATIO"
                    )
                else:
                    within, thin = ranges.get(place, (0.0, 1.0)), paired and site in ("qk", "vo")
                    choices.append(list(_stops(curves[place], multiple_of, site == "fc1", within, place, thin)))
            groups.append(Group(block, members, tuple(one.option(members, pairs) for pairs in product(*choices))))
    problem = Problem(shape, budget, tuple(groups), settings, tuple(notes))
    problem.check_feasible()
    return problem


@dataclass(frozen=True)
class _OneBlock:
    """Costs of one block's options: those of a model that has this block alone, which the whole model's sum up from."""

    shape: ModelShape
    block: int
    multiple_of: int
    table: LatencyTable | None = None

    @cached_property
    def _alone(self) -> ModelShape:
        return replace(self.shape, blocks=(self.shape.blocks[self.block],))

    @cached_property
    def _whole(self) -> Cost:
        return count_cost(self._alone)

    @cached_property
    def _whole_ms(self) -> float:
        return self._ms(Schedule.uniform(1))

    def _ms(self, schedule: Schedule) -> float:
        if self.table is None:
            return 0.0
        return sum(self.table.block_ms(self.block, kept_counts(self._alone.blocks[0], schedule, 0)))

    def option(self, sites: tuple[str, ...], pairs: tuple[tuple[float, float | None], ...]) -> Option:
        entry = BlockSchedule(**{site: ratio for site, (ratio, _) in zip(sites, pairs, strict=True)})
        schedule = Schedule((entry,), selection="calibrated", multiple_of=self.multiple_of)
        cost = count_cost(self._alone, schedule)
        return Option(
            tuple(ratio for ratio, _ in pairs),
            self._whole.macs - cost.macs,
            self._whole.params - cost.params,
            sum(damage or 0.0 for _, damage in pairs),
            nanoseconds(self._whole_ms - self._ms(schedule)),
        )


def _check_places(
    shape: ModelShape, locks: Mapping[Place, float], ranges: Mapping[Place, tuple[float, float]], sites: tuple[str, ...]
) -> None:
    for block, _ in (*locks, *ranges):
        if not 0 <= block < len(shape.blocks):
            raise ScheduleError(f"block {block} does not exist; {shape.name} has blocks 0 to {len(shape.blocks) - 1}")
    for (block, site), (low, high) in ranges.items():
        if (block, site) in locks and not low <= locks[block, site] <= high:
            raise ScheduleError(
                f"block {block} {site} is locked to {locks[block, site]:g}, outside its range {low:g}:{high:g}; drop the lock or the range"
            )
        if site not in sites and (block, site) not in locks:
            raise ScheduleError(f"block {block} {site} has a range but {site} is not tuned; add it to --sites")


def _locked(curve: Curve | None, width: int, ratio: float, multiple_of: int) -> tuple[float, float | None]:
    kept = keep_count(width, ratio, multiple_of)
    if kept == width:
        return ratio, 0.0
    return ratio, curve.damage(kept) if curve is not None and kept >= curve.fewest else None


def _stops(
    curve: Curve, multiple_of: int, measured_only: bool, within: tuple[float, float], place: Place, paired: bool
) -> Iterator[tuple[float, float]]:
    """(ratio, damage) of a site's options.

    fc1's are the measured counts alone, since they multiply with fc2's. Those of a pair are multiples of one step, so that both have
    the same ones.
    """
    low, high = within
    legal = [kept for ratio, kept in legal_stops(curve.width, multiple_of) if kept >= curve.fewest and low <= ratio <= high]
    if measured_only:
        measured = {curve.width, *(kept for kept, _ in curve.points)}
        legal = [kept for kept in legal if kept in measured]
    if not legal:
        raise ScheduleError(
            f"block {place[0]} {place[1]} keeps no measured count between the ratios {low:g} and {high:g}; widen its range "
            f"(measured up to {stop_ratio(curve.width, curve.fewest):g})"
        )
    if paired:
        step = multiple_of * max(1, -(-curve.width // (multiple_of * MOST_PAIRED)))
        spaced = [kept for kept in legal if kept % step == 0]
    else:
        spaced = legal[:: max(1, -(-len(legal) // MOST_OPTIONS))]
    chosen = {legal[0], *spaced, legal[-1]}
    return ((stop_ratio(curve.width, kept), curve.damage(kept)) for kept in sorted(chosen, reverse=True))
