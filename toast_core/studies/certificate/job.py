"""Certifying a pruned file as a job: the certificate is the cell, so that a store alone can give it out."""

from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

from analysis_cache.analysis import Analysis
from analysis_cache.key import CellIdentity
from analysis_cache.store import EvidenceStore
from toast_core.command import SCHEDULE_FILE, command_line
from toast_core.cost.macs import count_cost
from toast_core.errors import JobError
from toast_core.export.formats import FORMATS
from toast_core.machine import processor_name
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup
from toast_core.studies.analyses import announce, finish
from toast_core.studies.base import Report, Work, as_schedule, calibration_images, check_sizes
from toast_core.studies.certificate.issue import issue_for, subject_of
from toast_core.studies.certificate.measure import PAIRS
from toast_core.studies.certificate.result import Certificate
from toast_core.studies.delivery.job import COMPARED, delivered_file, identity_of
from toast_core.studies.delivery.result import METRIC as EXPORT
from toast_core.studies.delivery.result import file_stem
from toast_core.studies.delivery.source import PrunedFile
from toast_core.studies.subject import Subject
from toast_core.workbench import Workbench

METRIC = "certificate"
_PRUNED = "safetensors"
_DEFAULT_IMAGES = 1000


@dataclass(frozen=True)
class CertificateRun:
    """Measure every form of a pruned model on `images` images (None: all), with digests of all that went in, as `toast certify` does.

    source   key of the record that an apply run has stored of the pruned file, which is a form
    formats  exports of it that are forms too; each must have been made before
    """

    kind: ClassVar[str] = METRIC
    overhead: ClassVar[float] = 1.3
    schedule: Schedule
    source: str
    formats: tuple[str, ...] = ()
    images: int | None = _DEFAULT_IMAGES
    batch_size: int = 64

    def __post_init__(self) -> None:
        check_sizes(self.images, self.batch_size)
        object.__setattr__(self, "schedule", as_schedule(self.schedule))
        if not isinstance(self.source, str):
            raise JobError(f"source is {self.source!r:.80}; send the key of the record that an apply run has stored")
        if not isinstance(self.formats, list | tuple) or any(name not in FORMATS for name in self.formats):
            raise JobError(f"formats is {self.formats!r:.80}; send a list of {', '.join(FORMATS)}")
        object.__setattr__(self, "formats", tuple(dict.fromkeys(self.formats)))

    def title(self) -> str:
        """For example `certificate of schedule 0123abcd`."""
        return f"certificate of schedule {self.schedule.digest()[:8]}"

    def command(self, setup: Setup) -> str:
        """A `toast certify` line about the files as they are downloaded."""
        stem = file_stem(Path(setup.model or setup.weights or "model").name, self.schedule.digest())
        exports = [f"{stem}{FORMATS[name].suffix}" for name in dict.fromkeys((_PRUNED, *self.formats))]
        sized = replace(setup, images=self.images, batch_size=self.batch_size)
        return command_line("certify", sized, {"export": exports, "output": "certificate.json"}, self.schedule)

    def _identity(self, subject: Subject, source: PrunedFile) -> CellIdentity:
        """Times hold for one processor and one PyTorch, and claims for the forms that were there."""
        details = {
            "source": source.record.file_sha256, "formats": ",".join(self.formats), "torch": version("torch"),
            "processor": processor_name(next(subject.model.parameters()).device),
        }
        return replace(subject.identity, schedule_digest=source.record.schedule, selection=source.record.selection, details=details)

    def _files(self, workbench: Workbench, store: EvidenceStore, source: PrunedFile) -> dict[Path, str]:
        """The files that are forms, and the names under which they are downloaded.

        Raises:
            JobError: one of them is not there.
        """
        stem, exported = file_stem(source.record.model, source.record.schedule), Subject.on(workbench, EXPORT, COMPARED, COMPARED)
        files = {source.path: f"{stem}.{_PRUNED}"}
        for name in self.formats:
            if name == _PRUNED:
                continue
            path = delivered_file(workbench.setup, store, identity_of(exported, source, name))
            if path is None:
                raise JobError(f"the {name} export is not on this machine, or was changed; make it first")
            files[path] = path.name
        return files

    def work(self, workbench: Workbench, store: EvidenceStore) -> Work:
        """One cell: every form on every image, and each in pairs with the baseline on the clock."""
        source = PrunedFile.find(workbench.setup, store, self.source)
        files = self._files(workbench, store, source)
        subject = Subject.on(workbench, METRIC, self.images, self.batch_size)
        stored = len(store.has_many([self._identity(subject, source).key]))
        baseline, compact = count_cost(workbench.shape).macs, count_cost(workbench.shape, self.schedule).macs
        run = len(subject.data) * (2 * baseline + (1 + len(files)) * compact)
        timed = PAIRS * (1 + self.batch_size) * (1 + len(files)) * (baseline + compact)
        macs = 0 if stored else run + timed + workbench.fitting_macs(self.schedule, self.batch_size)
        statistics = workbench.statistics_for(self.schedule, self.batch_size)
        return Work(1, stored, len(subject.data), macs, calibration_images(statistics))

    def measure(self, workbench: Workbench, store: EvidenceStore, report: Report) -> Analysis:
        """Certify unless that is stored; steps are images and pairs."""
        source = PrunedFile.find(workbench.setup, store, self.source)
        subject = Subject.on(workbench, METRIC, self.images, self.batch_size)
        identity = self._identity(subject, source)
        request = subject.request(
            metric=METRIC, schedule=self.schedule.to_dict(), source=source.record.file_sha256, formats=list(self.formats)
        )
        analysis = announce(store, request, f"certificate of {source.record.model}, schedule {source.record.schedule[:8]}", [identity])
        if not store.has_many([identity.key]):
            files = self._files(workbench, store, source)
            sized = Workbench(
                workbench.model, replace(workbench.setup, images=self.images, batch_size=self.batch_size), workbench.report
            )
            drawn, certified = subject_of(sized, self.schedule, SCHEDULE_FILE)
            made, _ = issue_for(drawn, certified, certified.digests(), tuple(files), report)
            store.put(identity, {"certificate": _named(made, files).to_dict()}, {})
        return finish(store, analysis)

    def outcome(self, store: EvidenceStore, analysis: Analysis) -> str:
        """For example `5 forms are one model; sha256 0123456789ab`."""
        found = Certificate.from_dict(store.get(analysis.cell_keys[0]).summary["certificate"])
        differing, forms = found.differing(), len(found.forms) - 1
        said = f"{len(differing)} of {forms} forms differ from compact" if differing else f"{forms} forms are one model"
        return f"{said}; sha256 {found.sha256[:12]}"


def _named(made: Certificate, files: dict[Path, str]) -> Certificate:
    """The certificate about files as they are downloaded, for whoever has them in a folder; where they lay here is nobody's business."""
    names = {str(path): name for path, name in files.items()}
    forms = tuple(replace(form, file=form.file and names[form.file]) for form in made.forms)
    return replace(made, forms=forms).sealed()
