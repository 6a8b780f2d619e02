"""Exporting a pruned file as a job: one verified file a format, kept in a folder of its own beside the pruned file."""

from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

import torch

from analysis_cache.analysis import Analysis
from analysis_cache.key import CellIdentity
from analysis_cache.store import EvidenceStore
from toast_core.command import command_line
from toast_core.cost.macs import count_cost
from toast_core.errors import JobError
from toast_core.export.formats import FORMATS
from toast_core.export.write import export_model
from toast_core.loading import load_model
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup
from toast_core.studies.analyses import announce, finish
from toast_core.studies.base import Report, Work, as_list, as_schedule, check_sizes
from toast_core.studies.delivery.result import METRIC, Delivered, file_stem
from toast_core.studies.delivery.source import PrunedFile
from toast_core.studies.subject import Subject
from toast_core.workbench import Workbench

COMPARED = 32


@dataclass(frozen=True)
class ExportRun:
    """Write the pruned file of a record in some formats, and run each again on `images` images before it is kept.

    source   key of the record that an apply run has stored of the file
    formats  names in `toast_core.export.FORMATS`
    """

    kind: ClassVar[str] = METRIC
    overhead: ClassVar[float] = 60.0
    schedule: Schedule
    source: str
    formats: tuple[str, ...]
    images: int | None = COMPARED
    batch_size: int = COMPARED

    def __post_init__(self) -> None:
        check_sizes(self.images, self.batch_size)
        object.__setattr__(self, "schedule", as_schedule(self.schedule))
        object.__setattr__(self, "formats", as_list("formats", self.formats))
        if not isinstance(self.source, str):
            raise JobError(f"source is {self.source!r:.80}; send the key of the record that an apply run has stored")
        for name in self.formats:
            FORMATS[name]  # refused now where it is none

    def title(self) -> str:
        """For example `export of schedule 0123abcd: onnx, loader`."""
        return f"export of schedule {self.schedule.digest()[:8]}: {', '.join(self.formats)}"

    def command(self, setup: Setup) -> str:
        """A `toast export` line a format, from the baseline and the schedule's file."""
        stem, sized = file_stem(Path(setup.model or setup.weights or "model").name, self.schedule.digest()), replace(
            setup, images=self.images, batch_size=self.batch_size
        )
        return "\n".join(
            command_line("export", sized, {"format": name, "output": f"{stem}{FORMATS[name].suffix}"}, self.schedule)
            for name in self.formats
        )

    def work(self, workbench: Workbench, store: EvidenceStore) -> Work:
        """A cell a format; what this machine or the format cannot do is refused here, before any work."""
        source = PrunedFile.find(workbench.setup, store, self.source)
        for name in self.formats:
            FORMATS[name].check(None)
        subject = Subject.on(workbench, METRIC, self.images, self.batch_size)
        left = [name for name in self.formats if delivered_file(workbench.setup, store, identity_of(subject, source, name)) is None]
        macs = len(left) * 2 * len(subject.data) * count_cost(workbench.shape, self.schedule).macs
        return Work(len(self.formats), len(self.formats) - len(left), len(subject.data), macs, 0)

    def measure(self, workbench: Workbench, store: EvidenceStore, report: Report) -> Analysis:
        """Write what is not there yet; steps are formats. What was written before one that fails stays."""
        source, subject = PrunedFile.find(workbench.setup, store, self.source), Subject.on(workbench, METRIC, self.images, self.batch_size)
        identities = {name: identity_of(subject, source, name) for name in self.formats}
        request = subject.request(
            metric=METRIC, schedule=self.schedule.to_dict(), source=source.record.file_sha256, formats=list(self.formats)
        )
        label = f"exports of {subject.identity.model}, schedule {self.schedule.digest()[:8]}: {', '.join(self.formats)}"
        analysis = announce(store, request, label, identities.values())
        missing = {
            name: identity for name, identity in identities.items() if delivered_file(workbench.setup, store, identity) is None
        }
        if missing:
            images = torch.cat([batch.images for batch in subject.data.batches(self.batch_size)] or [_unread(subject)])
            model = load_model(weights=source.path)
        for done, (name, identity) in enumerate(missing.items()):
            report(done, len(missing))
            store.remove([identity.key])
            folder = folder_of(workbench.setup, identity.key)
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = folder / f"{file_stem(source.record.model, source.record.schedule)}{FORMATS[name].suffix}"
            record = export_model(model, name, path, images)
            store.put(identity, asdict(Delivered(**record.to_dict(), source=source.record.file_sha256)), {})
        report(len(missing), len(missing))
        return finish(store, analysis)

    def outcome(self, store: EvidenceStore, analysis: Analysis) -> str:
        """For example `onnx 1.40 MB, equal to 2.3e-06 of the largest output`."""
        found = [Delivered.from_dict(head.summary) for head in store.heads(analysis.cell_keys)]
        return "; ".join(
            f"{one.format} {one.bytes / 1e6:.2f} MB, equal to {one.relative_difference:.1e} of the largest output" for one in found
        )


def _unread(subject: Subject) -> torch.Tensor:
    raise subject.data.unread()


def identity_of(subject: Subject, source: PrunedFile, form: str) -> CellIdentity:
    """The cell of one export: what was exported, how, and by which PyTorch, whose programs change."""
    details = {"format": form, "source": source.record.file_sha256, "torch": version("torch")}
    identity = replace(subject.identity, kind=METRIC, details=details)
    return replace(identity, schedule_digest=source.record.schedule, selection=source.record.selection)


def folder_of(setup: Setup, key: str) -> Path:
    """Where the files of an export's cell are: a folder of its name beside the pruned files; pages find it by the same rule.

    Raises:
        JobError: the setup names no folder.
    """
    if setup.applied is None:
        raise JobError("there is no folder for exported models; submit the run from a dashboard")
    return Path(setup.applied) / key


def delivered_file(setup: Setup, store: EvidenceStore, identity: CellIdentity) -> Path | None:
    """The exported file of a cell; None where it is not stored, or the file is gone or changed."""
    found = store.heads([identity.key])
    if not found:
        return None
    record, folder = Delivered.from_dict(found[0].summary), folder_of(setup, identity.key)
    return folder / record.path if record.is_whole(folder) else None
