"""The contract of a run: what every kind of study must do as a job, and the checks that the kinds share. Imports no torch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from analysis_cache.analysis import Analysis
from analysis_cache.store import EvidenceStore
from toast_core.errors import JobError
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup
from toast_core.workbench import Workbench

if TYPE_CHECKING:
    from toast_core.pruning.statistics import Statistics

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
    """A measurement that can be asked for, priced and done in a process of its own: what a study's `job.py` holds.

    A frozen dataclass; its fields are plain values, checked when it is made, and written to JSON by `registry.run_to_dict`.

    kind        its name in the registry and in the book of jobs
    overhead    CPU seconds a MAC against those of a plain forward, measured on the demos; this machine's finished jobs take its place
    images      how many it measures on; None: all
    batch_size  images of one forward
    """

    kind: ClassVar[str]
    overhead: ClassVar[float]
    images: int | None
    batch_size: int

    def title(self) -> str:
        """One line for people."""

    def command(self, setup: Setup) -> str:
        """The command line that measures the same."""

    def work(self, workbench: Workbench, store: EvidenceStore) -> Work:
        """Count what there is to do. Measures nothing but calibration statistics."""

    def measure(self, workbench: Workbench, store: EvidenceStore, report: Report) -> Analysis:
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


def as_list(name: str, values: object) -> tuple[Any, ...]:
    """A run's list of sites or ratios as a tuple; a JobError unless it is a list of at least one, each once."""
    if not isinstance(values, list | tuple) or not values or len(set(map(str, values))) < len(values):
        raise JobError(f"{name} is {values!r:.80}; send a list of at least one, each once")
    return tuple(values)


def as_schedule(values: object) -> Schedule:
    """The schedule itself, or the one that these JSON values describe; ScheduleError where they do not."""
    return values if isinstance(values, Schedule) else Schedule.from_dict(values)


def calibration_images(statistics: "Statistics | None") -> int:
    """How many images were looked at to calibrate."""
    return statistics.images if statistics else 0
