"""The process of one job: measures at low priority, writes its progress into the book, and its log on stdout.

    python -m toast_core.jobs.process --folder DIR --number N

The queue starts it, holding the job's lock, which this process inherits and keeps as long as it lives. It knows nothing of pausing
or cancelling: it is killed, at any instant, and started again.

It takes as many threads as the command line that it prints. On fewer, sums are rounded otherwise, and a fit that is nearly singular
(few calibration images, random weights) turns such a difference into another file. A live answer beside it was no slower than
beside a job on one thread less.
"""

import argparse
import logging
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from analysis_cache.analysis import Analysis
from analysis_cache.store import EvidenceStore
from toast_core.errors import ToastError
from toast_core.jobs.book import JobBook
from toast_core.machine import wait_asleep

_NICE = 5
_WRITE_S = 0.25
_RATE_WINDOW_S = 20.0
_log = logging.getLogger("toast_core.jobs")


class TellingStore(EvidenceStore):
    """An evidence store that says which analysis is put, so that pages can show it while its cells fill in."""

    tell: Callable[[Analysis], object]

    def put_analysis(self, analysis: Analysis) -> None:
        """Store the analysis, then say which it is."""
        super().put_analysis(analysis)
        self.tell(analysis)


class Progress:
    """Tells the book how far a job is, a few times a second; the time left follows from the speed of the last seconds."""

    def __init__(self, book: JobBook, number: int) -> None:
        self.book, self.number = book, number
        self.seen: deque[tuple[float, int]] = deque()
        self.written, self.told = 0.0, 0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        self.seen.append((now, done))
        while len(self.seen) > 2 and now - self.seen[0][0] > _RATE_WINDOW_S:
            self.seen.popleft()
        if (tenth := 10 * done // max(total, 1)) > self.told:
            self.told = tenth
            _log.info("%d of %d done", done, total)
        if now - self.written >= _WRITE_S or done == total:
            self.written = now
            left = left_seconds(self.seen[0], (now, done), total)
            self.book.change(self.number, ("running",), done=done, total=total, left_s=left, message="Measuring")


def left_seconds(first: tuple[float, int], last: tuple[float, int], total: int) -> float | None:
    """Seconds until `total` steps at the speed between two looks (seconds, steps); None where nothing was done in between."""
    seconds, steps = last[0] - first[0], last[1] - first[1]
    return (total - last[1]) * seconds / steps if steps > 0 and seconds > 0 else None


def main(argv: list[str] | None = None) -> int:
    """Do the job. Exit status 0 once the record says how it ended; anything else is a crash, which the queue takes care of."""
    parser = argparse.ArgumentParser(prog="python -m toast_core.jobs.process", description="The process of one job.")
    parser.add_argument("--folder", type=Path, required=True, help="the book's folder")
    parser.add_argument("--number", type=int, required=True)
    options = parser.parse_args(argv)
    os.nice(_NICE)
    wait_asleep()
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%Y-%m-%d %H:%M:%S")
    book = JobBook(options.folder)
    book.lock_path(options.number).write_text(str(os.getpid()))
    try:
        _work(book, options.number)
    except ToastError as error:
        line = " ".join(str(error).split())
        _log.error("failed: %s", line)
        book.change(options.number, ("running",), state="failed", message=line, left_s=None, finished_at=time.time())
    return 0


def _work(book: JobBook, number: int) -> None:
    _say(book, number, "Loading PyTorch")
    from toast_core.setup import Setup
    from toast_core.studies.registry import read_run
    from toast_core.workbench import Workbench

    job = book.get(number)
    run, setup = read_run(job.run.to_dict()), Setup.from_dict(job.basis)
    _say(book, number, f"Loading {setup.model or setup.weights}")

    def tell(what: str, done: int, total: int) -> None:
        things = "images" if what == "calibrating" else "blocks"
        book.change(number, ("running",), message=f"{what.capitalize()}: {done} of {total} {things}")

    workbench = Workbench.load(setup, tell)
    with TellingStore.open(setup.store) as store:
        store.tell = lambda analysis: book.change(number, ("running",), analysis=analysis.short_id)
        _say(book, number, "Looking at what is stored")
        work = run.work(workbench, store)
        _log.info("%d cells on %d images, %d stored, %d to measure", work.cells, work.images, work.stored, work.cells - work.stored)
        before = time.monotonic()
        analysis = run.measure(workbench, store, Progress(book, number))
        took = time.monotonic() - before
        outcome = run.outcome(store, analysis)
    _log.info("done in %.1f s, analysis %s", took, analysis.short_id)
    # The rate that later quotes are made of must be that of the whole work in one go.
    measured_s = took if job.lives == 1 and work.macs == job.quote.macs else None
    ended = {"state": "done", "message": outcome, "left_s": None, "finished_at": time.time()}
    book.change(number, ("running",), **ended, measured_s=measured_s)


def _say(book: JobBook, number: int, message: str) -> None:
    _log.info(message)
    book.change(number, ("running",), message=message)


if __name__ == "__main__":
    sys.exit(main())
