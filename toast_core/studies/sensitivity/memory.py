"""How many images a sweep may hold at once within a memory budget."""

import math

from toast_core.cost.macs import count_cost
from toast_core.cost.shapes import ModelShape
from toast_core.errors import DeviceError
from toast_core.machine import RUNTIME_BYTES

_LIVE_TENSORS = 6  # copies of a block's widest activation that a cell holds at once, attention's and the allocator's included
_CHANNELS = 3


def images_at_once(shape: ModelShape, batch_size: int, memory_gb: float, value_bytes: int = 4, whole_batches: bool = False) -> int:
    """Return the largest number of images, at most `batch_size`, whose sweep fits `memory_gb` (1e9 bytes, the process as a whole).

    A sweep holds the input of every block and one cell's activations; weights count once, and once more for the widest block.

    Args:
        value_bytes: of a weight or activation: 4 in float32, 2 in the 16-bit types.
        whole_batches: selection looks at the batch (`per_batch`), so that a batch must not be cut.

    Raises:
        DeviceError: one image, or with `whole_batches` one batch, needs more; the message says how much.
    """
    fixed, each = sweep_bytes(shape, value_bytes)
    fitting = math.floor((memory_gb * 1e9 - fixed) / each)
    needed = math.ceil((fixed + each * (batch_size if whole_batches else 1)) / 1e8) / 10
    if whole_batches and fitting < batch_size:
        smaller = f"or --batch-size {fitting}" if fitting > 0 else "or a smaller batch"
        raise DeviceError(
            f"a memory budget of {memory_gb:g} GB is too small for {shape.name} at batch size {batch_size}, and per_batch selection "
            f"looks at whole batches; give --memory-gb {needed:g} or more, {smaller}"
        )
    if fitting < 1:
        raise DeviceError(f"a memory budget of {memory_gb:g} GB is too small for {shape.name}; give --memory-gb {needed:g} or more")
    return min(batch_size, fitting)


def sweep_bytes(shape: ModelShape, value_bytes: int = 4) -> tuple[int, int]:
    """What a sweep's process needs, in bytes: whatever the batch, and for each image of it."""
    widest = max(block.tokens * block.hidden for block in shape.blocks)
    largest = max(4 * block.width**2 + 2 * block.width * block.hidden for block in shape.blocks)
    fixed = RUNTIME_BYTES + value_bytes * (count_cost(shape).params + largest)
    inputs = sum(block.tokens * block.width for block in shape.blocks)
    decoded = 3 * 4 * _CHANNELS * shape.image_size**2  # this batch and two that are decoded ahead, in float32
    return fixed, value_bytes * (inputs + _LIVE_TENSORS * widest) + decoded
