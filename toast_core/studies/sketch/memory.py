"""What a sketch holds in memory."""

from toast_core.cost.macs import count_cost
from toast_core.cost.shapes import ModelShape
from toast_core.machine import RUNTIME_BYTES
from toast_core.studies.memory import Need

_VALUE_BYTES = 4
_GRAPH = 4  # copies of a block's activations that a backward pass keeps, and of every direction's gradients as they are joined


def sketch_need(shape: ModelShape, draws: int) -> Need:
    """Weights once; the input of every block, one block's activations for the backward passes, and its gradients a direction."""
    inputs = sum(block.tokens * block.width for block in shape.blocks)
    widest = max(block.tokens * (3 * block.width + block.hidden) for block in shape.blocks)
    attention = max(block.heads * block.tokens * block.keys for block in shape.blocks)
    each = _VALUE_BYTES * (inputs + _GRAPH * ((1 + draws) * widest + attention))
    return Need(RUNTIME_BYTES + _VALUE_BYTES * count_cost(shape).params, each, f"a sketch of {shape.name} with {draws} draws")
