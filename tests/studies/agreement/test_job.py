"""Applying a schedule as a job: what is refused, written, found again, and what the command line gives."""

import hashlib
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from analysis_cache.store import EvidenceStore
from tests.support.runs import APPLY, WHOLE, say_nothing, tiny_workbench
from toast_core.cli.app import app
from toast_core.errors import ToastError
from toast_core.jobs.book import JobBook
from toast_core.jobs.quote import Quoter
from toast_core.loading import load_model
from toast_core.schedule.schedule import Schedule
from toast_core.studies.agreement import job as apply
from toast_core.studies.agreement.job import ApplyRun, file_path
from toast_core.studies.agreement.result import Agreement
from toast_core.studies.evaluation.measure import evaluate
from toast_core.studies.registry import read_run


@pytest.fixture(autouse=True)
def few_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """One image and two on the clock."""
    monkeypatch.setattr(apply, "TIMED_BATCHES", (1, 2))


def test_a_schedule_of_another_length_is_refused_before_anything_is_measured(workbench):
    values = {**APPLY, "schedule": Schedule.uniform(4, fc2=0.5).to_dict()}
    with EvidenceStore.open(workbench.setup.store) as store, pytest.raises(ToastError, match="the schedule has 4 blocks but"):
        read_run(values).work(workbench, store)


def test_without_a_folder_nothing_is_applied(tmp_path):
    workbench = tiny_workbench(tmp_path, applied=None)
    with EvidenceStore.open(workbench.setup.store) as store, pytest.raises(ToastError, match="submit the run from a dashboard"):
        read_run(APPLY).work(workbench, store)


def test_the_record_is_of_the_file_and_is_found_again(workbench, monkeypatch):
    run, steps = read_run(APPLY), []
    with EvidenceStore.open(workbench.setup.store) as store:
        work = run.work(workbench, store)
        assert (work.cells, work.stored, work.images, work.calibration) == (1, 0, 16, 20) and work.macs > 0
        analysis = run.measure(workbench, store, lambda done, total: steps.append((done, total)))
        record = Agreement.from_dict(store.get(analysis.cell_keys[0]).summary)
        path = file_path(workbench.setup, analysis.cell_keys[0])
        assert analysis.finished_utc and analysis.request["schedule"] == WHOLE.to_dict() and analysis.request["metric"] == "agreement"
        assert [store.get(key).identity.detail["execution"] for key in analysis.cell_keys[1:]] == ["baseline", "masked", "compact"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == record.file_sha256 and path.stat().st_size == record.file_bytes
        assert run.outcome(store, analysis).endswith("compact equals masked")
        assert run.work(workbench, store).macs == 0
        monkeypatch.setattr(apply, "compare", None)
        assert run.measure(workbench, store, say_nothing).cell_keys == analysis.cell_keys
    assert steps == sorted(steps) and steps[-1] == (46, 46)
    assert record.is_equal and record.same == 16 and record.params["compact"] < record.params["baseline"]
    assert record.macs["compact"] < record.macs["baseline"] and [timing.batch_size for timing in record.timings] == [1, 2]
    compact = load_model(weights=path)
    assert compact.toast_info.schedule == WHOLE
    expected = evaluate(compact, workbench.images(16), 8).outcomes.top1_estimate
    assert record.headline["compact"].value == expected.value


@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:-1])])
def test_a_file_that_is_gone_or_cut_off_is_made_again(workbench, spoil):
    run = read_run(APPLY)
    with EvidenceStore.open(workbench.setup.store) as store:
        analysis = run.measure(workbench, store, say_nothing)
        path = file_path(workbench.setup, analysis.cell_keys[0])
        spoil(path)
        assert run.work(workbench, store).stored == 0
        again = run.measure(workbench, store, say_nothing)
        assert again.cell_keys == analysis.cell_keys and run.work(workbench, store).stored == 1
        assert hashlib.sha256(path.read_bytes()).hexdigest() == store.get(again.cell_keys[0]).summary["file_sha256"]


def test_the_command_line_writes_the_same_file(workbench, tmp_path, monkeypatch, capsys):
    run = read_run(APPLY)
    with EvidenceStore.open(workbench.setup.store) as store:
        key = run.measure(workbench, store, say_nothing).cell_keys[0]
    monkeypatch.chdir(tmp_path)
    Path("schedule.json").write_text(WHOLE.to_json())
    for line in run.command(workbench.setup).splitlines():
        toast, command, *words = shlex.split(line)
        assert toast == "toast"
        get_command(app).commands[command].main([*words, "--json"], standalone_mode=False)
    assert Path("pruned.safetensors").read_bytes() == file_path(workbench.setup, key).read_bytes()
    assert '"images": 16' in capsys.readouterr().out


def test_another_selection_is_another_record(workbench):
    with EvidenceStore.open(workbench.setup.store) as store:
        keys = {
            ApplyRun(Schedule.uniform(3, fc2=0.5, selection=selection), 8, 8).measure(workbench, store, say_nothing).cell_keys[0]
            for selection in ("calibrated", "per_image")
        }
    assert len(keys) == 2


def test_it_is_quoted(workbench, tmp_path):
    assert Quoter(workbench, JobBook(tmp_path / "jobs"), start_s=3.0).quote(read_run(APPLY)).seconds > 3
