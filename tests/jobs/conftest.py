"""What the tests of jobs share."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from toast_core.jobs import queue as queue_module
from toast_core.jobs.book import Job, JobBook, Quote
from toast_core.jobs.queue import JobQueue

BASIS = {"model": "demo_vit", "data": "fashion-mnist", "store": "postgresql://user:secret@host/evidence"}
QUOTE = Quote(cells=1, stored=0, images=1, macs=1, calibration=0, seconds=1.0)


@pytest.fixture
def book(tmp_path: Path) -> JobBook:
    """An empty book."""
    return JobBook(tmp_path / "jobs")


@pytest.fixture
def quick_queue(book: JobBook, monkeypatch: pytest.MonkeyPatch) -> JobQueue:
    """A queue whose jobs are stand-ins."""
    monkeypatch.setattr(queue_module, "_PROCESS", (sys.executable, str(Path(__file__).with_name("stand_in.py"))))
    return JobQueue(book)


def submit(queue: JobQueue, steps: int, name: str = "a") -> int:
    """Queue a stand-in of so many steps; its number."""
    return queue.submit(f"stand-in {name}", {"kind": "redundancy", "steps": steps, "name": name}, BASIS, "toast", QUOTE).number


def until(queue: JobQueue, number: int, wanted: Callable[[Job], bool], seconds: float = 60) -> Job:
    """Let the queue work until a job is as wanted."""
    deadline = time.monotonic() + seconds
    while not wanted(job := queue.book.get(number)):
        assert time.monotonic() < deadline, f"still {job}; its log: {queue.book.log(number)}"
        queue.tick()
        time.sleep(0.01)
    return job


def process_of(book: JobBook, number: int) -> int:
    """The process id that a job's process has left."""
    return int(book.lock_path(number).read_text())


def kill(book: JobBook, number: int) -> None:
    """kill -9 the job's process."""
    os.kill(process_of(book, number), signal.SIGKILL)
