"""The batches of an image set by number: what tasks name instead of carrying images."""

import math
import platform
from collections.abc import Iterator

from toast_core.data.load import Batch, ImageData
from toast_core.errors import DataError


class NumberedBatches:
    """The batches of `data` by number; the last one is held.

    `in_order`: one process asks for all of them, in order. They are decoded ahead, and unreadable images are skipped without a gap.
    Otherwise each batch is read alone, and an unreadable image is refused: where others read the batches before this one, nobody
    knows by how many images to move it.
    """

    def __init__(self, data: ImageData, batch_size: int, in_order: bool) -> None:
        if batch_size < 1:
            raise DataError(f"batch size is {batch_size}; write a whole number of at least 1")
        self.data, self.batch_size, self.in_order = data, batch_size, in_order
        self._ahead: Iterator[Batch] = iter(())
        self._next, self._held = len(self), (-1, None)

    def __len__(self) -> int:
        """How many there are; skipped images may leave the last ones out."""
        return math.ceil(len(self.data) / self.batch_size)

    def __getstate__(self) -> dict[str, object]:
        """What is sent to a worker: no batch, and no threads that read ahead."""
        return {**self.__dict__, "_ahead": iter(()), "_next": len(self), "_held": (-1, None)}

    def get(self, number: int) -> Batch | None:
        """Return one batch, or None past the last image.

        Raises:
            DataError: an image cannot be read and the batches do not come in order.
        """
        if self._held[0] != number:
            self._held = number, self._in_order(number) if self.in_order else self._alone(number)
        return self._held[1]

    def _in_order(self, number: int) -> Batch | None:
        if number < self._next:
            self._ahead, self._next = self.data.batches(self.batch_size), 0
        batch = None
        while self._next <= number:
            batch, self._next = next(self._ahead, None), self._next + 1
        return batch

    def _alone(self, number: int) -> Batch:
        part = self.data.part(number * self.batch_size, (number + 1) * self.batch_size)
        batch = next(part.batches(self.batch_size), None)
        refuse_skipped(part)
        return batch


def refuse_skipped(data: ImageData) -> None:
    """Raise a DataError if an image of `data` could not be read."""
    if data.skipped:
        raise DataError(
            f"image {data.skipped[0]} cannot be read on {platform.node()}: {data.reasons[0]}; workers elsewhere need every image: put the "
            "folder where all nodes read it by the same path, remove what is unreadable, or use --executor local"
        )
