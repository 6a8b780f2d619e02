"""Starts jobs one after the other, each in a process of its own, carries out what people wish, and restarts what died.

Every engine has a queue; the one that holds the folder's lock leads, the others only write wishes into the book. A job's
process holds the job's own lock, through a file descriptor that it inherits: the lock is free exactly when the process is
gone, whoever started it, and whatever ended it.
"""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TextIO

from toast_core.errors import JobError
from toast_core.jobs.book import Job, JobBook, Quote

MAX_CRASHES = 3
_LEADER_LOCK = "queue.lock"
_TICK_S = 0.25
_DEATH_S = 2.0
_HOME = Path(__file__).parents[2]
_PROCESS = (sys.executable, "-u", "-m", "toast_core.jobs.process")


class JobQueue:
    """The jobs in one folder. Safe to share between threads; one heavy job runs at a time."""

    def __init__(self, book: JobBook) -> None:
        self.book = book
        self._leader: TextIO | None = None
        self._children: list[subprocess.Popen] = []

    def submit(self, title: str, run: dict, basis: dict, command: str, quote: Quote) -> Job:
        """Queue a job; an equal one that is open already is returned instead."""
        return self.book.add(title, run, basis, command, quote)

    def pause(self, number: int) -> Job:
        """Stop a job where it is; what it finished stays in the store, and `resume` goes on from there.

        Raises:
            JobError: no such job, or it is neither queued nor running.
        """
        return self._wish(number, "pause", ("queued",), "paused")

    def cancel(self, number: int) -> Job:
        """Stop a job for good; what it finished stays in the store.

        Raises:
            JobError: no such job, or it has ended already.
        """
        return self._wish(number, "cancel", ("queued", "paused"), "cancelled")

    def resume(self, number: int) -> Job:
        """Put a paused, failed or cancelled job at the end of the queue.

        Raises:
            JobError: no such job, it is in another state, or an equal one is open.
        """
        now = {"state": "queued", "queued_at": time.time(), "crashes": 0, "message": "", "wish": None, "finished_at": None}
        if not self.book.change(number, ("paused", "failed", "cancelled"), **now):
            job = self.book.get(number)
            raise JobError(f"job {number} is {job.state}; only paused, failed and cancelled jobs can be resumed")
        return self.book.get(number)

    def _wish(self, number: int, wish: str, at_once: tuple[str, ...], state: str) -> Job:
        """A job without a process changes at once; a running one when its process is gone, which the leader sees to."""
        ended = {"finished_at": time.time()} if state == "cancelled" else {}
        changed = self.book.change(number, at_once, state=state, message="", left_s=None, **ended)
        if not changed and not self.book.change(number, ("running",), wish=wish):
            job = self.book.get(number)
            raise JobError(f"job {number} is {job.state}; only {' and '.join((*at_once, 'running'))} jobs can be {state}")
        return self.book.get(number)

    def is_busy(self) -> bool:
        """Whether a job runs or waits for its turn."""
        return any(job.state in ("queued", "running") for job in self.book.jobs())

    def work_until(self, stopping: threading.Event) -> None:
        """Look after the jobs until told to stop. Running jobs are left running: the next engine finds them."""
        while not stopping.wait(_TICK_S):
            try:
                self.tick()
            except Exception:
                # A full disk or a damaged book must not end the engine that people measure with.
                traceback.print_exc()
                stopping.wait(10)

    def tick(self) -> None:
        """One look: carry out wishes, settle what died, start the next job if none runs. Does nothing where another engine leads."""
        if not self._leads():
            return
        self._children = [child for child in self._children if child.poll() is None]
        jobs = self.book.jobs()
        running = [job for job in jobs if job.state == "running"]
        for job in running:
            if job.wish and self._is_alive(job):
                self._kill(job)
            if not self._is_alive(job):
                self._settle(job)
        queued = sorted((job for job in jobs if job.state == "queued"), key=lambda job: job.queued_at)
        if queued and not running:
            self._start(queued[0])

    def _leads(self) -> bool:
        if self._leader is None:
            file = (self.book.folder / _LEADER_LOCK).open("w")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                return False
            self._leader = file
        return True

    def _is_alive(self, job: Job) -> bool:
        with self.book.lock_path(job.number).open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def _kill(self, job: Job) -> None:
        """End a living process and its children; one that has not yet said its number is met at the next look."""
        text = self.book.lock_path(job.number).read_text()
        if not text.isdigit():
            return
        try:
            os.killpg(int(text), signal.SIGKILL)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + _DEATH_S
        while self._is_alive(job) and time.monotonic() < deadline:
            time.sleep(0.01)

    def _settle(self, job: Job) -> None:
        """Write down what became of a job whose process is gone without saying so itself."""
        job = self.book.get(job.number)
        state = {"pause": "paused", "cancel": "cancelled", None: "queued"}[job.wish]
        values: dict[str, object] = {"state": state, "wish": None, "left_s": None, "message": ""}
        if job.wish is None:
            crashes, last = job.crashes + 1, _last_line(self.book.log(job.number))
            values |= {"crashes": crashes, "message": f"Interrupted, goes on by itself ({crashes} of {MAX_CRASHES - 1} times)"}
            if crashes >= MAX_CRASHES:
                values |= {"state": "failed", "message": f"ended {crashes} times without a word; last line of its log: {last}"}
        if values["state"] in ("cancelled", "failed"):
            values["finished_at"] = time.time()
        if self.book.change(job.number, ("running",), **values):
            self._note(job, f"{values['state']}: {values['message']}" if values["message"] else str(values["state"]))

    def _start(self, job: Job) -> None:
        """Start a job's process with its lock in hand, so that at no instant it looks dead."""
        values = {"state": "running", "wish": None, "done": 0, "total": 0, "left_s": None, "message": "Starting", "lives": job.lives + 1}
        lock = os.open(self.book.lock_path(job.number), os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self.book.change(job.number, ("queued",), **values, started_at=job.started_at or time.time()):
                return
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(_HOME), os.environ.get("PYTHONPATH"))))}
            with self.book.log_path(job.number).open("ab") as log:
                self._children.append(subprocess.Popen(
                    [*_PROCESS, "--folder", str(self.book.folder), "--number", str(job.number)], stdin=subprocess.DEVNULL, stdout=log,
                    stderr=subprocess.STDOUT, start_new_session=True, env=environment, pass_fds=(lock,),
                ))
        finally:
            os.close(lock)

    def _note(self, job: Job, text: str) -> None:
        with self.book.log_path(job.number).open("a") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")


def _last_line(log: str) -> str:
    lines = [line for line in log.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "nothing"
