"""How many images run at once on a device whose memory has run out."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from toast_core.data.load import Batch
from toast_core.errors import DeviceError

_LOG = logging.getLogger(__name__)
Result = TypeVar("Result")


@dataclass
class ImageLimit:
    """How many images of a batch run at once; it is halved, with a warning, whenever the device runs out of memory.

    most       None: whole batches, as long as they fit
    selection  how channels are chosen: under per_batch they depend on the whole batch, which must then not be cut
    """

    most: int | None = None
    selection: str | None = None

    def run(self, batch: Batch, work: Callable[[Batch], Result], join: Callable[[list[Result]], Result]) -> Result:
        """What `work` gives for a batch, joined from pieces where it does not fit whole.

        Raises:
            DeviceError: even one image does not fit, or the batch does not and must not be cut.
        """
        images = len(batch.index)
        if images <= (self.most or images):
            try:
                return work(batch)
            except torch.OutOfMemoryError as error:
                self.most = self._smaller(images, error)
        pieces = [slice(start, start + self.most) for start in range(0, images, self.most)]
        return join([self.run(Batch(batch.images[piece], batch.labels[piece], batch.index[piece]), work, join) for piece in pieces])

    def _smaller(self, images: int, error: Exception) -> int:
        if self.selection == "per_batch":
            raise DeviceError(
                f"the device ran out of memory at batch size {images}, and per_batch selection looks at whole batches; "
                f"use --batch-size {max(1, images // 2)}"
            ) from error
        if images == 1:
            raise DeviceError("one image does not fit into the device's memory; use a smaller --img-size or --dtype bfloat16") from error
        _LOG.warning("out of memory at %d images; going on with %d at once", images, images // 2)
        return images // 2
