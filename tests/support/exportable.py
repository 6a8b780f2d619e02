"""Compact models for the export tests, made once."""

from functools import cache

import torch
from torch import nn

from tests.support.families import EVERY_SITE, block_count, schedule_for, shared_model, shared_statistics
from toast_core.models.build import load_baseline
from toast_core.pruning.execution.apply import apply_plan
from toast_core.pruning.planner import make_plan
from toast_core.pruning.statistics import collect_statistics
from toast_core.schedule.schedule import Schedule

RATIOS = {"qk": 0.25, "vo": 0.25, "fc1": 0.25, "fc2": 0.5}


@cache
def compact_family(name: str, selection: str = "calibrated") -> nn.Module:
    """A family of the tests, every site pruned: never change it."""
    model = shared_model(name)
    schedule = schedule_for(model, selection, **EVERY_SITE)
    return apply_plan(model, make_plan(model, schedule, shared_statistics(name)), "compact")


@cache
def compact_demo(name: str = "demo_vit", selection: str = "calibrated") -> nn.Module:
    """A demo with its own weights, so that a file can name it: never change it."""
    model = load_baseline(name)
    schedule = Schedule.uniform(block_count(model), selection=selection, **RATIOS)
    return apply_plan(model, make_plan(model, schedule, collect_statistics(model, [grey_noise(4)])), "compact")


def grey_noise(count: int, seed: int = 5) -> torch.Tensor:
    """Random images of the demos' size."""
    return torch.randn(count, 1, 28, 28, generator=torch.Generator().manual_seed(seed))
