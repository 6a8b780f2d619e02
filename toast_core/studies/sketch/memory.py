"""How many images a sketch may hold at once within a memory budget."""

import math

from toast_core.cost.macs import count_cost
from toast_core.cost.shapes import ModelShape
from toast_core.errors import DeviceError
from toast_core.machine import RUNTIME_BYTES

_VALUE_BYTES = 4
_GRAPH = 4  # copies of a block's activations that a backward pass keeps, and of every direction's gradients as they are joined


def images_at_once(shape: ModelShape, batch_size: int, draws: int, memory_gb: float, whole_batches: bool = False) -> int:
    """Return the largest number of images, at most `batch_size`, whose sketch fits `memory_gb` (1e9 bytes, the process as a whole).

    A sketch holds the input of every block, one block's activations for the backward passes, and that block's gradients a direction.

    Raises:
        DeviceError: one image, or with `whole_batches` one batch, needs more; the message says how much.
    """
    inputs = sum(block.tokens * block.width for block in shape.blocks)
    widest = max(block.tokens * (3 * block.width + block.hidden) for block in shape.blocks)
    logits = max(block.heads * block.tokens * block.keys for block in shape.blocks)
    fixed = RUNTIME_BYTES + _VALUE_BYTES * count_cost(shape).params
    each = _VALUE_BYTES * (inputs + _GRAPH * ((1 + draws) * widest + logits))
    fitting = math.floor((memory_gb * 1e9 - fixed) / each)
    if fitting < (batch_size if whole_batches else 1):
        needed = math.ceil((fixed + each * (batch_size if whole_batches else 1)) / 1e8) / 10
        raise DeviceError(
            f"a memory budget of {memory_gb:g} GB is too small to sketch {shape.name} with {draws} draws"
            f"{f' in whole batches of {batch_size}' if whole_batches else ''}; give --memory-gb {needed:g} or more"
        )
    return min(batch_size, fitting)
