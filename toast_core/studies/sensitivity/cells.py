"""The cells of a sensitivity grid, and what is paired with the baseline on the same images. Imports no torch."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from toast_core.errors import ScheduleError
from toast_core.intervals import Z95, paired_interval
from toast_core.schedule.schedule import BlockSchedule, Schedule, check_ratio

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


def summarize(cell: Cell, baseline: CellOutcomes, outcomes: CellOutcomes, z: float = Z95) -> dict[str, Any]:
    """Return a cell's row: accuracies in percent, differences to the baseline on the same images in points, KL in nats."""
    same = CellOutcomes(*(getattr(baseline, name)[: len(outcomes)] for name in OUTCOME_NAMES))
    low, high = paired_interval(same.correct, outcomes.correct, z)
    return {
        "block": cell.block,
        "site": cell.site,
        "ratio": cell.ratio,
        "top1": 100 * float(np.mean(outcomes.correct)),
        "top1_delta": 100 * float(np.mean(outcomes.correct) - np.mean(same.correct)),
        "ci95": [low, high],
        "top5": 100 * float(np.mean(outcomes.top5)),
        "top5_delta": 100 * float(np.mean(outcomes.top5) - np.mean(same.top5)),
        "loss": float(np.mean(outcomes.loss)),
        "loss_delta": float(np.mean(outcomes.loss - same.loss)),
        "kl": float(np.mean(outcomes.kl)),
        "images": len(outcomes),
    }
