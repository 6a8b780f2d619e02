"""The options of a problem: every legal count that damage was measured for, with what it saves in one block."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any

from toast_core.budget.curves import Curve, Curves
from toast_core.budget.problem import Budget, Group, Option, Place, Problem, nanoseconds
from toast_core.cost.latency import LatencyTable
from toast_core.cost.macs import Cost, count_cost, kept_counts
from toast_core.cost.shapes import ModelShape
from toast_core.errors import ScheduleError
from toast_core.schedule.rounding import keep_count
from toast_core.schedule.schedule import BlockSchedule, Schedule
from toast_core.schedule.sites import CHANNEL_SITES, HEAD_SITES
from toast_core.schedule.stops import legal_stops, stop_ratio

MOST_OPTIONS = 128  # of one site: more than enough for a cost within one percent of a block's, and few enough to solve in a second
MOST_PAIRED = 16  # of qk and of vo where their times depend on each other, so that all pairs are options


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
    heads = [(site,) for site in HEAD_SITES] if budget.table is None else [HEAD_SITES]
    paired = set(HEAD_SITES) <= set(sites) and budget.table is not None
    for block in range(len(shape.blocks)):
        one = _OneBlock(shape, block, multiple_of, budget.table)
        for members in (*heads, CHANNEL_SITES):
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
                    within, thin = ranges.get(place, (0.0, 1.0)), paired and site in HEAD_SITES
                    choices.append(list(_stops(curves[place], multiple_of, site == "fc1", within, place, thin)))
            groups.append(Group(block, members, tuple(one.option(members, pairs) for pairs in product(*choices))))
    problem = Problem(shape, budget, tuple(groups), settings, tuple(notes))
    problem.check_feasible()
    return problem


@dataclass(frozen=True)
class _OneBlock:
    """What one block's options save, counted on a model that has this block alone: a whole model's cost is the sum of its blocks'."""

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
        assert self.table is not None, "asked for where there is a table only"
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
            0 if self.table is None else nanoseconds(self._whole_ms - self._ms(schedule)),
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
