"""The published schedules, named `<timm_name>@<name>`. Settings are ours to run; what the paper reports stays apart, labelled so."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from toast_core.errors import ScheduleError
from toast_core.schedule.schedule import BlockSchedule, Schedule

_FILE = Path(__file__).with_name("presets.json")


@dataclass(frozen=True)
class Reported:
    """Figures as the paper prints them (ImageNet-1k, H100, batch 128): never measured here. Percent, GMACs, images/s."""

    top1: float
    top5: float
    gmacs: float
    img_s_h100: float
    speedup: float
    recovery_epochs: int | None


@dataclass(frozen=True)
class Preset:
    """A published schedule and what the paper reports for it."""

    name: str
    model: str
    schedule: Schedule
    reported: Reported


@cache
def presets() -> dict[str, Preset]:
    """All published schedules by name."""
    found = {}
    for model in json.loads(_FILE.read_text())["models"]:
        for row in model["schedules"]:
            name = f"{model['timm_name']}@{row['name']}"
            found[name] = Preset(name, model["timm_name"], _schedule(row), Reported(**row["reported"]))
    return found


def _schedule(row: dict[str, Any]) -> Schedule:
    heads = [0.0] + [row["attention_ratio"]] * (len(row["fc1"]) - 1)
    blocks = tuple(BlockSchedule(head, head, fc1, fc2) for head, fc1, fc2 in zip(heads, row["fc1"], row["fc2"], strict=True))
    return Schedule(blocks, selection="per_batch")


def get_preset(name: str) -> Preset:
    """Return one preset, or raise a ScheduleError that names the choices for its model."""
    if name not in presets():
        model = name.partition("@")[0]
        near = [known for known in presets() if known.startswith(f"{model}@")] or list(presets())
        raise ScheduleError(f"unknown preset {name!r}; choose from {', '.join(near)}")
    return presets()[name]
