"""Putting a schedule into effect as a job: the compact model in a file, and what shows that it is the model that was measured."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from analysis_cache.analysis import Analysis
from analysis_cache.key import CellIdentity
from analysis_cache.store import EvidenceStore
from toast_core.command import command_line
from toast_core.cost.macs import count_cost
from toast_core.errors import JobError
from toast_core.files import printable, sha256_of
from toast_core.loading import save_model
from toast_core.machine import processor_name
from toast_core.pruning.execution.apply import apply_plan
from toast_core.pruning.statistics import Statistics
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup
from toast_core.studies.agreement.measure import EXECUTIONS, Compared, compare
from toast_core.studies.agreement.result import Agreement
from toast_core.studies.analyses import announce, finish
from toast_core.studies.base import Report, Work, as_schedule, calibration_images, check_sizes
from toast_core.studies.evaluation.store import evaluation_identity, evaluation_summary
from toast_core.studies.latency.pairs import time_pairs
from toast_core.studies.latency.result import Timing
from toast_core.studies.subject import Subject
from toast_core.studies.tasks.registry import TASKS
from toast_core.workbench import Workbench

TIMED_BATCHES = (1, 32)
PAIRS = 15
_DEFAULT_IMAGES = 1000
_OUTPUT = "pruned.safetensors"


@dataclass(frozen=True)
class ApplyRun:
    """Prune, write the compact model, and compare baseline, masked and compact on `images` images (None: all).

    The record is a cell of kind agreement (`toast_core.studies.agreement.result`); the file is named after that cell's key. An interrupted
    run begins again: it takes about three evaluations and a minute.
    """

    kind: ClassVar[str] = "apply"
    overhead: ClassVar[float] = 1.2
    schedule: Schedule
    images: int | None = _DEFAULT_IMAGES
    batch_size: int = 64

    def __post_init__(self) -> None:
        check_sizes(self.images, self.batch_size)
        object.__setattr__(self, "schedule", as_schedule(self.schedule))
        if self.schedule.is_baseline:
            raise JobError("the schedule prunes nothing, so there is nothing to apply; give a ratio above 0 in some block")
        if self.schedule.coupling == "uncoupled" and any((*self.schedule.ratios("qk"), *self.schedule.ratios("vo"))):
            raise JobError("coupling uncoupled keeps other dimensions on each side of a pair, so there is no compact form; choose coupled")

    def title(self) -> str:
        """For example `apply schedule 0123abcd, calibrated`."""
        return f"apply schedule {self.schedule.digest()[:8]}, {self.schedule.selection.replace('_', ' ')}"

    def command(self, setup: Setup) -> str:
        """Two lines: `toast apply` writes the same file, `toast evaluate` measures it."""
        sized = replace(setup, images=self.images, batch_size=self.batch_size)
        written = replace(sized, model=None, weights=_OUTPUT, num_classes=None, img_size=None)
        applied = command_line("apply", sized, {"output": _OUTPUT}, self.schedule)
        return f"{applied}\n{command_line('evaluate', written)}"

    def _identities(self, subject: Subject, statistics: Statistics | None) -> tuple[CellIdentity, dict[str, CellIdentity]]:
        """The record's cell, and the evaluation of each execution. Times hold for one processor and one PyTorch only."""
        evaluations = {name: evaluation_identity(subject, self.schedule, name, statistics) for name in EXECUTIONS}
        evaluations["baseline"] = evaluation_identity(subject, Schedule.uniform(len(self.schedule.blocks)), "baseline", None)
        processor = processor_name(next(subject.model.parameters()).device)
        calibration = evaluations["compact"].detail.get("calibration", "none")
        record = replace(
            subject.identity, schedule_digest=self.schedule.digest(), selection=self.schedule.selection,
            details={**subject.task.details, "calibration": calibration, "processor": processor, "torch": version("torch")},
        )
        return record, evaluations

    def work(self, workbench: Workbench, store: EvidenceStore) -> Work:
        """One record, stored where its file is still there; else three evaluations, and the pairs on the clock."""
        statistics, subject = self._given(workbench)
        record, _ = self._identities(subject, statistics)
        stored, images = int(_is_written(workbench.setup, store, record.key)), len(subject.data)
        baseline, compact = count_cost(workbench.shape).macs, count_cost(workbench.shape, self.schedule).macs
        once = PAIRS * sum(TIMED_BATCHES) * (baseline + compact) + workbench.fitting_macs(self.schedule, self.batch_size)
        return Work(1, stored, images, 0 if stored else images * (2 * baseline + compact) + once, calibration_images(statistics))

    def measure(self, workbench: Workbench, store: EvidenceStore, report: Report) -> Analysis:
        """Write the file and its record; steps are images, and as many for each batch size on the clock as there are pairs."""
        statistics, subject = self._given(workbench)
        record, evaluations = self._identities(subject, statistics)
        request = subject.request(metric="agreement", schedule=self.schedule.to_dict(), **record.detail)
        label = f"agreement of {subject.identity.model}, {self.schedule.selection}, schedule {self.schedule.digest()[:8]}"
        identities = (record, *(evaluations[name] for name in EXECUTIONS))
        analysis = announce(store, request, label, identities)
        if not _is_written(workbench.setup, store, record.key):
            # what is said of a file that is gone must not be said of the next one
            store.remove([record.key])
            plan = workbench.plan(self.schedule, self.batch_size)
            models = {"baseline": workbench.model} | {name: apply_plan(workbench.model, plan, name) for name in ("masked", "compact")}
            path = file_path(workbench.setup, record.key)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            save_model(models["compact"], path)
            steps = len(subject.data) + PAIRS * len(TIMED_BATCHES)
            compared = compare(models, subject.data, self.batch_size, lambda done, total: report(done, steps), subject.bank)
            timings = _timings(models, subject, lambda done: report(len(subject.data) + done, steps))
            for name in EXECUTIONS:
                outcomes = compared.outcomes[name]
                store.put(evaluations[name], evaluation_summary(outcomes), outcomes.stored())
            store.put(record, self._agreement(subject, models, compared, timings, path).to_dict(), {})
            report(steps, steps)
        return finish(store, analysis)

    def _given(self, workbench: Workbench) -> tuple[Statistics | None, Subject]:
        return workbench.statistics_for(self.schedule, self.batch_size), Subject.on(workbench, "agreement", self.images, self.batch_size)

    def _agreement(
        self, subject: Subject, models: dict[str, nn.Module], compared: Compared, timings: tuple[Timing, ...], path: Path
    ) -> Agreement:
        outcomes, shape = compared.outcomes, models["baseline"].toast_info.shape
        headline = subject.task.figures[0].key
        device = next(subject.model.parameters()).device
        return Agreement(
            model=subject.identity.model, selection=self.schedule.selection, schedule=self.schedule.digest(),
            images=len(outcomes["compact"].index), batch_size=self.batch_size,
            headline={name: outcomes[name].estimates()[headline] for name in EXECUTIONS},
            delta=outcomes["compact"].change(outcomes["baseline"]), same=compared.same, task=subject.task.name,
            largest_difference=compared.largest_difference, largest_logit=compared.largest_logit,
            macs={"baseline": count_cost(shape).macs, "compact": count_cost(shape, self.schedule).macs},
            params={name: sum(parameter.numel() for parameter in models[name].parameters()) for name in ("baseline", "compact")},
            timings=timings, dtype=subject.identity.dtype, device=str(device), processor=processor_name(device),
            threads=torch.get_num_threads(),
            versions={"python": sys.version.split()[0], "torch": version("torch"), "timm": version("timm")},
            file_sha256=sha256_of(path), file_bytes=path.stat().st_size,
            data=printable(subject.data.source.name), classes=tuple(map(printable, subject.data.source.classes)),
        )

    def outcome(self, store: EvidenceStore, analysis: Analysis) -> str:
        """For example `top-1 91.2 % (95 %: 90.6 to 91.7 %), compact equals masked`."""
        record = Agreement.from_dict(store.get(analysis.cell_keys[0]).summary)
        figure, equal = TASKS[record.task].figures[0], "equals" if record.is_equal else "differs from"
        return f"{figure.in_short(record.headline['compact'])}, compact {equal} masked"


def file_path(setup: Setup, key: str) -> Path:
    """Where the compact model of a record is written: pages find it by the same rule, so that no record can name another file.

    Raises:
        JobError: the setup names no folder.
    """
    if setup.applied is None:
        raise JobError("there is no folder for the pruned model; submit the run from a dashboard")
    return Path(setup.applied) / f"{key}.safetensors"


def _is_written(setup: Setup, store: EvidenceStore, key: str) -> bool:
    """Whether the record is stored and its file is there, whole."""
    found, path = store.heads([key]), file_path(setup, key)
    return bool(found) and path.is_file() and sha256_of(path) == found[0].summary["file_sha256"]


def _timings(models: dict[str, nn.Module], subject: Subject, progress: Callable[[int], object]) -> tuple[Timing, ...]:
    """Baseline against compact on the first images, at each batch size that there are images for."""
    images = next(subject.data.batches(max(TIMED_BATCHES))).images
    sizes = sorted({min(size, len(images)) for size in TIMED_BATCHES})
    baseline, compact = models["baseline"], models["compact"]
    return tuple(
        time_pairs(baseline, compact, images[:size], PAIRS, progress=lambda done, before=number * PAIRS: progress(before + done))
        for number, size in enumerate(sizes)
    )
