"""Small matrix work on one thread."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_SMALL = 1024  # channels; threads begin to pay for a Cholesky factor or a rank-one update above this


@contextmanager
def few_threads(channels: int) -> Iterator[None]:
    """Run the block on one CPU thread where its matrices are small.

    Thousands of tiny operations wait for each other's threads: with two of them on two cores that other programs keep busy,
    ordering 384 channels took 2 s of CPU instead of 0.1.
    """
    before = torch.get_num_threads()
    if channels > _SMALL or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
