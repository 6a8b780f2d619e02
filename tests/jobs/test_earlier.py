"""A book of jobs that an earlier version wrote is read, its jobs are resumed, and they find what was stored for them."""

from pathlib import Path

import pytest

from analysis_cache.store import EvidenceStore
from tests.support.earlier import NAME, Puts, copy_files, earlier_model
from tests.support.runs import say_nothing
from toast_core.jobs.book import Job, JobBook
from toast_core.jobs.queue import JobQueue
from toast_core.models.demo import DEMO_BUILDERS
from toast_core.setup import Setup
from toast_core.studies.base import Run
from toast_core.studies.registry import read_run
from toast_core.workbench import Workbench

EVALUATION, SWEEP, TUNING = 1, 2, 3


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobBook:
    """The earlier version's book of jobs, beside its store and files."""
    monkeypatch.setitem(DEMO_BUILDERS, NAME, earlier_model)
    return JobBook(copy_files(tmp_path / "earlier") / "jobs")


def opened(job: Job) -> tuple[Run, Workbench]:
    """A job's run and what it is about, as its process reads them."""
    return read_run(job.run.to_dict()), Workbench.load(Setup.from_dict(job.basis))


def test_every_job_is_listed_with_what_it_was(book: JobBook) -> None:
    jobs = {job.number: job for job in book.jobs()}
    assert {number: (job.run.kind, job.state) for number, job in jobs.items()} == {
        EVALUATION: ("evaluation", "done"), SWEEP: ("sensitivity", "paused"), TUNING: ("tuning", "queued"),
    }
    done = jobs[EVALUATION]
    assert done.message == "top-1 6.2 % (95 %: 1.1 to 28.3 %)" and done.lives == 1 and done.measured_s > 0
    assert (done.model, done.data, done.quote.cells, done.quote.macs) == (NAME, "fashion-mnist", 1, 534_400)
    assert done.to_dict()["basis"] == {"model": NAME, "data": "fashion-mnist"}
    for job in jobs.values():
        assert read_run(job.run.to_dict()).title() == job.title


def test_a_done_job_is_not_measured_again(book: JobBook) -> None:
    job = book.get(EVALUATION)
    run, workbench = opened(job)
    with EvidenceStore.open(workbench.setup.store) as store:
        assert run.work(workbench, store).stored == 1
        assert run.measure(workbench, store, say_nothing).short_id == job.analysis


def test_a_paused_job_goes_on_where_it_was_killed(book: JobBook, monkeypatch: pytest.MonkeyPatch) -> None:
    assert JobQueue(book).resume(SWEEP).state == "queued"
    run, workbench = opened(book.get(SWEEP))
    puts = Puts(monkeypatch)
    with EvidenceStore.open(workbench.setup.store) as store:
        analysis = run.measure(workbench, store, say_nothing)
        assert run.outcome(store, analysis) == "4 cells measured" and analysis.finished_utc
        assert len(store.list_analyses()) == 6  # it is the analysis that was begun
    assert puts.counts == {"sensitivity sensitivity": 4, "sensitivity": 4}


def test_a_queued_tuning_sketches_its_curves_anew(book: JobBook, monkeypatch: pytest.MonkeyPatch) -> None:
    run, workbench = opened(book.get(TUNING))
    puts = Puts(monkeypatch)
    with EvidenceStore.open(workbench.setup.store) as store:
        work = run.work(workbench, store)
        assert (work.cells, work.stored) == (8, 0)
        analysis = run.measure(workbench, store, say_nothing)
        assert store.get(analysis.cell_keys[0]).summary["achieved"]["macs"] <= 25_050
    assert puts.counts["tuning_curves"] == 0 and puts.counts["sketch"] and puts.counts["tuning result"] == 1
