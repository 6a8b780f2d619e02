"""Calibration images in three disjoint parts: to fit on, to measure curves on, and to judge candidates on."""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch

from toast_core.data.load import Batch, ImageData
from toast_core.errors import DataError

SHARES = (3, 1, 2)  # of the calibration images: fit, curves, judge
FEWEST_IMAGES = 20


@dataclass(frozen=True)
class CalibrationParts:
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


def split(data: ImageData, batch_size: int, labelled: bool) -> CalibrationParts:
    """Cut the images, in their shuffled order, into the three parts.

    Raises:
        DataError: too few images to cut, or a part of which none can be read.
    """
    if len(data) < FEWEST_IMAGES:
        raise DataError(f"{len(data)} calibration images are too few to fit, measure and judge on; give at least {FEWEST_IMAGES}")
    ends = np.cumsum([0, *SHARES]) * len(data) // sum(SHARES)
    parts = []
    for start, end in pairwise(ends.tolist()):
        part = data.part(start, end)
        batches = list(part.batches(batch_size))
        if not batches:
            raise part.unread()
        parts.append(batches if labelled else [replace(batch, labels=torch.zeros_like(batch.labels)) for batch in batches])
    return CalibrationParts(*parts, labelled)
