"""The book of drafts: every schedule that a person works on, where it came from, and what was measured. Imports no Streamlit or torch.

SQLite and not a JSON file a draft, because two tabs of one browser write the same draft: a change names the revision that it was
made from, so that none is lost; the second one becomes a draft of its own. WAL keeps what was committed through kill -9.
Every row belongs to an owner, and no question is answered about another owner's rows.
"""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dashboard.evidence.draft import Draft, Result, Steps, pack
from toast_core.errors import ScheduleError, ToastError
from toast_core.schedule.schedule import Schedule

MAX_NAME, MAX_NOTE = 60, 300
MAX_DRAFTS = 200
_MAX_RESULTS = 1000
_FILE = "drafts.sqlite"
_TIMEOUT_S = 30
_TABLES = """
CREATE TABLE IF NOT EXISTS drafts (
    number INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT NOT NULL, model TEXT NOT NULL, name TEXT NOT NULL, parent INTEGER,
    origin TEXT NOT NULL, schedule TEXT NOT NULL, steps BLOB NOT NULL, closed INTEGER NOT NULL DEFAULT 0,
    revision INTEGER NOT NULL DEFAULT 0, created REAL NOT NULL, changed REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS drafts_of_an_owner ON drafts (owner, model);
CREATE TABLE IF NOT EXISTS results (
    owner TEXT NOT NULL, subject TEXT NOT NULL, digest TEXT NOT NULL, schedule TEXT NOT NULL, result TEXT NOT NULL,
    measured REAL NOT NULL, PRIMARY KEY (owner, subject, digest)
);
"""
_COLUMNS = "number, name, parent, origin, schedule, steps, closed, revision, created, changed, starred, note"
_ADDED = {"starred": "INTEGER NOT NULL DEFAULT 0", "note": "TEXT NOT NULL DEFAULT ''", "removed": "INTEGER NOT NULL DEFAULT 0"}


class DraftError(ToastError, RuntimeError):
    """The book of drafts cannot be used, or a draft cannot be named so."""


class DraftBook:
    """The drafts in `folder`, which is made where it is missing. Safe to share between threads and processes.

    Every method raises a DraftError where the file cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise DraftError(f"drafts cannot be kept in {folder} ({error.strerror}); set TOAST_STATE to a writable folder") from error
        with self._open() as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(_TABLES)
            present = {row[1] for row in connection.execute("PRAGMA table_info(drafts)")}
            for name, kind in _ADDED.items():  # a book of an earlier program
                if name not in present:
                    connection.execute(f"ALTER TABLE drafts ADD COLUMN {name} {kind}")

    def drafts(self, owner: str, model: str) -> list[Draft]:
        """An owner's drafts of a model, the one last changed or taken in hand first; without removed ones, and those of a newer program."""
        with self._open() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM drafts WHERE owner = ? AND model = ? AND NOT removed ORDER BY changed DESC, number DESC",
                (owner, model),
            ).fetchall()
        return [draft for row in rows if (draft := _draft(row)) is not None]

    def add(self, owner: str, model: str, schedule: Schedule, parent: int | None, origin: str, steps: Steps = ((), ())) -> Draft:
        """Begin a draft, named `Draft N`. Beyond MAX_DRAFTS the one that was left alone longest is forgotten: of removed ones first, and a
        starred one last."""
        now, text = time.time(), json.dumps(schedule.to_dict())
        with self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            names = connection.execute("SELECT name FROM drafts WHERE owner = ? AND model = ?", (owner, model)).fetchall()
            numbers = [int(name.removeprefix("Draft ")) for (name,) in names if name.removeprefix("Draft ").isdecimal()]
            row = connection.execute(
                "INSERT INTO drafts (owner, model, name, parent, origin, schedule, steps, created, changed)"
                f" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING {_COLUMNS}",
                (owner, model, f"Draft {max([len(names), *numbers]) + 1}", parent, origin, text, pack(steps), now, now),
            ).fetchone()
            connection.execute(
                "DELETE FROM drafts WHERE owner = ? AND model = ? AND number NOT IN"
                " (SELECT number FROM drafts WHERE owner = ? AND model = ?"
                " ORDER BY number = ? DESC, removed, starred DESC, changed DESC, number DESC LIMIT ?)",
                (owner, model, owner, model, row[0], MAX_DRAFTS),
            )
            connection.execute("COMMIT")
        return _draft(row)

    def grow(self, owner: str, draft: Draft, schedule: Schedule, steps: Steps) -> Draft | None:
        """The draft with another schedule; None where it is closed, gone, or was changed by another tab since it was read."""
        return self._change(
            owner, draft.number, "schedule = ?, steps = ?, changed = ?, revision = revision + 1",
            (json.dumps(schedule.to_dict()), pack(steps), time.time()), "AND revision = ? AND NOT closed", (draft.revision,),
        )

    def close(self, owner: str, number: int) -> Draft | None:
        """Leave a draft as it is from now on; None where it is gone, here and below."""
        return self._change(owner, number, "closed = 1", ())

    def take(self, owner: str, number: int) -> Draft | None:
        """Close a draft and put it first in the list."""
        return self._change(owner, number, "closed = 1, changed = ?", (time.time(),))

    def rename(self, owner: str, number: int, name: str) -> Draft | None:
        """Give a draft another name.

        Raises:
            DraftError: the name is empty, longer than MAX_NAME, or has characters that do not print.
        """
        name = name.strip()
        if not 0 < len(name) <= MAX_NAME or not name.isprintable():
            raise DraftError(f"a draft cannot be named {name[:MAX_NAME]!r}; write 1 to {MAX_NAME} printable characters")
        return self._change(owner, number, "name = ?", (name,))

    def mark(self, owner: str, number: int, starred: bool, note: str) -> Draft | None:
        """Set a draft's star and note.

        Raises:
            DraftError: the note is longer than MAX_NOTE, or has characters that do not print.
        """
        note = note.strip()
        if len(note) > MAX_NOTE or (note and not note.isprintable()):
            raise DraftError(f"a note cannot be {note[:MAX_NAME]!r}; write up to {MAX_NOTE} printable characters")
        return self._change(owner, number, "starred = ?, note = ?", (int(starred), note))

    def remove(self, owner: str, number: int) -> Draft | None:
        """Take a draft off the list; its descendants stay, and keep its name as their origin."""
        return self._change(owner, number, "removed = 1, closed = 1", ())

    def restore(self, owner: str, number: int) -> Draft | None:
        """Put a removed draft on the list again."""
        return self._change(owner, number, "removed = 0", ())

    def keep_result(self, owner: str, subject: str, schedule: Schedule, figures: dict) -> None:
        """Store what was measured of a schedule, in place of an earlier result; the oldest beyond a thousand are forgotten."""
        values = (owner, subject, schedule.digest(), json.dumps(schedule.to_dict()), json.dumps(figures), time.time())
        with self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?, ?)", values)
            connection.execute(
                "DELETE FROM results WHERE owner = ? AND subject = ? AND digest NOT IN"
                " (SELECT digest FROM results WHERE owner = ? AND subject = ? ORDER BY measured DESC LIMIT ?)",
                (owner, subject, owner, subject, _MAX_RESULTS),
            )
            connection.execute("COMMIT")

    def results(self, owner: str, subject: str) -> dict[str, Result]:
        """What was measured of a model on its images, by the schedule's digest, newest first."""
        with self._open() as connection:
            rows = connection.execute(
                "SELECT digest, schedule, result FROM results WHERE owner = ? AND subject = ? ORDER BY measured DESC", (owner, subject)
            ).fetchall()
        read = {digest: (_schedule(schedule), json.loads(figures)) for digest, schedule, figures in rows}
        return {digest: Result(schedule, figures) for digest, (schedule, figures) in read.items() if schedule is not None}

    def _change(
        self, owner: str, number: int, columns: str, values: tuple, condition: str = "", condition_values: tuple = ()
    ) -> Draft | None:
        with self._open() as connection:
            row = connection.execute(
                f"UPDATE drafts SET {columns} WHERE owner = ? AND number = ? {condition} RETURNING {_COLUMNS}",
                (*values, owner, number, *condition_values),
            ).fetchone()
        return _draft(row) if row else None

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
        except sqlite3.Error as error:
            raise DraftError(f"the drafts in {self.folder} cannot be used ({error}); move {_FILE} away to begin anew") from error


def _draft(row: tuple) -> Draft | None:
    number, name, parent, origin, schedule, steps, closed, revision, created, changed, starred, note = row
    read = _schedule(schedule)
    if read is None:
        return None
    return Draft(number, name, parent, origin, read, steps, bool(closed), revision, created, changed, bool(starred), note)


def _schedule(text: str) -> Schedule | None:
    try:
        return Schedule.from_json(text)
    except ScheduleError:
        return None
