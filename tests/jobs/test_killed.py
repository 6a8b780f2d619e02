"""A real sweep in a real process, killed in the middle: it goes on by itself, measures nothing twice, and ends with the same rows."""

import json
from pathlib import Path

import numpy as np
import pytest

from analysis_cache.store import EvidenceStore
from tests.jobs.conftest import kill, process_of, until
from tests.support.cells import cells_in
from toast_core.jobs.book import Quote
from toast_core.jobs.queue import JobQueue
from toast_core.setup import Setup
from toast_core.studies.registry import read_run
from toast_core.workbench import Workbench

pytestmark = pytest.mark.kill
SWEEP = {"kind": "sensitivity", "sites": ["qk", "fc2"], "ratios": [0.3, 0.6], "images": 32, "batch_size": 8, "selection": "per_image"}
_START_S = 240


def setup_in(store: Path) -> Setup:
    """The demo with random weights, its results in this store."""
    return Setup("demo_vit", "random", data="fashion-mnist", calibration_images=20, device="cpu", store=str(store))


def test_a_killed_sweep_is_completed_with_the_rows_of_an_undisturbed_one(book, tmp_path):
    queue, setup = JobQueue(book), setup_in(tmp_path / "killed.sqlite")
    quote = Quote(cells=48, stored=0, images=32, macs=1, calibration=0, seconds=1.0)
    number = queue.submit("sweep", SWEEP, setup.to_dict(), "toast", quote).number
    seen = []
    job = until(queue, number, lambda job: seen.append(job.done) or job.done > 150, _START_S)
    assert job.state == "running" and job.analysis and job.done < job.total == 48 * 32
    kill(book, number)
    first = process_of(book, number)
    with EvidenceStore.open(setup.store) as store:
        kept = {head.key: head.created_utc for head in cells_in(store, part="sensitivity")}
    assert kept
    until(queue, number, lambda job: job.lives == 2 and job.state == "running")
    again = []
    job = until(queue, number, lambda job: again.append(job.done) or job.state == "done", _START_S)
    assert (job.crashes, job.lives) == (1, 2) and process_of(book, number) != first
    assert seen == sorted(seen) and again == sorted(again)
    with EvidenceStore.open(setup.store) as store, EvidenceStore.open(tmp_path / "calm.sqlite") as calm:
        workbench = Workbench.load(setup_in(tmp_path / "calm.sqlite"), lambda done, total: None)
        expected = read_run(SWEEP).measure(workbench, calm, lambda done, total: None)
        found = store.get_analysis(job.analysis)
        assert found.finished_utc and found.cell_keys == expected.cell_keys
        for key in expected.cell_keys:
            one, other = store.get(key), calm.get(key)
            assert json.dumps(one.summary) == json.dumps(other.summary)
            assert all(np.array_equal(one.arrays[name], other.arrays[name]) for name in other.arrays)
        assert not store.has_many(kept) and store.verify().ok
    assert "goes on by itself" in book.log(number)


def test_cancelling_and_pausing_keep_what_is_finished_and_a_resumed_run_uses_it(book, tmp_path):
    queue, setup = JobQueue(book), setup_in(tmp_path / "evidence.sqlite")
    run = {**SWEEP, "sites": ["fc2"], "ratios": [0.5]}
    quote = Quote(cells=12, stored=0, images=32, macs=1, calibration=0, seconds=1.0)
    number = queue.submit("sweep", run, setup.to_dict(), "toast", quote).number
    until(queue, number, lambda job: job.done > 30, _START_S)
    queue.cancel(number)
    assert until(queue, number, lambda job: job.state != "running").state == "cancelled"
    with EvidenceStore.open(setup.store) as store:
        kept = {head.key: head.created_utc for head in cells_in(store, part="sensitivity")}
        assert kept and store.verify().ok
    queue.resume(number)
    until(queue, number, lambda job: (job.lives == 2 and job.done > 60) or job.state == "done", _START_S)
    with EvidenceStore.open(setup.store) as store:
        now = {head.key: head.created_utc for head in cells_in(store, part="sensitivity")}
        # as far as they are still there, they are those of before: none was measured anew
        assert all(now[key] == created for key, created in kept.items() if key in now)
    assert until(queue, number, lambda job: job.state == "done", _START_S).message == "12 cells measured"


def test_what_cannot_be_measured_fails_at_once_with_its_line(book, tmp_path):
    queue, setup = JobQueue(book), setup_in(tmp_path / "evidence.sqlite")
    quote = Quote(cells=1, stored=0, images=8, macs=1, calibration=0, seconds=1.0)
    number = queue.submit("sweep", {**SWEEP, "selection": "calibrated"}, setup.to_dict(), "toast", quote).number
    job = until(queue, number, lambda job: job.state not in ("queued", "running"), _START_S)
    assert (job.state, job.lives, job.crashes) == ("failed", 1, 0)
    assert job.message.startswith("selection 'calibrated' needs calibration images") and job.message in book.log(number)
