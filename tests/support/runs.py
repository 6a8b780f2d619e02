"""One small run of every kind as JSON, and a tiny model with a name to do them on."""

import copy
from functools import cache
from pathlib import Path
from unittest import mock

from torch import nn

from tests.support.families import tiny_demo
from toast_core.data.describe import described, source_of_names
from toast_core.models.build import load_baseline
from toast_core.models.demo import DEMO_BUILDERS
from toast_core.models.info import get_info
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup
from toast_core.workbench import Workbench

TINY = "demo_tiny"  # the fixture named_tiny lets commands of the test's process load it by this name
FC2 = Schedule.uniform(3, fc2=0.5, selection="calibrated")
WHOLE = Schedule.uniform(3, qk=0.5, vo=0.5, fc2=0.5, selection="calibrated")
RECOVERED = Schedule.uniform(3, vo=0.5, fc2=0.7, selection="calibrated")
SENSITIVITY = {"kind": "sensitivity", "sites": ["fc2"], "ratios": [0.5], "images": 16, "batch_size": 8}
REDUNDANCY = {"kind": "redundancy"}
EVALUATION = {"kind": "evaluation", "schedule": FC2.to_dict(), "images": 16, "batch_size": 8}
COMPOSITION = {"kind": "composition", "schedule": WHOLE.to_dict(), "images": 4}
SKETCH = {"kind": "sketch", "sites": ["vo", "fc2"], "ratios": [0.2, 0.6], "images": 20, "batch_size": 16}
APPLY = {"kind": "apply", "schedule": WHOLE.to_dict(), "images": 16, "batch_size": 8}
TUNING = {
    "kind": "tuning", "unit": "macs", "limit": 350_000, "sites": ["fc2"], "ratios": [0.5, 0.9], "locks": [[0, "fc2", 0.0]],
    "ranges": [[1, "fc2", 0.0, 0.4]], "images": 24, "batch_size": 8,
    "compensation": {"ffn": "fold", "attention": "select", "calibration": "one_shot"},
}
RECOVERY = {
    "kind": "recovery", "schedule": RECOVERED.to_dict(), "images": 40, "recipe": {"epochs": 2, "batch_size": 12, "labels": True},
    "test_images": 30,
}

EXPORT = {"kind": "export", "schedule": WHOLE.to_dict(), "source": "0" * 64, "formats": ["safetensors"]}
CERTIFICATE = {"kind": "certificate", "schedule": WHOLE.to_dict(), "source": "0" * 64, "images": 16, "batch_size": 8}


@cache
def random_tiny() -> nn.Module:
    """The tiny model for the demos' images with random weights, which no run changes."""
    with mock.patch.dict(DEMO_BUILDERS, {TINY: tiny_demo}):
        return load_baseline(TINY, "random")


def tiny_workbench(folder: Path, **changes: object) -> Workbench:
    """It on the demos' images, with a store and a place for pruned models in `folder`, and twenty images to calibrate on."""
    named = {
        "data": "fashion-mnist", "calibration": "fashion-mnist:calibration", "calibration_images": 20, "device": "cpu",
        "store": str(folder / "evidence.sqlite"), "applied": str(folder / "applied"),
    }
    setup, model = Setup(TINY, "random", **named | changes), copy.copy(random_tiny())
    source = source_of_names(get_info(model), setup)
    model.toast_info = described(get_info(model), setup, source)
    return Workbench(model, setup, source=source)


def say_nothing(done: int, total: int) -> None:
    """No progress."""
