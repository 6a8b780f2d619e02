"""The cells of a sensitivity grid, and what is paired with the baseline on the same images. Imports no torch."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from toast_core.errors import ScheduleError
from toast_core.intervals import Z95, Estimate, paired_interval
from toast_core.schedule.schedule import BlockSchedule, Schedule, check_ratio
from toast_core.studies.tasks.base import CellOutcomes as AnyCellOutcomes
from toast_core.studies.tasks.base import as_float16

SITE_GROUPS: dict[str, tuple[str, ...]] = {
    "qk": ("qk",),
    "vo": ("vo",),
    "qk+vo": ("qk", "vo"),
    "fc1": ("fc1",),
    "fc2": ("fc2",),
    "fc1+fc2": ("fc1", "fc2"),
}
OUTCOME_NAMES = ("correct", "top5", "loss", "kl", "margin")
DEFAULT_RATIOS = tuple(round(0.1 * step, 1) for step in range(1, 10))


@dataclass(frozen=True, order=True)
class Cell:
    """One block, one site group, one ratio: the only thing pruned."""

    block: int
    site: str
    ratio: float

    def schedule(self, blocks: int, **settings: Any) -> Schedule:
        """The schedule of a model of `blocks` blocks that prunes this cell and nothing else."""
        entry = BlockSchedule(**dict.fromkeys(SITE_GROUPS[self.site], self.ratio))
        return Schedule(tuple(entry if index == self.block else BlockSchedule() for index in range(blocks)), **settings)


def grid(blocks: int, sites: tuple[str, ...] = tuple(SITE_GROUPS), ratios: tuple[float, ...] = DEFAULT_RATIOS) -> list[Cell]:
    """Return every cell, block by block.

    Raises:
        ScheduleError: an unknown site, or a ratio outside (0, 1).
    """
    for site in sites:
        if site not in SITE_GROUPS:
            raise ScheduleError(f"unknown site {site!r}; choose from {', '.join(SITE_GROUPS)}")
    checked = tuple(check_ratio(ratio, "ratio") for ratio in ratios)
    if not all(checked):
        raise ScheduleError("ratio 0 prunes nothing; sensitivity needs ratios in (0, 1)")
    return [Cell(block, site, ratio) for block in range(blocks) for site in sites for ratio in checked]


@dataclass(frozen=True, eq=False)
class CellOutcomes:
    """Per-image outcomes of one cell: top-1 and top-5 hits, loss in nats, KL(baseline || pruned) in nats.

    margin is the label's logit less the largest other logit: how far from a mistake.
    """

    NAMES: ClassVar[tuple[str, ...]] = OUTCOME_NAMES
    correct: np.ndarray
    top5: np.ndarray
    loss: np.ndarray
    kl: np.ndarray
    margin: np.ndarray

    def __len__(self) -> int:
        return len(self.correct)

    def joined(self, *others: "CellOutcomes") -> "CellOutcomes":
        """These images followed by the others'."""
        return CellOutcomes(*(np.concatenate([getattr(one, name) for one in (self, *others)]) for name in OUTCOME_NAMES))

    def first(self, images: int) -> "CellOutcomes":
        """The first images only."""
        return CellOutcomes(*(getattr(self, name)[:images] for name in OUTCOME_NAMES))

    def interval(self, baseline: "CellOutcomes", z: float = Z95) -> tuple[float, float]:
        """The interval of the paired difference in top-1 to the baseline on the same images, in points."""
        return paired_interval(baseline.correct, self.correct, z)

    def row(self, baseline: "CellOutcomes", z: float = Z95) -> dict[str, Any]:
        """Accuracies in percent, differences to the baseline on the same images in points, KL in nats."""
        low, high = self.interval(baseline, z)
        return {
            "top1": 100 * float(np.mean(self.correct)),
            "top1_delta": 100 * float(np.mean(self.correct) - np.mean(baseline.correct)),
            "ci95": [low, high],
            "top5": 100 * float(np.mean(self.top5)),
            "top5_delta": 100 * float(np.mean(self.top5) - np.mean(baseline.top5)),
            "loss": float(np.mean(self.loss)),
            "loss_delta": float(np.mean(self.loss - baseline.loss)),
            "kl": float(np.mean(self.kl)),
            "images": len(self),
        }

    def stored(self) -> dict[str, np.ndarray]:
        """What is stored of a cell: top-1 and top-5 hit, loss and margin of every image."""
        bits = {"correct": self.correct, "top5": self.top5}
        return bits | {"loss": as_float16(self.loss), "margin": as_float16(self.margin)}

    def damage(self) -> np.ndarray:
        """KL(baseline || pruned) in nats."""
        return self.kl

    def margins(self) -> np.ndarray:
        """The label's logit less the largest other one."""
        return self.margin

    def foretold(self, change: Estimate, damage: float) -> dict[str, Any]:
        """Top-1 in percent after a change in points, with the change and its interval, and KL in nats."""
        top1 = 100 * float(np.mean(self.correct)) + change.value
        return {"top1": top1, "top1_delta": change.value, "ci95": list(change.ci95), "kl": damage}

    def kept(self) -> np.ndarray:
        """Whether the label has the largest logit: with the baseline's answers as labels, whether they stay."""
        return self.correct


def summarize(cell: Cell, baseline: AnyCellOutcomes, outcomes: AnyCellOutcomes, z: float = Z95) -> dict[str, Any]:
    """Return a cell's row: its place, and what the task says of its outcomes beside the baseline's on the same images."""
    return {"block": cell.block, "site": cell.site, "ratio": cell.ratio, **outcomes.row(baseline.first(len(outcomes)), z)}
