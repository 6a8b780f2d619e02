"""What every kind of run must do, and what the kinds share."""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

from analysis_cache.analysis import Analysis
from analysis_cache.store import EvidenceStore
from toast_core.errors import JobError
from toast_core.pruning.statistics import Statistics
from toast_core.schedule.schedule import Schedule
from toast_core.workbench import Basis, Ground

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Work:
    """What a run comes to: its cells, how many of them are stored, its images, the MACs that are left, calibration images before them."""

    cells: int
    stored: int
    images: int
    macs: int
    calibration: int


class Run(Protocol):
    """What a kind must do. Fields are plain values, checked when it is made."""

    kind: ClassVar[str]

    def title(self) -> str:
        """One line for people."""

    def command(self, basis: Basis) -> str:
        """The command line that measures the same."""

    def work(self, ground: Ground, store: EvidenceStore) -> Work:
        """Say what there is to do. Measures nothing but calibration statistics."""

    def measure(self, ground: Ground, store: EvidenceStore, report: Report) -> Analysis:
        """Do it, every finished part at once into the store, and go on from what is there. `report` is told steps done and all steps."""

    def outcome(self, store: EvidenceStore, analysis: Analysis) -> str:
        """What came out, in a few words."""


def check_sizes(images: object, batch_size: object = 1) -> None:
    """Raise a JobError unless both are whole numbers of at least 1; images may be None, for all of them."""
    for name, value in (("images", images), ("batch_size", batch_size)):
        if name == "images" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise JobError(f"{name} is {value!r:.80}; send a whole number of at least 1{', or none for all' if name == 'images' else ''}")


def as_schedule(values: object) -> Schedule:
    """The schedule itself, or the one that these JSON values describe; ScheduleError where they do not."""
    return values if isinstance(values, Schedule) else Schedule.from_dict(values)


def statistics_for(ground: Ground, schedule: Schedule, batch_size: int) -> Statistics | None:
    """What the schedule chooses its channels from; None where it needs nothing.

    Raises:
        ScheduleError: it has another number of blocks than the model.
        DataError: it needs calibration images and none were named.
    """
    schedule.check_length(len(ground.shape.blocks), ground.shape.name)
    return ground.statistics(batch_size, schedule.class_weight) if schedule.needs_calibration else None


def calibration_images(statistics: Statistics | None) -> int:
    """How many images were looked at to calibrate."""
    return statistics.images if statistics else 0


def command_line(command: str, flags: Mapping[str, object]) -> str:
    """A line for a shell; flags without a value are left out."""
    words = [part for name, value in flags.items() if value is not None for part in (f"--{name}", str(value))]
    return shlex.join(["toast", command, *words])
