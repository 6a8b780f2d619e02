"""What a schedule is wanted for. Imports no torch."""

from dataclasses import dataclass, field, replace
from typing import Any

from toast_core.budget.problem import Budget, Place
from toast_core.schedule.compensation import FULL, Compensation
from toast_core.studies.sketch.result import REFITTED_RATIOS, REFITTED_SITES

DEFAULT_SITES, DEFAULT_RATIOS = REFITTED_SITES, REFITTED_RATIOS
DEFAULT_IMAGES = 768  # calibration images: cut in three, where other commands use all for one fit


@dataclass(frozen=True)
class TuningRequest:
    """What a schedule is wanted for, and how its curves are measured.

    budget        what it may cost
    sites         those that may be pruned
    ratios        those that every site is measured at; nothing beyond the largest is used
    locks         ratios that stay, by block and site
    ranges        the lowest and highest ratio, by block and site
    compensation  what is refitted for what is dropped
    multiple_of   kept counts are multiples of it
    seed          of the schedule's token sample
    batch_size    images of one forward
    """

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

    @property
    def cell_settings(self) -> dict[str, Any]:
        """The fields of a cell's schedule beside its ratios; one-shot compensation, whatever the whole schedule is fitted with."""
        settings: dict[str, Any] = {"selection": "calibrated", "seed": self.seed}
        if self.compensation.is_none:
            return settings
        return settings | {"compensation": replace(self.compensation, calibration="one_shot")}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; of a latency budget's table its digest. The batch size is not among them: it belongs to the images."""
        return {
            "unit": self.budget.unit, "limit": self.budget.limit, "sites": list(self.sites), "ratios": list(self.ratios),
            "locks": [[block, site, ratio] for (block, site), ratio in sorted(self.locks.items())],
            "ranges": [[block, site, low, high] for (block, site), (low, high) in sorted(self.ranges.items())],
            "compensation": vars(self.compensation), "multiple_of": self.multiple_of, "seed": self.seed,
            **({"table": self.budget.table.digest()} if self.budget.table else {}),
        }
