"""The queue on stand-ins: order, pausing, cancelling, crashing, and several engines on one folder."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.jobs.conftest import BASIS, QUOTE, kill, process_of, submit, until
from toast_core.errors import JobError
from toast_core.jobs.book import JobBook
from toast_core.jobs.queue import MAX_CRASHES, JobQueue

LONG = 3000


def is_alive(process: int) -> bool:
    """Whether a process runs; one that waits to be buried does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_jobs_run_one_after_the_other_in_the_order_they_came(quick_queue):
    first, second = submit(quick_queue, 10, "a"), submit(quick_queue, 5, "b")
    most = 0
    while any(job.state != "done" for job in quick_queue.book.jobs()):
        quick_queue.tick()
        most = max(most, sum(job.state == "running" for job in quick_queue.book.jobs()))
    first, second = quick_queue.book.get(first), quick_queue.book.get(second)
    assert most == 1 and first.finished_at <= second.started_at
    assert (first.done, first.total, first.lives, first.crashes) == (10, 10, 1, 0)


def test_an_equal_open_job_is_not_queued_twice_but_an_ended_one_is(quick_queue):
    assert submit(quick_queue, 1) == submit(quick_queue, 1)
    until(quick_queue, 1, lambda job: job.state == "done")
    assert submit(quick_queue, 1) == 2


def test_a_paused_job_frees_its_process_and_the_next_one_starts(quick_queue):
    first, second = submit(quick_queue, LONG, "a"), submit(quick_queue, 3, "b")
    until(quick_queue, first, lambda job: job.done > 2)
    process = process_of(quick_queue.book, first)
    assert quick_queue.pause(first).wish == "pause"
    until(quick_queue, first, lambda job: job.state == "paused")
    assert not is_alive(process) and quick_queue.book.get(first).crashes == 0
    until(quick_queue, second, lambda job: job.state == "done")
    assert quick_queue.book.get(first).state == "paused"
    assert quick_queue.resume(first).state == "queued"
    until(quick_queue, first, lambda job: job.lives == 2 and job.done > 2)
    quick_queue.cancel(first)
    until(quick_queue, first, lambda job: job.state == "cancelled")
    assert not is_alive(process_of(quick_queue.book, first))
    assert [line.split(" ", 2)[2] for line in quick_queue.book.log(first).splitlines()] == ["paused", "cancelled"]


def test_a_waiting_job_is_paused_and_cancelled_at_once(quick_queue):
    number = submit(quick_queue, 1)
    assert quick_queue.pause(number).state == "paused"
    assert quick_queue.cancel(number).state == "cancelled"
    quick_queue.tick()
    assert quick_queue.book.get(number).lives == 0
    assert quick_queue.resume(number).state == "queued"


def test_a_killed_process_is_started_again_and_counted(quick_queue):
    number = submit(quick_queue, 100)
    until(quick_queue, number, lambda job: job.done > 2)
    kill(quick_queue.book, number)
    job = until(quick_queue, number, lambda job: job.state == "done")
    assert (job.crashes, job.lives, job.done) == (1, 2, 100)
    assert "goes on by itself" in quick_queue.book.log(number)


def test_a_job_that_keeps_crashing_fails_with_its_last_words_and_can_be_tried_again(quick_queue):
    number = submit(quick_queue, 0)
    job = until(quick_queue, number, lambda job: job.state == "failed")
    assert job.lives == job.crashes == MAX_CRASHES == 3
    assert job.message.endswith("RuntimeError: it broke") and "\n" not in job.message
    assert quick_queue.resume(number).crashes == 0
    assert until(quick_queue, number, lambda job: job.state == "failed").lives == 2 * MAX_CRASHES


@pytest.mark.parametrize(("state", "action", "says"), [
    ("done", "pause", "job 1 is done; only queued and running jobs can be paused"),
    ("done", "cancel", "job 1 is done; only queued and paused and running jobs can be cancelled"),
    ("done", "resume", "job 1 is done; only paused, failed and cancelled jobs can be resumed"),
    ("running", "resume", "job 1 is running; only paused, failed and cancelled jobs can be resumed"),
    ("paused", "pause", "job 1 is paused; only queued and running jobs can be paused"),
])
def test_what_a_state_does_not_allow_is_one_line(quick_queue, state, action, says):
    number = submit(quick_queue, 1)
    quick_queue.book.change(number, ("queued",), state=state)
    with pytest.raises(JobError) as caught:
        getattr(quick_queue, action)(number)
    assert str(caught.value) == says


def test_resuming_what_another_open_job_measures_is_refused(quick_queue):
    old = submit(quick_queue, 1)
    quick_queue.cancel(old)
    submit(quick_queue, 1)
    with pytest.raises(JobError, match="another open job measures the same"):
        quick_queue.resume(old)


def test_an_unknown_job_is_one_line(quick_queue):
    for action in (quick_queue.pause, quick_queue.cancel, quick_queue.resume, quick_queue.book.log):
        with pytest.raises(JobError, match="there is no job 7; the Runs page lists them"):
            action(7)


_ENGINE = """
import sys, time
from pathlib import Path
from toast_core.jobs import queue
from toast_core.jobs.book import JobBook
queue._PROCESS = (sys.executable, sys.argv[2])
jobs = queue.JobQueue(JobBook(Path(sys.argv[1])))
while True:
    jobs.tick()
    time.sleep(0.01)
"""


def test_a_job_outlives_its_killed_engine_and_the_next_engine_does_not_start_it_twice(quick_queue):
    book = quick_queue.book
    number, waiting = submit(quick_queue, 150, "a"), submit(quick_queue, 2, "b")
    stand_in = str(Path(__file__).with_name("stand_in.py"))
    engine = subprocess.Popen([sys.executable, "-c", _ENGINE, str(book.folder), stand_in], cwd=Path(__file__).parents[2])
    deadline = time.monotonic() + 60
    while book.get(number).done < 3:
        quick_queue.tick()  # the other engine leads unless this one came first, and then only one starts the job all the same
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process = process_of(book, number)
    os.kill(engine.pid, signal.SIGKILL)
    engine.wait()
    assert is_alive(process)
    next_engine = JobQueue(JobBook(book.folder)) if quick_queue._leader is None else quick_queue
    job = until(next_engine, number, lambda job: job.state == "done")
    assert (job.lives, job.crashes) == (1, 0)
    assert until(next_engine, waiting, lambda job: job.state == "done").lives == 1


def test_only_one_engine_leads(book, quick_queue):
    number = submit(quick_queue, LONG)
    quick_queue.tick()
    other = JobQueue(JobBook(book.folder))
    other.tick()
    assert book.get(number).lives == 1 and other.is_busy()
    other.cancel(number)
    assert until(quick_queue, number, lambda job: job.state == "cancelled").lives == 1
    assert not other.is_busy()


def test_a_job_for_pages_names_no_store(quick_queue):
    number = submit(quick_queue, 1)
    assert "secret" not in str(quick_queue.book.get(number).to_dict())


def test_a_row_is_read_as_earlier_versions_wrote_it(book):
    run, quote = {"kind": "evaluation", "schedule": {"version": 1}, "images": None}, {**asdict(QUOTE), "room": "for more"}
    with sqlite3.connect(book.folder / "jobs.sqlite") as connection:
        connection.execute(
            "INSERT INTO jobs (title, run, basis, command, quote, queued_at, submitted_at) VALUES ('a', ?, ?, 'toast', ?, 1.0, 1.0)",
            (json.dumps(run), json.dumps(BASIS), json.dumps(quote)),
        )
    (job,) = book.jobs()
    assert (job.run.kind, job.run.settings, job.run.to_dict()) == ("evaluation", {"schedule": {"version": 1}, "images": None}, run)
    assert job.quote == QUOTE and (job.model, job.data) == ("demo_vit", "fashion-mnist")


def test_a_book_that_is_none_is_one_line(tmp_path):
    (tmp_path / "jobs.sqlite").write_text("no database at all, but long enough to be taken for one" * 20)
    with pytest.raises(JobError, match=r"book of jobs in .* cannot be used .*; move jobs.sqlite away to begin a new one") as caught:
        JobBook(tmp_path)
    assert "\n" not in str(caught.value)


def test_the_log_that_is_shown_is_its_end(book, quick_queue):
    number = submit(quick_queue, 1)
    assert book.log(number) == ""
    book.log_path(number).write_text("x" * 100_000 + "\nend\n")
    assert book.log(number).endswith("\nend\n") and len(book.log(number)) == 64_000
