"""The book of jobs: one row a job, in a SQLite file that all engines, job processes and readers of a user share.

SQLite and not a JSON file a job, because three processes change a record (the job its progress, any engine its wish, the
leading engine its state): every change is one UPDATE that names the states it is allowed in, so that none is lost and the
last word is the same for all. WAL keeps what was committed through kill -9, and readers never wait for a writer.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from toast_core.errors import JobError

OPEN = ("queued", "running", "paused")
STATES = (*OPEN, "done", "failed", "cancelled")
_FILE = "jobs.sqlite"
_SHOWN = 100
_TIMEOUT_S = 30
_LOG_TAIL_BYTES = 64_000
_TABLE = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT NOT NULL, run TEXT NOT NULL, basis TEXT NOT NULL, command TEXT NOT NULL,
    quote TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'queued', queued_at REAL NOT NULL, submitted_at REAL NOT NULL, wish TEXT,
    done INTEGER NOT NULL DEFAULT 0, total INTEGER NOT NULL DEFAULT 0, left_s REAL, message TEXT NOT NULL DEFAULT '', analysis TEXT,
    crashes INTEGER NOT NULL DEFAULT 0, lives INTEGER NOT NULL DEFAULT 0, started_at REAL, finished_at REAL, measured_s REAL
);
CREATE UNIQUE INDEX IF NOT EXISTS one_open_job_a_request ON jobs (run, basis) WHERE state IN ('queued', 'running', 'paused');
"""


@dataclass(frozen=True)
class JobRun:
    """What a job was asked to do: its kind, and that kind's fields as plain JSON values (see `toast_core.studies.registry.read_run`)."""

    kind: str
    settings: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The kind and the fields in one object."""
        return {"kind": self.kind, **self.settings}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "JobRun":
        """Return the run whose `to_dict` gives these values."""
        return cls(values["kind"], {name: value for name, value in values.items() if name != "kind"})


@dataclass(frozen=True)
class Quote:
    """What a run comes to, as told before it starts.

    cells, stored   what it measures, and how much of that is in the store already
    images          that each of them sees
    macs            that are left; 0 where everything is stored
    calibration     images that are looked at before
    seconds         on this machine, starting up included; 0 where everything is stored
    """

    cells: int
    stored: int
    images: int
    macs: int
    calibration: int
    seconds: float


@dataclass(frozen=True)
class Job:
    """One row. Times are seconds since 1970.

    run          what was asked, as `studies.registry.run_to_dict` writes it
    basis        what it is about: a `Setup`'s values, of which a page gets only the names of model and images
    command      the command line that measures the same
    quote        the price, as told before the start
    state        one of STATES; queued jobs start in the order of queued_at
    wish         pause or cancel, until the process is gone
    done, total  steps of the job, of this life: what was stored before it is not counted
    left_s       seconds to go; None while unknown
    message      what it is doing, or how it ended, in one line
    analysis     id of what it measured
    crashes      processes that died unasked since it was last resumed by hand
    lives        processes started
    measured_s   seconds of measuring, where one process did it all
    """

    number: int
    title: str
    run: JobRun
    basis: dict[str, Any]
    command: str
    quote: Quote
    state: str
    queued_at: float
    submitted_at: float
    wish: str | None
    done: int
    total: int
    left_s: float | None
    message: str
    analysis: str | None
    crashes: int
    lives: int
    started_at: float | None
    finished_at: float | None
    measured_s: float | None

    @property
    def model(self) -> str:
        """The name of the model that it is about."""
        name: str = self.basis["model"] or Path(self.basis["weights"]).name  # weights may say which model they are
        return name

    @property
    def data(self) -> str:
        """The name or folder of the images that it measures on."""
        name: str = self.basis["data"]
        return name

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values for a page; of the basis only the names, since a store's address can hold a password."""
        return {**asdict(self), "run": self.run.to_dict(), "basis": {"model": self.model, "data": self.data}}


class JobBook:
    """The records and logs in `folder`, made where it is missing. Safe to share between threads and processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._open() as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(_TABLE)

    def add(self, title: str, run: dict[str, Any], basis: dict[str, Any], command: str, quote: Quote) -> Job:
        """Put a job at the end of the queue; where an equal one is open already, return that one."""
        now, texts = time.time(), [json.dumps(value, sort_keys=True) for value in (run, basis)]
        equal = "SELECT * FROM jobs WHERE run = ? AND basis = ? AND state IN ('queued', 'running', 'paused')"
        with self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            if not connection.execute(equal, texts).fetchone():
                connection.execute(
                    "INSERT INTO jobs (title, run, basis, command, quote, queued_at, submitted_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (title, *texts, command, json.dumps(asdict(quote)), now, now),
                )
            row = connection.execute(equal, texts).fetchone()
            connection.execute("COMMIT")
        return _job(row)

    def get(self, number: int) -> Job:
        """One job.

        Raises:
            JobError: there is none of that number.
        """
        with self._open() as connection:
            row = connection.execute("SELECT * FROM jobs WHERE number = ?", (number,)).fetchone()
        if row is None:
            raise JobError(f"there is no job {number}; the Runs page lists them")
        return _job(row)

    def jobs(self) -> list[Job]:
        """Every open job and the latest ended ones, newest first."""
        with self._open() as connection:
            rows = connection.execute(
                "SELECT * FROM jobs WHERE state IN ('queued', 'running', 'paused') OR number > (SELECT max(number) FROM jobs) - ? "
                "ORDER BY number DESC", (_SHOWN,)
            ).fetchall()
        return [_job(row) for row in rows]

    def change(self, number: int, allowed: tuple[str, ...], **values: object) -> bool:
        """Set columns of a job that is in one of the allowed states; return whether it was."""
        columns, marks = ", ".join(f"{name} = ?" for name in values), ", ".join("?" for _ in allowed)
        with self._open() as connection:
            try:
                found = connection.execute(
                    f"UPDATE jobs SET {columns} WHERE number = ? AND state IN ({marks})", (*values.values(), number, *allowed)
                )
            except sqlite3.IntegrityError:
                raise JobError(f"job {number} cannot go on: another open job measures the same; resume or cancel that one") from None
        return found.rowcount == 1

    def log_path(self, number: int) -> Path:
        """Where the job's process writes."""
        return self.folder / f"{number}.log"

    def lock_path(self, number: int) -> Path:
        """Locked as long as the job's process lives; holds its process id."""
        return self.folder / f"{number}.lock"

    def log(self, number: int) -> str:
        """The end of the job's log, possibly nothing.

        Raises:
            JobError: there is no such job.
        """
        path = self.log_path(self.get(number).number)
        if not path.exists():
            return ""
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _LOG_TAIL_BYTES))
            return file.read().decode(errors="replace")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection on which every statement is a transaction of its own, unless it begins one."""
        try:
            connection = sqlite3.connect(self.folder / _FILE, timeout=_TIMEOUT_S, isolation_level=None)
            try:
                connection.execute("PRAGMA synchronous = NORMAL")
                yield connection
            finally:
                connection.close()
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            raise JobError(f"the book of jobs in {self.folder} cannot be used ({error}); move {_FILE} away to begin a new one") from error


_COLUMNS = tuple(field.name for field in fields(Job))


def _quote(values: dict[str, Any]) -> Quote:
    return Quote(**{field.name: values[field.name] for field in fields(Quote)})


_JSON_COLUMNS: dict[str, Callable[[Any], Any]] = {"run": JobRun.from_dict, "basis": dict, "quote": _quote}


def _job(row: tuple[Any, ...]) -> Job:
    values = dict(zip(_COLUMNS, row, strict=True))
    return Job(**values | {name: read(json.loads(values[name])) for name, read in _JSON_COLUMNS.items()})
