"""Draws that follow from a seed and a place in the run, so that a resumed run has nothing to remember."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_of(*words: int) -> int:
    """One seed in [0, 2**63) from several whole numbers of at least 0."""
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> np.uint64(1))


@contextmanager
def drawn_from(seed: int, device: torch.device) -> Iterator[None]:
    """Let libraries that draw from the ambient generators draw from `seed` inside; outside finds those generators untouched."""
    on_gpu = device.type == "cuda"
    before = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        random.seed(seed)
        np.random.set_state(np.random.RandomState(seed % 2**32).get_state())
        torch.set_rng_state(torch.Generator().manual_seed(seed).get_state())
        if on_gpu:
            torch.cuda.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])
