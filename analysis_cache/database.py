"""Opening a database so that a writer killed at any instant loses at most what it had not committed.

SQLite: WAL mode, synchronous NORMAL (a killed process loses no commit; a power cut may lose the last ones and damages none),
write transactions take their lock at the start. PostgreSQL: its own defaults.
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from analysis_cache.archive import is_bundle
from analysis_cache.errors import StoreError
from analysis_cache.failures import explained, is_busy
from analysis_cache.schema import VERSION, bring_up_to_date, version_of

STORE_VARIABLE = "TOAST_STORE"
TIMEOUT_S = 30.0
_WRITES = "toast_writes"
_SQLITE_HEADER = b"SQLite format 3\0"


def default_store() -> str:
    """The user's own store: the environment's TOAST_STORE (a path or URL), else a file in the user's data folder."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return os.environ.get(STORE_VARIABLE) or str(Path(data) / "toast-studio" / "evidence.sqlite")


def file_of(store: str) -> Path | None:
    """The file behind a path or URL; None for a server and for SQLite's own file: URIs."""
    return _file_of(_target(store))


class Database:
    """An engine with two kinds of transaction; their errors are StoreErrors about `name`. Safe to share between threads."""

    def __init__(self, engine: Engine, name: str, timeout_s: float) -> None:
        self.engine, self.name, self.timeout_s = engine, name, timeout_s

    @classmethod
    def open(cls, url: str | Path | None, create: bool, read_only: bool, timeout_s: float) -> "Database":
        """Open and check; make or migrate the tables unless `read_only`.

        Raises:
            StoreError: see EvidenceStore.open.
        """
        target = _target(default_store() if url is None else str(url))
        path = _file_of(target)
        if path is not None:
            target = _prepare_file(path, create and not read_only, read_only)
        name = str(path) if path is not None else target.render_as_string(hide_password=True)
        try:
            engine = create_engine(target)
        except (ImportError, ArgumentError) as error:
            raise StoreError(f"store {name} needs a driver ({error}); install it with: pip install 'toast-studio[postgresql]'") from error
        database = cls(engine, name, timeout_s)
        try:
            database._start(read_only)
        except BaseException:
            engine.dispose()
            raise
        return database

    def _start(self, read_only: bool) -> None:
        is_sqlite = self.engine.dialect.name == "sqlite"
        event.listen(self.engine, "connect", self._set_up_sqlite if is_sqlite else partial(self._set_up_postgresql, read_only))
        event.listen(self.engine, "begin", _begin)
        with self.read() as connection:
            version = version_of(connection, self.name)
        if read_only:
            if version != VERSION:
                raise StoreError(f"store {self.name} has version {version}, not {VERSION}; toast cache verify brings it up to date")
            return
        if is_sqlite:
            self._enter_wal_mode()
        if version != VERSION:
            with self.write() as connection:
                bring_up_to_date(connection, self.name)

    def _set_up_sqlite(self, connection: sqlite3.Connection, _: object) -> None:
        # the driver would begin on its own, and too late for a transaction that reads before it writes
        connection.isolation_level = None
        # a damaged row must be reported, and so has to be readable
        connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        connection.execute(f"PRAGMA busy_timeout = {int(self.timeout_s * 1000)}")
        connection.execute("PRAGMA synchronous = NORMAL")

    def _set_up_postgresql(self, read_only: bool, connection: Any, _: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET default_transaction_read_only = {'on' if read_only else 'off'}")
            cursor.execute(f"SET lock_timeout = {int(self.timeout_s * 1000)}")
        connection.commit()

    def _enter_wal_mode(self) -> None:
        """SQLite does not wait for the lock that this change takes, so that processes starting together must."""
        deadline = time.monotonic() + self.timeout_s
        with explained(self.name, self.timeout_s), self._raw() as connection:
            while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                try:
                    connection.execute("PRAGMA journal_mode = WAL")
                    return
                except sqlite3.Error as error:
                    if not is_busy(error) or time.monotonic() > deadline:
                        raise
                    time.sleep(0.01)

    @contextmanager
    def _raw(self) -> Iterator[sqlite3.Connection]:
        borrowed = self.engine.raw_connection()
        try:
            yield cast(sqlite3.Connection, borrowed.driver_connection)
        finally:
            borrowed.close()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state of the store and writes nothing."""
        with explained(self.name, self.timeout_s), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that is committed at the end, or leaves no trace."""
        with explained(self.name, self.timeout_s), self.engine.connect() as connection:
            connection = connection.execution_options(**{_WRITES: True})
            with connection.begin():
                yield connection

    def shrink(self) -> None:
        """Give the room of removed rows back to the disk; PostgreSQL does so by itself."""
        if self.engine.dialect.name == "sqlite":
            with explained(self.name, self.timeout_s), self._raw() as connection:
                connection.execute("VACUUM")

    def check_file(self) -> list[str]:
        """What SQLite finds wrong with the file's structure; nothing for PostgreSQL, which has no such check for users."""
        if self.engine.dialect.name != "sqlite":
            return []
        with explained(self.name, self.timeout_s), self._raw() as connection:
            return [row[0] for row in connection.execute("PRAGMA integrity_check(20)") if row[0] != "ok"]

    def close(self) -> None:
        """Close every connection; the database cannot be used afterwards."""
        self.engine.dispose()


def _begin(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get(_WRITES) else "BEGIN")


def _target(given: str) -> URL:
    if "://" not in given:
        return URL.create("sqlite", database=given)
    try:
        url = make_url(given)
    except ArgumentError as error:
        raise StoreError("the store URL cannot be read; write sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE") from error
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        raise StoreError(f"unknown kind of store {url.drivername!r}; choose from sqlite, postgresql+psycopg")
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise StoreError(f"store {given} would be lost with the process; write sqlite:///FILE")
    return url


def _file_of(url: URL) -> Path | None:
    """The file behind the URL; None for a server and for SQLite's own file: URIs, which are taken as they are."""
    if url.get_backend_name() != "sqlite" or url.database is None or url.database.startswith("file:"):
        return None
    return Path(url.database).expanduser()


def _is_sqlite_or_empty(path: Path) -> bool:
    """SQLite itself would take a file of a few bytes for an empty database, and write over it."""
    with path.open("rb") as file:
        return file.read(len(_SQLITE_HEADER)) in (b"", _SQLITE_HEADER)


def _prepare_file(path: Path, create: bool, read_only: bool) -> URL:
    try:
        if path.is_dir():
            raise StoreError(f"store {path} is a folder; write the path of a file in it, for example {path / 'evidence.sqlite'}")
        if is_bundle(path):
            raise StoreError(f"store {path} is a bundle; read it into a store with toast cache import {path}")
        if path.is_file() and not _is_sqlite_or_empty(path):
            raise StoreError(f"store {path} is no SQLite database; it was left as it is, pass --store with another path")
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
        elif not path.exists():
            raise StoreError(f"there is no store {path}; check the path, or make one with toast analyze or toast cache import")
    except OSError as error:
        raise StoreError(f"store {path} cannot be used ({error.strerror}); pass --store with another path") from error
    if not read_only:
        return URL.create("sqlite", database=str(path))
    mode = {"uri": "true", "mode": "ro"}
    # beside a file in WAL mode SQLite writes even to read; where nobody can write there is nothing to share
    if not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists():
        mode["immutable"] = "1"
    return URL.create("sqlite", database=f"file:{quote(str(path.absolute()))}", query=mode)
