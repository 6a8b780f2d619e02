"""Same seed, same numbers: twice in a process, and in processes with other hash seeds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from toast_core.loading import load_model
from toast_core.pruning.execution.apply import apply_plan
from toast_core.pruning.planner import make_plan
from toast_core.schedule.schedule import Schedule

ROOT = Path(__file__).parents[2]
PROGRAM = """
import hashlib, torch
torch.set_num_threads(1)
from toast_core import Schedule, apply_plan, load_model, make_plan
model = load_model("demo_vit", weights="random", seed=7)
plan = make_plan(model, Schedule.uniform(12, qk=.5, vo=.5, fc1=.3, fc2=.7, seed=5, selection="per_batch"))
with torch.inference_mode():
    logits = apply_plan(model, plan)(torch.linspace(-1, 1, 2 * 784).view(2, 1, 28, 28))
digest = hashlib.sha256(logits.numpy().tobytes()).hexdigest()
"""


def logits(seed: int = 0, weights_seed: int = 0) -> torch.Tensor:
    """demo_vit with random weights under a schedule."""
    model = load_model("demo_vit", weights="random", seed=weights_seed)
    plan = make_plan(model, Schedule.uniform(12, fc1=0.3, fc2=0.7, seed=seed))
    with torch.inference_mode():
        return apply_plan(model, plan)(torch.linspace(-1, 1, 784).view(1, 1, 28, 28))


def test_same_seed_same_numbers() -> None:
    first = logits()
    torch.manual_seed(99)
    assert torch.equal(logits(), first)


def test_another_seed_other_numbers() -> None:
    assert not torch.equal(logits(seed=1), logits())
    assert not torch.equal(logits(weights_seed=1), logits())


def test_the_forward_draws_nothing() -> None:
    logits()
    state = torch.get_rng_state()
    logits()
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.wide
def test_another_process_with_another_hash_seed_agrees() -> None:
    here: dict = {}
    exec(PROGRAM, here)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "12345"}
    there = subprocess.run([sys.executable, "-c", f"{PROGRAM}\nprint(digest)"], env=environment, capture_output=True, text=True, check=True)
    assert len(here["digest"]) == 64
    assert there.stdout.strip() == here["digest"]
