"""What fitting a block takes, before it is done. Imports no torch."""

from toast_core.cost.macs import BlockCost
from toast_core.cost.shapes import BlockShape

_RUNS = 4  # of the block in all: its halves are run several times, the baseline's and the pruned one's
_DOUBLE = 2  # products of float64 take as long as two of float32


def fit_macs(shape: BlockShape, cost: BlockCost) -> int:
    """About how many multiply-accumulates of float32 the fit of a block is worth, for one calibration image.

    `cost` is the whole block's. Runs of its halves, and sums of squares of what both fitted layers are given; 7 times a forward
    of demo_vit for all its blocks, where 7.3 were measured.
    """
    inner = shape.heads * shape.head_dim
    return _RUNS * cost.macs + _DOUBLE * (shape.tokens * shape.hidden**2 + shape.attention_tokens * 3 * inner**2)
