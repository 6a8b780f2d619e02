"""Calibration images in three disjoint parts: to fit on, to measure curves on, and to judge candidates on."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from toast_core.data.load import Batch, ImageData
from toast_core.errors import DataError
from toast_core.studies.sketch.store import FitImages

SHARES = (3, 1, 2)  # of the calibration images: fit, curves, judge
FEWEST_IMAGES = 20


@dataclass(frozen=True)
class CalibrationParts:
    """The three disjoint parts of the calibration images, read when they are asked for; labels are not used."""

    fit: FitImages
    curves: ImageData
    judge: ImageData

    @property
    def images(self) -> dict[str, int]:
        """How many images each part has; those that cannot be read are counted, too."""
        return {"fit": len(self.fit.data), "curves": len(self.curves), "judge": len(self.judge)}

    def judged(self) -> list[Batch]:
        """The images to judge on, in batches.

        Raises:
            DataError: none of them can be read.
        """
        found = list(self.judge.batches(self.fit.batch_size))
        if not found:
            raise self.judge.unread()
        return found


def split(data: ImageData, batch_size: int) -> CalibrationParts:
    """Cut the images, in their shuffled order, into the three parts.

    Raises:
        DataError: too few images to cut.
    """
    if len(data) < FEWEST_IMAGES:
        raise DataError(f"{len(data)} calibration images are too few to fit, measure and judge on; give at least {FEWEST_IMAGES}")
    ends = np.cumsum([0, *SHARES]) * len(data) // sum(SHARES)
    fit, curves, judge = (data.part(start, end) for start, end in pairwise(ends.tolist()))
    return CalibrationParts(FitImages(fit, batch_size), curves, judge)
