"""What a sweep holds in memory."""

from toast_core.cost.macs import count_cost
from toast_core.cost.shapes import ModelShape
from toast_core.machine import RUNTIME_BYTES
from toast_core.studies.memory import Need

_LIVE_TENSORS = 6  # copies of a block's widest activation that a cell holds at once, attention's and the allocator's included
_CHANNELS = 3


def sweep_need(shape: ModelShape, value_bytes: int = 4) -> Need:
    """Weights once, and once more for the widest block; the input of every block, one cell's activations, and images decoded ahead.

    `value_bytes` of a weight or activation: 4 in float32, 2 in the 16-bit types.
    """
    widest = max(block.tokens * block.hidden for block in shape.blocks)
    largest = max(4 * block.width**2 + 2 * block.width * block.hidden for block in shape.blocks)
    fixed = RUNTIME_BYTES + value_bytes * (count_cost(shape).params + largest)
    inputs = sum(block.tokens * block.width for block in shape.blocks)
    decoded = 3 * 4 * _CHANNELS * shape.image_size**2  # this batch and two that are decoded ahead, in float32
    return Need(fixed, value_bytes * (inputs + _LIVE_TENSORS * widest) + decoded, shape.name)
