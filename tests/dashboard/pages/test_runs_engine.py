"""Runs through the engine's socket: quoted, submitted, shared, and left alone when the engine is killed."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from analysis_cache.store import EvidenceStore
from dashboard.engine.client import EngineClient, EngineError
from toast_core.engine.protocol import Job
from toast_core.loading import load_model
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup

pytestmark = pytest.mark.engine
RUN = {"kind": "sensitivity", "sites": ["qk", "fc2"], "ratios": [0.5], "images": 48, "batch_size": 8, "selection": "per_image"}
_WAIT_S = 300


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    """The demo with random weights and a store of its own."""
    store = tmp_path_factory.mktemp("store") / "evidence.sqlite"
    return Setup("demo_vit", "random", store=str(store), images=50, batch_size=25, calibration_images=20).completed()


@pytest.fixture(scope="module")
def engine(options: Setup, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineClient]:
    """An engine that these tests may kill."""
    client = EngineClient(options, tmp_path_factory.mktemp("root"))
    client.start()
    ready(client)
    yield client
    for job in client.jobs():
        if job.state in ("queued", "running", "paused"):
            client.control("cancel", job.number)
    until(client, lambda jobs: not any(job.state == "running" for job in jobs))
    client.stop()


def ready(client: EngineClient) -> None:
    """Wait for the engine."""
    deadline = time.monotonic() + _WAIT_S
    while not client.describe().is_ready:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def until(client: EngineClient, wanted: Callable[[tuple[Job, ...]], bool]) -> tuple[Job, ...]:
    """Wait until the jobs are as wanted."""
    deadline = time.monotonic() + _WAIT_S
    while not wanted(jobs := client.jobs()):
        assert time.monotonic() < deadline, jobs
        time.sleep(0.05)
    return jobs


def test_a_run_outlives_its_engine_and_is_seen_by_a_second_dashboard(engine, options):
    offer = engine.quote(RUN)
    assert offer.quote.cells == 24 and offer.quote.stored == 0 and offer.quote.seconds > 0
    assert offer.title == "sensitivity of qk, fc2 at ratio 0.5, exact, per image" and f"--store {options.store}" in offer.command
    baseline = {"kind": "evaluation", "schedule": {"version": 1, "blocks": [{}] * 12}, "images": 48, "batch_size": 8}
    job, waiting = engine.submit(RUN), engine.submit(baseline)
    second = EngineClient(options, engine.folder.parent)
    assert second.submit(RUN).number == job.number
    until(engine, lambda jobs: jobs[-1].done > 0)
    pid = engine.address().pid
    os.kill(pid, signal.SIGKILL)
    ready(second)
    assert second.address().pid != pid
    jobs = until(second, lambda jobs: all(job.state == "done" for job in jobs))
    assert [found.number for found in jobs] == [waiting.number, job.number]
    assert [found.lives for found in jobs] == [1, 1] and [found.crashes for found in jobs] == [0, 0]
    assert second.quote(RUN).quote == replace(offer.quote, stored=24, macs=0, seconds=0.0)
    with EvidenceStore.open(Path(options.store), create=False) as store:
        assert store.get_analysis(jobs[1].analysis).finished_utc
        # the sweep has measured the baseline on the same images already
        assert store.get_analysis(jobs[0].analysis).cell_keys[0] in store.get_analysis(jobs[1].analysis).cell_keys
    assert "0 to measure" in second.log(waiting.number) and "analysis" in second.log(job.number)


def test_a_recovery_leaves_its_epochs_and_a_model_that_loads(engine, options):
    ready(engine)
    schedule = Schedule.uniform(12, fc2=0.5, selection="calibrated")
    recipe = {"epochs": 2, "batch_size": 12, "distill": False}
    run = {"kind": "recovery", "schedule": schedule.to_dict(), "images": 40, "test_images": 20, "recipe": recipe}
    number = engine.submit(run).number
    jobs = until(engine, lambda jobs: jobs[0].state in ("done", "failed"))
    assert (jobs[0].number, jobs[0].state) == (number, "done") and "of 4 images, at epoch" in jobs[0].message
    with EvidenceStore.open(Path(options.store), create=False) as store:
        keys = store.get_analysis(jobs[0].analysis).cell_keys
        assert [store.get(key).summary["epoch"] for key in keys[1:-1]] == [0, 1, 2] and store.get(keys[-1]).summary["images"] == 20
    (file,) = (engine.folder.parent / "applied").iterdir()
    assert file.stem == keys[0] and load_model(weights=file).toast_info.schedule == schedule


def test_pause_resume_and_cancel_are_carried_out(engine):
    ready(engine)
    run = {**RUN, "images": 400, "sites": ["fc1", "fc2"]}
    number = engine.submit(run).number
    until(engine, lambda jobs: jobs[0].done > 0)
    assert engine.control("pause", number).wish == "pause"
    until(engine, lambda jobs: jobs[0].state == "paused")
    assert engine.control("resume", number).state == "queued"
    until(engine, lambda jobs: jobs[0].state == "running")
    engine.control("cancel", number)
    until(engine, lambda jobs: jobs[0].state == "cancelled")
    with pytest.raises(EngineError, match=rf"job {number} is cancelled; only"):
        engine.control("pause", number)
