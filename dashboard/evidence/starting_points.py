"""Schedules to start from: ours for any model, and the published ones where the model has them."""

from dataclasses import dataclass
from typing import Any

from toast_core.cost.shapes import ModelShape
from toast_core.schedule.presets import Preset, Reported, presets
from toast_core.schedule.schedule import BlockSchedule, Schedule

BASELINE = "baseline"


def identity(schedule: Schedule) -> str:
    """What tells schedules apart: all that prune nothing are the same model."""
    return BASELINE if schedule.is_baseline else schedule.digest()


@dataclass(frozen=True)
class StartingPoint:
    """A named schedule; `reported` are the paper's figures where it is a published one."""

    name: str
    schedule: Schedule
    reported: Reported | None = None


def starting_points(shape: ModelShape, like: Schedule) -> list[StartingPoint]:
    """What a model can start from: with the settings of the schedule `like`; published ones keep those that they were published with.

    Published ones are those of the architecture, whatever weights are in it; a preset's own tag is in its name.
    """
    blocks = len(shape.blocks)
    settings: dict[str, Any] = {"selection": like.selection, "compensation": like.compensation}
    offered = [StartingPoint("Baseline", Schedule.uniform(blocks, **settings))]
    offered += [
        StartingPoint(f"Uniform {percent} %", Schedule.uniform(blocks, *(percent / 100,) * 4, **settings)) for percent in (30, 50)
    ]
    offered.append(StartingPoint("Paper-shaped steps", Schedule(_paper_shaped(blocks), **settings)))
    offered += [
        StartingPoint(_published(preset), preset.schedule, preset.reported)
        for preset in presets().values()
        if _architecture(preset.model) == _architecture(shape.name) and len(preset.schedule.blocks) == blocks
    ]
    return offered


def _architecture(name: str) -> str:
    return name.partition(".")[0]


def _published(preset: Preset) -> str:
    """For example `Published 2.5 GMACs`, or `Published MAE 11.5 GMACs` of a preset whose model's weights are a tag's."""
    tag = preset.model.partition(".")[2].upper()
    return " ".join(filter(None, ("Published", tag, f"{preset.reported.gmacs:g} GMACs")))


def _paper_shaped(blocks: int) -> tuple[BlockSchedule, ...]:
    """The published schedules' shape on any depth: attention thin from block 1 on, the last third's hidden units in steps."""
    rows = []
    for index in range(blocks):
        late = max(0, index - (2 * blocks) // 3 + 1)
        step = min(0.9, 0.5 + 0.4 * late / max(1, blocks // 3)) if late else 0.0
        attention = 0.5 if index else 0.0
        rows.append(BlockSchedule(attention, attention, 0.3 if index >= blocks - 2 else 0.0, round(20 * step) / 20))
    return tuple(rows)
