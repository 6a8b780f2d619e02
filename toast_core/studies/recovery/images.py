"""Training images cut in two, in an order and with an augmentation that follow from seed, epoch and position alone."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from toast_core.data.decode import Marks, Unreadable, check, see, transformed
from toast_core.data.image_set import Source
from toast_core.data.load import ImageData, balanced_subset
from toast_core.data.sources import EMBEDDED
from toast_core.data.transform import Transform
from toast_core.errors import DataError
from toast_core.studies.recovery.processes import World
from toast_core.studies.recovery.randomness import drawn_from, seed_of
from toast_core.studies.recovery.recipe import held_out

_ORDER, _MOVES, _PICTURE = 1, 2, 3  # what a seed is for
_SHIFT_SHARE = 1 / 14  # of the side: two pixels of 28
_MOST_WORKERS = 8
_CHUNK = 4096  # images of which the threads that look at them are told at once
_MOST_BROKEN = 0.25


@dataclass(frozen=True)
class Split:
    """Positions in the source, ascending: `train` is learned from, `validation` chooses the epoch."""

    train: np.ndarray
    validation: np.ndarray


def looked_at(data: ImageData, world: World = World()) -> ImageData:  # noqa: B008 - frozen
    """Read every training image once before anything is learned, each process a share; return the set without those that cannot be read.

    What is left depends on the files alone; `left_out` of what returns says what is missing and why. A set that was looked at is returned.

    Raises:
        DataError: more than a quarter cannot be read.
    """
    if data.left_out is not None:
        return data
    positions = np.sort(data.index)
    found = np.zeros((1 + len(Marks()), len(data)))  # whether it is broken, and its marks
    if data.source.arrays is None:
        mine = np.arange(world.rank, len(positions), world.size)
        with ThreadPoolExecutor(min(_MOST_WORKERS, os.cpu_count() or 1)) as pool:
            for start in range(0, len(mine), _CHUNK):
                part = mine[start : start + _CHUNK]
                looks = pool.map(lambda at: check(data.source, int(positions[at]), data.transform.misfit), part)
                found[:, part] = np.array([[1, *Marks()] if isinstance(look, Unreadable) else [0, *look] for look in looks]).T
    summed = np.array(world.sums(found.ravel().tolist())).reshape(found.shape)
    broken, marks = summed[0] > 0, summed[1:].astype(int)
    out = positions[broken]
    if len(out) > _MOST_BROKEN * len(positions):
        name, reason = _why(data, int(out[0]))
        raise DataError(
            f"{len(out):,} of {len(positions):,} training images cannot be read, more than a quarter; first {name}: {reason}"
        )
    left = ImageData(data.source, data.transform, data.index[~np.isin(data.index, out)], data.order, data.seed)
    left.marks = [Marks(*map(int, row)) for row in marks[:, ~broken].T]
    left.left_out = tuple(_why(data, int(position)) for position in out)
    return left


def _why(data: ImageData, position: int) -> tuple[str, str]:
    found = check(data.source, position, data.transform.misfit)
    return data.source.label_name(position), found.reason if isinstance(found, Unreadable) else "another process could not read it"


def shared_images(one: Source, other: Source) -> int:
    """How many images two sets are known to have in common: all where they are the same set, else the files that are in both."""
    if one.digest == other.digest:
        return len(one)
    return len({file.absolute() for file in one.files} & {file.absolute() for file in other.files})


def split(data: ImageData, share: float, step_images: int, seed: int) -> Split:
    """Hold out a class-balanced `share` of the images; `step_images` are those of one optimizer step.

    Raises:
        DataError: these are test images, or too few of them.
    """
    if EMBEDDED.get(data.source.name) == "test":
        raise DataError(f"{data.source.name} are the test images, which nothing may learn from; name training images, or a folder of them")
    positions = np.sort(data.index)
    held = held_out(len(positions), share)
    rest = len(positions) - held
    if held < 1 or rest < step_images:
        raise DataError(
            f"{len(positions)} images give {held} for validation and {rest} to train on, where one step takes {step_images}; "
            "use more images, or lower --batch-size or --validation-share"
        )
    chosen = balanced_subset(data.source.labels[positions], held, np.random.default_rng(seed))
    return Split(np.delete(positions, chosen), positions[chosen])


def epoch_steps(train: np.ndarray, step_images: int, seed: int, epoch: int) -> np.ndarray:
    """(steps, step_images) positions in the order of one epoch; what does not fill a step is left out of that epoch."""
    steps = len(train) // step_images
    return np.random.default_rng(seed_of(seed, _ORDER, epoch)).permutation(train)[: steps * step_images].reshape(steps, step_images)


class TrainingImages:
    """Augmented inputs. What happens to an image depends on seed, epoch and its position, not on its batch or process."""

    def __init__(self, data: ImageData, labels: bool, augment: bool, seed: int, workers: int | None = None) -> None:
        """`workers` are processes that decode pictures; None: up to 8, fewer where there are fewer cores."""
        self.source, self.transform, self.labels, self.augment, self.seed = data.source, data.transform, labels, augment, seed
        self.in_memory = data.source.arrays is not None and data.transform.fits(data.source.arrays)
        self.workers = min(_MOST_WORKERS, os.cpu_count() or 1) if workers is None else workers

    def batches(self, chunks: Sequence[np.ndarray], epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """For each chunk of positions its input (B, C, H, W) float32 and labels (B,); labels are zeros where they are not used.

        Raises:
            DataError: an image cannot be read.
        """
        moves = self._moves(epoch)
        if self.in_memory:
            inputs: Iterator[torch.Tensor] = (self.transform.normalize(self.source.arrays[chunk]) for chunk in chunks)
        else:
            inputs = self._decoded(chunks, epoch)
        for chunk, images in zip(chunks, inputs, strict=True):
            if self.augment and self.transform.training is None:
                images = moved(images, *(torch.from_numpy(values[chunk]) for values in moves), self.transform)
            labels = self.source.labels[chunk] if self.labels else np.zeros(len(chunk), np.int64)
            yield images, torch.from_numpy(labels)

    def _moves(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Whether each image of the source is mirrored, (n,), and how far it is shifted, (n, 2) in pixels."""
        rng, most = np.random.default_rng(seed_of(self.seed, _MOVES, epoch)), shift_pixels(self.transform)
        return rng.random(len(self.source)) < 0.5, rng.integers(-most, most + 1, (len(self.source), 2))

    def _decoded(self, chunks: Sequence[np.ndarray], epoch: int) -> Iterator[torch.Tensor]:
        pictures = _Pictures(self, epoch)
        order = torch.Generator().manual_seed(self.seed)  # draws nothing that matters; without it the loader draws from the ambient one
        batches = DataLoader(
            pictures, batch_sampler=[list(map(int, chunk)) for chunk in chunks], num_workers=self.workers, generator=order,
            collate_fn=_stacked,
        )
        for batch in batches:
            if isinstance(batch, str):
                raise DataError(f"training image {batch}; it was whole when training began, so mend it and start the same command again")
            yield batch


class _Pictures(Dataset):
    def __init__(self, images: TrainingImages, epoch: int) -> None:
        self.images, self.epoch = images, epoch

    def __getitem__(self, position: int) -> torch.Tensor | str:
        """The input (C, H, W), or the name of a file that cannot be read, and why."""
        source, transform = self.images.source, self.images.transform
        seen = see(source, position, transform.channels, transform.exif_rotate)
        if isinstance(seen, Unreadable):
            return f"{source.label_name(position)} cannot be read: {seen.reason}"
        plain = not self.images.augment or transform.training is None
        pipeline = transform.pipeline if plain or transform.training is None else transform.training
        with nullcontext() if plain else drawn_from(seed_of(self.images.seed, _PICTURE, self.epoch, position), torch.device("cpu")):
            image = transformed(seen.image, pipeline, transform.misfit(seen.image.size))
        return f"{source.label_name(position)} cannot be used: {image.reason}" if isinstance(image, Unreadable) else image


def _stacked(items: list[torch.Tensor | str]) -> torch.Tensor | str:
    """A batch; text where an image of it cannot be read, since what is raised here would reach people as a traceback."""
    return next((item for item in items if isinstance(item, str)), None) or torch.stack(items)


def shift_pixels(transform: Transform) -> int:
    """The largest shift of an image in each direction."""
    return max(1, round(_SHIFT_SHARE * transform.size))


def moved(images: torch.Tensor, mirrored: torch.Tensor, shift: torch.Tensor, transform: Transform) -> torch.Tensor:
    """Mirror and shift each image (B, C, H, W); what comes in from outside is black.

    Args:
        mirrored: (B,) whether.
        shift: (B, 2) pixels down and to the right.
    """
    (batch, channels, height, width), most = images.shape, shift_pixels(transform)
    images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (transform.mean, transform.std))
    padded = F.pad(images + mean / std, (most,) * 4) - mean / std  # black is -mean / std in every channel
    rows = (most - shift[:, :1]) + torch.arange(height)
    columns = (most - shift[:, 1:]) + torch.arange(width)
    which = torch.arange(batch)[:, None, None, None], torch.arange(channels)[None, :, None, None]
    return padded[*which, rows[:, None, :, None], columns[:, None, None, :]]
