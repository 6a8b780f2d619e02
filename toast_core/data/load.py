"""Image sets ready for a model: subset, order, transform, batches."""

import os
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from toast_core.data.classes import match_classes
from toast_core.data.decode import Marks, Seen, Unreadable, pixel_notes, see, transformed
from toast_core.data.sources import Source, open_source
from toast_core.data.transform import Transform, transform_for
from toast_core.errors import DataError
from toast_core.models.info import ModelInfo, get_info
from toast_core.preprocessing import Reading

ORDERS = ("shuffled", "sorted")


@dataclass(frozen=True)
class Batch:
    """Input (B, C, H, W) float32, labels (B,), positions in the source (B,)."""

    images: torch.Tensor
    labels: torch.Tensor
    index: np.ndarray


class ImageData:
    """Part of a source in a fixed order, transformed for one model. Iterating twice gives the same images.

    `skipped` names the files that the last pass could not read, `reasons` says why of each; they leave no gap in a batch. `left_out` has
    name and reason of those that were found so before any pass and are not in `index`; None where nobody looked. `marks` are those of the
    images that could be read.
    """

    def __init__(self, source: Source, transform: Transform, index: np.ndarray, order: str, seed: int) -> None:
        self.source, self.transform, self.index, self.order, self.seed = source, transform, index, order, seed
        self.skipped: list[str] = []
        self.reasons: list[str] = []
        self.left_out: tuple[tuple[str, str], ...] | None = None
        self.marks: list[Marks] = []
        self._whole: ImageData | None = None

    def __len__(self) -> int:
        return len(self.index)

    def part(self, start: int, stop: int) -> "ImageData":
        """The images at these positions of the order; what it cannot read is counted among the skipped of the whole, too."""
        found = ImageData(self.source, self.transform, self.index[start:stop], self.order, self.seed)
        found._whole = self
        return found

    def without(self, positions: np.ndarray) -> "ImageData":
        """The images that are not at these positions of the source; for what cannot be read see `part`."""
        found = ImageData(self.source, self.transform, self.index[~np.isin(self.index, positions)], self.order, self.seed)
        found._whole = self
        return found

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """Yield batches in order, decoding ahead in threads.

        Raises:
            DataError: batch_size is below 1.
        """
        if batch_size < 1:
            raise DataError(f"batch size is {batch_size}; write a whole number of at least 1")
        self.skipped.clear()
        self.reasons.clear()
        self.marks = []
        if self.source.arrays is not None and self.transform.fits(self.source.arrays):
            for start in range(0, len(self.index), batch_size):
                chosen = self.index[start : start + batch_size]
                yield self._batch(list(self.transform.normalize(self.source.arrays[chosen])), list(chosen))
            return
        images: list[torch.Tensor] = []
        index: list[int] = []
        for position, (seen, image) in self._decoded(2 * batch_size):
            if isinstance(seen, Unreadable) or image is None:
                self._skip(position, seen)
                continue
            self.marks.append(seen.marks)
            images.append(image)
            index.append(position)
            if len(images) == batch_size:
                yield self._batch(images, index)
                images, index = [], []
        if images:
            yield self._batch(images, index)

    def notes(self) -> list[str]:
        """What was guessed or left aside, a line each: by the listing, and by the passes over the images so far."""
        found = list(zip(self.skipped, self.reasons, strict=True))
        skipped = _told("skipped", found, len(self))
        left_out = _told("left out", self.left_out or (), len(self) + len(self.left_out or ()))
        return [*self.source.notes, *left_out, *skipped, *pixel_notes(self.marks, self.transform.exif_rotate)]

    def unread(self) -> DataError:
        """The error where a pass over the images gave not one of them."""
        return DataError(f"none of the {len(self)} images of {self.source.name} could be read; first {self.skipped[0]}: {self.reasons[0]}")

    def _batch(self, images: list[torch.Tensor], index: list[int]) -> Batch:
        positions = np.asarray(index, np.int64)
        return Batch(torch.stack(images), torch.from_numpy(self.source.labels[positions]), positions)

    def _skip(self, position: int, seen: Seen | Unreadable) -> None:
        name = self.source.label_name(position)
        self.skipped.append(name)
        self.reasons.append(seen.reason if isinstance(seen, Unreadable) else "")
        if self._whole is not None and name not in self._whole.skipped:
            self._whole._skip(position, seen)

    def _decoded(self, ahead: int) -> Iterator[tuple[int, tuple[Seen | Unreadable, torch.Tensor | None]]]:
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            waiting: deque = deque()
            for position in self.index:
                waiting.append((int(position), pool.submit(self._read, int(position))))
                if len(waiting) > ahead:
                    done, future = waiting.popleft()
                    yield done, future.result()
            while waiting:
                done, future = waiting.popleft()
                yield done, future.result()

    def _read(self, position: int) -> tuple[Seen | Unreadable, torch.Tensor | None]:
        seen = see(self.source, position, self.transform.channels, self.transform.exif_rotate)
        if isinstance(seen, Unreadable):
            return seen, None
        image = transformed(seen.image, self.transform.pipeline, self.transform.misfit(seen.image.size))
        return (image, None) if isinstance(image, Unreadable) else (seen, image)


def _told(what: str, found: Sequence[tuple[str, str]], images: int) -> list[str]:
    """A line a reason: how many of the images, and the first by name."""
    counts, first = Counter(reason for _, reason in found), {reason: name for name, reason in reversed(found)}
    return [
        f"{what} {count:,} of {images:,} images, {'first ' if count > 1 else ''}{first[reason]}: {reason}"
        for reason, count in counts.items()
    ]


def load_data(
    data: str | Path | Source, model: nn.Module, images: int | None = None, order: str = "shuffled", seed: int = 0, labelled: bool = True,
    reading: Reading | None = None,
) -> ImageData:
    """Return images with the model's own transform.

    Args:
        data: `fashion-mnist`, `fashion-mnist:calibration`, a folder with one subfolder of images a class, or what else `open_source` reads;
            or what it gave.
        images: how many, class-balanced and drawn by `seed`; None takes all.
        order: `shuffled` by `seed`, or `sorted` by class.
        labelled: False where labels are not used (calibration): the classes then need not be the model's; where they are without any
            doubt, the set says so by its `class_to_index`. Of a model without a classifier they never are.
        reading: which output of the model a class is; None leaves that to names and the alphabet, see `match_classes`. Also the table of
            labels of a set without class folders.

    Raises:
        DataError: no such data, no images, an unknown order, or classes that are not the model's.
    """
    reading, info = reading or Reading(), get_info(model)
    answers = info.shape.num_classes > 0  # without a classifier there are no outputs that classes could be, and labels may be missing
    source = data if isinstance(data, Source) else open_source(data, labelled and answers, reading.labels)
    if order not in ORDERS:
        raise DataError(f"unknown order {order!r}; choose from {', '.join(ORDERS)}")
    if images is not None and images < 1:
        raise DataError(f"images is {images}; write a whole number of at least 1, or leave it out for all {len(source)}")
    if answers:
        source = (match_classes if labelled else _match_if_certain)(source, info, reading)
    rng = np.random.default_rng(seed)
    index = np.arange(len(source)) if images is None or images >= len(source) else balanced_subset(source.labels, images, rng)
    return ImageData(source, transform_for(model), _ordered(index, source.labels, order, rng), order, seed)


def _match_if_certain(source: Source, info: ModelInfo, reading: Reading) -> Source:
    """The set with the model's outputs for labels where nothing about them is guessed, else as it is."""
    if not source.has_classes:
        return source
    try:
        found = match_classes(source, info, reading)
    except DataError:
        return source
    return found if found.notes == source.notes else source


def arranged(data: ImageData, order: str, seed: int) -> ImageData:
    """Return the same images in another order: `shuffled` by `seed`, or `sorted` by class; `data` stays as it is."""
    index = _ordered(np.sort(data.index), data.source.labels, order, np.random.default_rng(seed))
    return ImageData(data.source, data.transform, index, order, seed)


def _ordered(index: np.ndarray, labels: np.ndarray, order: str, rng: np.random.Generator) -> np.ndarray:
    return rng.permutation(index) if order == "shuffled" else index[np.argsort(labels[index], kind="stable")]


def balanced_subset(labels: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw `count` positions as evenly over the classes as their sizes allow, ascending."""
    pools = {label: rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)}
    order = rng.permutation(list(pools))
    taken = dict.fromkeys(pools, 0)
    left = count
    while left:
        open_classes = [label for label in order if taken[label] < len(pools[label])][:left]
        share = max(1, left // len(open_classes))
        for label in open_classes:
            step = min(share, len(pools[label]) - taken[label])
            taken[label] += step
            left -= step
    return np.sort(np.concatenate([pools[label][: taken[label]] for label in pools]))
