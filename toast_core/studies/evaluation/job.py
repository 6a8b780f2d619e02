"""A whole evaluation of one schedule as a job."""

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

from analysis_cache.analysis import Analysis
from analysis_cache.store import EvidenceStore
from toast_core.command import command_line
from toast_core.cost.macs import count_cost
from toast_core.intervals import Estimate
from toast_core.schedule.execution import check_execution
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup
from toast_core.studies.base import Report, Work, as_schedule, calibration_images, check_sizes
from toast_core.studies.evaluation.store import analyze_evaluation, evaluation_identity
from toast_core.studies.subject import Subject
from toast_core.studies.tasks.registry import task_in
from toast_core.workbench import Workbench


@dataclass(frozen=True)
class EvaluationRun:
    """Accuracy and loss of one schedule on `images` images (None: all), stored per image."""

    kind: ClassVar[str] = "evaluation"
    overhead: ClassVar[float] = 1.1
    schedule: Schedule
    images: int | None = None
    execution: str = "masked"
    batch_size: int = 64

    def __post_init__(self) -> None:
        check_sizes(self.images, self.batch_size)
        object.__setattr__(self, "schedule", as_schedule(self.schedule))
        check_execution(self.execution)

    def title(self) -> str:
        """For example `evaluation of schedule 0123abcd, calibrated, masked`."""
        if self.schedule.is_baseline:
            return "evaluation of the baseline"
        return f"evaluation of schedule {self.schedule.digest()[:8]}, {self.schedule.selection.replace('_', ' ')}, {self.execution}"

    def command(self, setup: Setup) -> str:
        """A `toast evaluate` line; the schedule is the file that the Tune page downloads."""
        sized = replace(setup, images=self.images, batch_size=self.batch_size)
        return command_line("evaluate", sized, {"execution": self.execution}, self.schedule)

    def work(self, workbench: Workbench, store: EvidenceStore) -> Work:
        """One cell on every image; a masked model runs at the baseline's cost, and features are compared with the baseline's."""
        statistics = workbench.statistics_for(self.schedule, self.batch_size)
        subject = Subject.on(workbench, self.kind, self.images, self.batch_size)
        stored = len(store.has_many([evaluation_identity(subject, self.schedule, self.execution, statistics).key]))
        cost = count_cost(workbench.shape, self.schedule if self.execution == "compact" else None).macs
        beside = count_cost(workbench.shape).macs if subject.task.compares and not self.schedule.is_baseline else 0
        bank = len(subject.bank.images) if subject.bank else 0
        fits = workbench.fitting_macs(self.schedule, self.batch_size)
        macs = 0 if stored else len(subject.data) * (cost + beside) + bank * cost + fits
        return Work(1, stored, len(subject.data), macs, calibration_images(statistics))

    def measure(self, workbench: Workbench, store: EvidenceStore, report: Report) -> Analysis:
        """Measure the cell unless it is stored; steps are images."""
        statistics = workbench.statistics_for(self.schedule, self.batch_size)
        subject = Subject.on(workbench, self.kind, self.images, self.batch_size)
        planner = partial(workbench.plan, self.schedule, self.batch_size)
        return analyze_evaluation(subject, store, self.schedule, self.execution, statistics, report, planner)

    def outcome(self, store: EvidenceStore, analysis: Analysis) -> str:
        """For example `top-1 91.2 % (95 %: 90.6 to 91.7 %)`."""
        cell = store.get(analysis.cell_keys[0])
        figure = task_in(cell.identity.detail).figures[0]
        return figure.in_short(Estimate.from_dict(cell.summary[figure.key]))
