"""What the database said, as one line for a person: the store, what it means, the next step."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from analysis_cache.errors import StoreError
from toast_core.files import first_line

# first match wins; SQLite's extended codes begin with their primary one
_SQLITE = (
    ("SQLITE_FULL", "is full: the disk or quota has no room left; free some, then run it again, what was stored is safe"),
    ("SQLITE_READONLY", "cannot be written: the file or its folder is read-only; change that, or pass --store with another path"),
    ("SQLITE_CANTOPEN", "cannot be opened: the folder is missing or read-only; check the path, or pass --store with another"),
    ("SQLITE_PERM", "cannot be opened: permission denied; change that, or pass --store with another path"),
    ("SQLITE_AUTH", "cannot be opened: permission denied; change that, or pass --store with another path"),
    ("SQLITE_NOTADB", "is no SQLite database; it was left as it is, pass --store with another path"),
    ("SQLITE_CORRUPT", "is damaged; it was left as it is, restore a copy, or move it away and import or measure again"),
    ("SQLITE_BUSY", "stayed locked by another process for longer than {timeout:g} s; wait for that process, then run it again"),
    ("SQLITE_LOCKED", "stayed locked by another process for longer than {timeout:g} s; wait for that process, then run it again"),
    ("SQLITE_IOERR", "could not be read or written ({detail}); check the disk and its free space, what was stored is safe"),
)
_POSTGRESQL = (
    ("53100", "is full: the server's disk has no room left; free some, then run it again, what was stored is safe"),
    ("25006", "cannot be written: the server is read-only; pass --store with another URL"),
    ("42501", "cannot be used: permission denied; grant it on the server, or pass --store with another URL"),
    ("55P03", "stayed locked by another process for longer than {timeout:g} s; wait for that process, then run it again"),
    ("XX001", "is damaged; restore a copy of the database"),
)
_OTHER = "cannot be used ({detail}); check the path or URL, and that a server runs there"


@contextmanager
def explained(store: str, timeout_s: float) -> Iterator[None]:
    """Turn any database error inside into a StoreError about `store`."""
    try:
        yield
    except UnicodeDecodeError as error:
        # the driver could not even read what SQLite said about a damaged schema
        raise StoreError(f"store {store} {dict(_SQLITE)['SQLITE_CORRUPT']}") from error
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise StoreError(f"store {store} {_meaning(error).format(timeout=timeout_s, detail=_detail(error))}") from error


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another process held a lock."""
    return (getattr(error, "sqlite_errorname", None) or "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def _meaning(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    name, state = getattr(cause, "sqlite_errorname", None) or "", getattr(cause, "sqlstate", None) or ""
    known = [text for code, text in _SQLITE if name.startswith(code)] + [text for code, text in _POSTGRESQL if state == code]
    return known[0] if known else _OTHER


def _detail(error: Exception) -> str:
    """The first line only: the rest repeats the statement and may hold addresses."""
    return first_line(getattr(error, "orig", None) or error, 200)
