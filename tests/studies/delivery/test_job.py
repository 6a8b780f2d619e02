"""Exports and certificates as jobs: what is refused, written, found again, and what the command line reads of it."""

import dataclasses
import json
import zipfile
from pathlib import Path

import pytest
from typer.main import get_command

from analysis_cache.store import EvidenceStore
from tests.support.runs import APPLY, CERTIFICATE, EXPORT, WHOLE, say_nothing
from toast_core.cli.app import app
from toast_core.errors import ExportError, JobError
from toast_core.loading import load_model
from toast_core.studies.agreement import job as apply
from toast_core.studies.certificate import measure
from toast_core.studies.certificate.result import Certificate
from toast_core.studies.delivery.job import folder_of
from toast_core.studies.delivery.result import Delivered, content_of, file_stem
from toast_core.studies.registry import read_run
from toast_core.workbench import Workbench


@pytest.fixture(autouse=True)
def few_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little on the clock."""
    monkeypatch.setattr(apply, "TIMED_BATCHES", (1, 2))
    monkeypatch.setattr(apply, "PAIRS", 3)
    monkeypatch.setattr(measure, "PAIRS", 3)


@pytest.fixture
def store(workbench: Workbench) -> EvidenceStore:
    """The workbench's store, in which the schedule is applied."""
    with EvidenceStore.open(workbench.setup.store) as opened:
        yield opened


@pytest.fixture
def source(workbench: Workbench, store: EvidenceStore) -> str:
    """The key of the record of an applied schedule."""
    return read_run(APPLY).measure(workbench, store, say_nothing).cell_keys[0]


def exported(workbench: Workbench, store: EvidenceStore, source: str, formats: list[str]) -> list[tuple[Delivered, Path]]:
    """The records and folders of an export."""
    analysis = read_run({**EXPORT, "source": source, "formats": formats}).measure(workbench, store, say_nothing)
    return [
        (Delivered.from_dict(head.summary), folder_of(workbench.setup, head.key)) for head in store.heads(analysis.cell_keys)
    ]


class TestExport:
    """One file a format."""

    def test_the_file_is_verified_kept_and_found_again(self, workbench, store, source, monkeypatch):
        run = read_run({**EXPORT, "source": source})
        assert (run.work(workbench, store).cells, run.work(workbench, store).stored) == (1, 0)
        ((record, folder),) = exported(workbench, store, source, ["safetensors"])
        assert record.path == f"demo_tiny_{WHOLE.digest()[:8]}.safetensors" and record.relative_difference <= 1e-4
        assert record.is_whole(folder) and content_of(record, folder) == (folder / record.path).read_bytes()
        assert load_model(weights=folder / record.path).toast_info.schedule == WHOLE
        monkeypatch.setattr("toast_core.studies.delivery.job.export_model", None)
        assert run.work(workbench, store).macs == 0 and exported(workbench, store, source, ["safetensors"]) == [(record, folder)]

    def test_one_that_is_gone_or_changed_is_made_again(self, workbench, store, source):
        ((record, folder),) = exported(workbench, store, source, ["safetensors"])
        for spoil in (Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1])):
            spoil(folder / record.path)
            assert not record.is_whole(folder)
            assert read_run({**EXPORT, "source": source}).work(workbench, store).stored == 0
            exported(workbench, store, source, ["safetensors"])
            assert record.is_whole(folder)

    def test_without_its_pruned_file_nothing_is_made(self, workbench, store, source):
        for key in ("0" * 64, "../secret", "x"):
            with pytest.raises(JobError, match="is not on this machine, or was changed; check the schedule again"):
                read_run({**EXPORT, "source": key}).work(workbench, store)
        path = Path(workbench.setup.applied) / f"{source}.safetensors"
        path.write_bytes(b"another")
        with pytest.raises(JobError, match="was changed"):
            read_run({**EXPORT, "source": source}).work(workbench, store)

    def test_what_a_machine_lacks_is_said_before_the_work(self, workbench, store, source, monkeypatch):
        monkeypatch.setattr("toast_core.export.onnx._NEEDS", ("no_such_package",))
        with pytest.raises(ExportError, match=r"ONNX needs no_such_package, not installed here; install the extra: pip install"):
            read_run({**EXPORT, "source": source, "formats": ["onnx"]}).work(workbench, store)

    @pytest.mark.export
    def test_a_loader_comes_as_one_file_that_holds_both(self, workbench, store, source, tmp_path):
        ((record, folder),) = exported(workbench, store, source, ["loader"])
        assert record.download.endswith(".zip") and [part.suffix for part in record.parts(folder)] == [".py", ".pt2"]
        (tmp_path / "sent.zip").write_bytes(content_of(record, folder))
        with zipfile.ZipFile(tmp_path / "sent.zip") as archive:
            assert archive.testzip() is None and archive.namelist() == [part.name for part in record.parts(folder)]
        record.parts(folder)[1].unlink()
        assert not record.is_whole(folder)


class TestCertificate:
    """The certificate is the cell."""

    def test_it_is_about_the_pruned_file_and_every_export(self, workbench, store, source):
        ((record, _),) = exported(workbench, store, source, ["safetensors"])
        run = read_run({**CERTIFICATE, "source": source})
        assert run.work(workbench, store).stored == 0
        analysis = run.measure(workbench, store, say_nothing)
        (cell,) = store.heads(analysis.cell_keys)
        found = Certificate.from_dict(cell.summary["certificate"])
        assert [form.name for form in found.forms] == ["baseline", "masked", "compact", f"exported {record.path}"]
        assert not found.differing() and found.digest() == found.sha256 and found.image_count == 16
        assert workbench.setup.applied not in json.dumps(cell.summary) and run.work(workbench, store).macs == 0
        assert run.outcome(store, analysis).startswith("3 forms are one model; sha256 ")

    def test_the_command_line_checks_what_was_downloaded(self, workbench, store, source, tmp_path, monkeypatch, capsys):
        analysis = read_run({**CERTIFICATE, "source": source}).measure(workbench, store, say_nothing)
        found = Certificate.from_dict(store.heads(analysis.cell_keys)[0].summary["certificate"])
        (tmp_path / "down").mkdir()
        monkeypatch.chdir(tmp_path / "down")
        Path("certificate.json").write_text(found.to_json())
        Path("schedule.json").write_text(WHOLE.to_json())
        Path(found.forms[-1].file).write_bytes((Path(workbench.setup.applied) / f"{source}.safetensors").read_bytes())
        with pytest.raises(SystemExit) as ended:
            get_command(app).main(["certify", "--check", "certificate.json"])
        assert ended.value.code == 0 and "every claim holds" in capsys.readouterr().out

    def test_an_export_that_is_not_there_is_refused(self, workbench, store, source):
        with pytest.raises(JobError, match="the onnx export is not on this machine, or was changed; make it first"):
            read_run({**CERTIFICATE, "source": source, "formats": ["onnx"]}).work(workbench, store)


def test_names_are_importable_and_stay_in_their_folder():
    assert file_stem("demo_vit", "0123456789") == "demo_vit_01234567"
    for model in ("vit_base.mae", "../../etc/x", "3d", "hf-hub:a/b", "café"):
        assert file_stem(model, "0" * 64).isidentifier() and file_stem(model, "0" * 64).isascii()
    record = Delivered("onnx", "a.onnx", 3, 0.0, 1, "", "")
    for path in ("../a.onnx", "/etc/passwd", "a/b.onnx"):
        with pytest.raises(ValueError, match="is no file's name"):
            Delivered.from_dict(dataclasses.asdict(record) | {"path": path})
