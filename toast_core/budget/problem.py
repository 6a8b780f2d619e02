"""What is to be solved: one option for each site of each block, damage least, cost within a budget. Exact costs."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from toast_core.cost.latency import LatencyTable
from toast_core.cost.macs import Cost, count_cost
from toast_core.cost.shapes import ModelShape
from toast_core.errors import ScheduleError
from toast_core.schedule.schedule import BlockSchedule, Schedule

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
        """The baseline's cost in this budget's unit."""
        return self.of(count_cost(shape)) if self.table is None else nanoseconds(self.table.predict_ms())


def nanoseconds(milliseconds: float) -> int:
    """Whole steps of `_STEP_NS`, as a latency budget counts."""
    return round(milliseconds * 1e6 / _STEP_NS) * _STEP_NS


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
        """The baseline's cost, in the budget's unit."""
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
