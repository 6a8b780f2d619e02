"""Whether a schedule's accuracy depends on which images share a batch, as a job."""

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

from analysis_cache.analysis import Analysis
from analysis_cache.store import EvidenceStore
from toast_core.command import command_line
from toast_core.cost.macs import count_cost
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup
from toast_core.studies.base import Report, Work, as_schedule, calibration_images, check_sizes
from toast_core.studies.composition.result import CompositionRow
from toast_core.studies.composition.store import analyze_composition, composition_identities
from toast_core.studies.composition.verdict import judge
from toast_core.studies.subject import Subject
from toast_core.workbench import Workbench

_VERDICTS = {True: "safe to deploy", False: "not safe to deploy as evaluated", None: "not decided"}


@dataclass(frozen=True)
class CompositionRun:
    """One schedule on `images` images (None: all) in class order and shuffled, in batches of 1 to 256."""

    kind: ClassVar[str] = "composition"
    overhead: ClassVar[float] = 1.5
    batch_size: ClassVar[int] = 64  # of the calibration: the conditions have sizes of their own
    schedule: Schedule
    images: int | None = None

    def __post_init__(self) -> None:
        check_sizes(self.images)
        object.__setattr__(self, "schedule", as_schedule(self.schedule))

    def title(self) -> str:
        """For example `batch composition of schedule 0123abcd, per image`."""
        return f"batch composition of schedule {self.schedule.digest()[:8]}, {self.schedule.selection.replace('_', ' ')}"

    def command(self, setup: Setup) -> str:
        """A `toast analyze` line; the schedule is the file that the Apply and Tune pages download."""
        sized = replace(setup, images=self.images, batch_size=self.batch_size)
        return command_line("analyze", sized, {"metrics": self.kind}, self.schedule)

    def work(self, workbench: Workbench, store: EvidenceStore) -> Work:
        """A cell a condition, each on every image; masked models run at the baseline's cost."""
        statistics = workbench.statistics_for(self.schedule, self.batch_size)
        subject = Subject.on(workbench, self.kind, self.images, self.batch_size)
        keys = [identity.key for identity in composition_identities(subject, self.schedule, statistics).values()]
        stored = len(store.has_many(keys))
        fits = workbench.fitting_macs(self.schedule, self.batch_size) if stored < len(keys) else 0
        macs = (len(keys) - stored) * len(subject.data) * count_cost(workbench.shape).macs + fits
        return Work(len(keys), stored, len(subject.data), macs, calibration_images(statistics))

    def measure(self, workbench: Workbench, store: EvidenceStore, report: Report) -> Analysis:
        """Measure the conditions that are not stored; steps are images, those of every condition."""
        statistics = workbench.statistics_for(self.schedule, self.batch_size)
        subject = Subject.on(workbench, self.kind, self.images, self.batch_size)
        planner = partial(workbench.plan, self.schedule, self.batch_size)
        return analyze_composition(subject, store, self.schedule, statistics, report, planner=planner)[0]

    def outcome(self, store: EvidenceStore, analysis: Analysis) -> str:
        """The verdict in a few words, such as `safe to deploy`."""
        rows = [CompositionRow.from_dict(head.summary) for head in store.heads(analysis.cell_keys)]
        return _VERDICTS[judge(rows).safe]
