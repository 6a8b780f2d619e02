"""One small run of every kind as JSON, and the demo with random weights to do them on."""

from functools import cache
from pathlib import Path

import torch

from toast_core.models.build import load_baseline
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup
from toast_core.workbench import Workbench

FC2 = Schedule.uniform(12, fc2=0.5, selection="calibrated")
WHOLE = Schedule.uniform(12, qk=0.5, vo=0.5, fc2=0.5, selection="calibrated")
RECOVERED = Schedule.uniform(12, vo=0.5, fc2=0.7, selection="calibrated")
SENSITIVITY = {"kind": "sensitivity", "sites": ["fc2"], "ratios": [0.5], "images": 16, "batch_size": 8}
REDUNDANCY = {"kind": "redundancy"}
EVALUATION = {"kind": "evaluation", "schedule": FC2.to_dict(), "images": 16, "batch_size": 8}
COMPOSITION = {"kind": "composition", "schedule": WHOLE.to_dict(), "images": 4}
APPLY = {"kind": "apply", "schedule": WHOLE.to_dict(), "images": 16, "batch_size": 8}
TUNING = {
    "kind": "tuning", "unit": "macs", "limit": 60_000_000, "sites": ["fc2"], "ratios": [0.5, 0.9], "locks": [[0, "fc2", 0.0]],
    "ranges": [[1, "fc2", 0.0, 0.4]], "images": 24, "batch_size": 8,
    "compensation": {"ffn": "fold", "attention": "select", "calibration": "one_shot"},
}
RECOVERY = {
    "kind": "recovery", "schedule": RECOVERED.to_dict(), "images": 40, "recipe": {"epochs": 2, "batch_size": 12, "labels": True},
    "test_images": 30,
}


@cache
def random_demo() -> torch.nn.Module:
    """The demo with random weights, which no run changes."""
    return load_baseline("demo_vit", "random")


def demo_workbench(folder: Path, **changes: object) -> Workbench:
    """It on its images, with a store and a place for pruned models in `folder`, and twenty images to calibrate on."""
    named = {
        "data": "fashion-mnist", "calibration": "fashion-mnist:calibration", "calibration_images": 20, "device": "cpu",
        "store": str(folder / "evidence.sqlite"), "applied": str(folder / "applied"),
    }
    return Workbench(random_demo(), Setup("demo_vit", "random", **named | changes))


def say_nothing(done: int, total: int) -> None:
    """No progress."""
