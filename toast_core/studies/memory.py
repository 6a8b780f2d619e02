"""How many images a measurement may hold at once within a memory budget. Imports no torch."""

import math
from dataclasses import dataclass

from toast_core.errors import DeviceError


@dataclass(frozen=True)
class Need:
    """What a measurement's process holds: `fixed` bytes whatever the batch, and `each` for every image of it; `what` it does, in words."""

    fixed: int
    each: int
    what: str

    def images_within(self, memory_gb: float, batch_size: int, whole_batches: bool = False) -> int:
        """Return the largest number of images, at most `batch_size`, that fits `memory_gb` (1e9 bytes, the process as a whole).

        Args:
            whole_batches: selection looks at the batch (`per_batch`), so that a batch must not be cut.

        Raises:
            DeviceError: one image, or with `whole_batches` one batch, needs more; the message says how much.
        """
        fitting = math.floor((memory_gb * 1e9 - self.fixed) / self.each)
        needed = math.ceil((self.fixed + self.each * (batch_size if whole_batches else 1)) / 1e8) / 10
        if whole_batches and fitting < batch_size:
            smaller = f"or --batch-size {fitting}" if fitting > 0 else "or a smaller batch"
            raise DeviceError(
                f"a memory budget of {memory_gb:g} GB is too small for {self.what} at batch size {batch_size}, and per_batch selection "
                f"looks at whole batches; give --memory-gb {needed:g} or more, {smaller}"
            )
        if fitting < 1:
            raise DeviceError(f"a memory budget of {memory_gb:g} GB is too small for {self.what}; give --memory-gb {needed:g} or more")
        return min(batch_size, fitting)
