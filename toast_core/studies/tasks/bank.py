"""Labelled images that others are compared with: the calibration images, where their class names are those of what is measured."""

from dataclasses import dataclass

import numpy as np

from analysis_cache.key import digest_of_subset
from toast_core.data.load import ImageData
from toast_core.studies.tasks.neighbours import NEIGHBOURS


@dataclass(frozen=True, eq=False)
class Bank:
    """Images with known classes.

    images   in the order that equal similarities are taken in
    numbers  the class number among what is measured, by the class of the bank's own source; beyond them where no image is of it
    """

    images: ImageData
    numbers: np.ndarray

    @property
    def digest(self) -> str:
        """What identifies the bank beside a model: source and subset, 16 hex digits."""
        return f"{self.images.source.digest[:8]}{digest_of_subset(self.images.index)[:8]}"

    def to_dict(self) -> dict[str, object]:
        """What a figure of k-NN rests on, as plain JSON values."""
        return {"k": min(NEIGHBOURS, len(self.images)), "bank": self.images.source.name, "images": len(self.images), "digest": self.digest}


def bank_for(data: ImageData, calibration: ImageData | None) -> tuple[Bank | None, tuple[str, ...]]:
    """The bank for these images, None where there can be none, and a line that says why, or what is lacking in it."""
    if not data.source.has_classes or len(data.source.classes) < 2:
        return None, ("k-NN is left out: the images are not labelled",)
    if calibration is None:
        return None, ("k-NN is left out: it compares with labelled calibration images; pass --calibration DATA",)
    own, known = data.source, calibration.source
    if own.digest == known.digest:
        return None, ("k-NN is left out: the calibration images are those that are measured, and each would be its own neighbour",)
    shared = set(own.classes) & set(known.classes)
    if not known.has_classes or len(known.classes) < 2 or not shared:
        return None, (f"k-NN is left out: no class of {known.name} is one of {own.name}",)
    place = {name: number for number, name in enumerate(own.classes)}
    numbers = np.array([place.get(name, len(place) + index) for index, name in enumerate(known.classes)], np.int64)
    missing = [name for name in own.classes if name not in shared]
    bank = Bank(calibration, numbers)
    if not missing:
        return bank, ()
    return bank, (f"k-NN: {known.name} has no image of {len(missing)} of {len(place)} classes, first {missing[0]}, so it misses those",)
