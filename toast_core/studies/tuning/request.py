"""What a schedule is wanted for, and the calibration images in three disjoint parts."""

from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import torch

from toast_core.budget.problem import Budget, Place
from toast_core.cost.shapes import ModelShape
from toast_core.data.load import Batch, ImageData
from toast_core.errors import DataError
from toast_core.schedule.compensation import FULL, Compensation
from toast_core.schedule.schedule import Schedule
from toast_core.studies.sensitivity.cells import Cell, grid

DEFAULT_SITES = ("qk", "vo", "fc2")
DEFAULT_RATIOS = (0.25, 0.5, 0.75, 0.9)
SHARES = (3, 1, 2)  # of the calibration images: fit, curves, judge
FEWEST_IMAGES = 20


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

    def cell_schedules(self, shape: ModelShape) -> dict[Cell, Schedule]:
        """The cells of the curves, each with the schedule that prunes it alone; `one_shot`, whatever the whole schedule is fitted with."""
        wants = replace(self.compensation, calibration="one_shot")
        settings = {"selection": "calibrated", **self.settings, "compensation": wants}
        blocks = len(shape.blocks)
        return {cell: cell.schedule(blocks, **settings) for cell in grid(blocks, self.sites, self.ratios)}


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

    @property
    def fit_images(self) -> list[torch.Tensor]:
        """The images to fit on, (B, C, H, W) a batch."""
        return [batch.images for batch in self.fit]


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
        part = data.part(start, end)
        batches = list(part.batches(batch_size))
        if not batches:
            raise DataError(f"none of {len(part)} images of {data.source.name} could be read; first {part.skipped[0]}")
        parts.append(batches if labelled else [replace(batch, labels=torch.zeros_like(batch.labels)) for batch in batches])
    return Parts(*parts, labelled)
