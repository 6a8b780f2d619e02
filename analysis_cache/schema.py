"""The tables, their version, and how an older version becomes this one."""

from collections.abc import Callable

from sqlalchemy import Column, Connection, Integer, LargeBinary, MetaData, String, Table, Text, inspect, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from analysis_cache.errors import StoreError

VERSION = 1
# MIGRATIONS[n] turns version n into n + 1, in the transaction that records the new version
MIGRATIONS: dict[int, Callable[[Connection], None]] = {}

METADATA = MetaData()
SCHEMA = Table("toast_schema", METADATA, Column("version", Integer, nullable=False))
CELLS = Table(
    "cells", METADATA,
    Column("key", String(64), primary_key=True),
    Column("identity", Text, nullable=False),
    Column("summary", Text, nullable=False),
    Column("created_utc", Text, nullable=False),
    Column("code_version", Text, nullable=False),
    Column("arrays_digest", Text, nullable=False),
    Column("checksum", Text, nullable=False),
    # last, so that SQLite reads the other columns without touching the pages of a long row's tail
    Column("arrays", LargeBinary, nullable=False),
)
ANALYSES = Table(
    "analyses", METADATA,
    Column("id", String(64), primary_key=True),
    Column("request", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("cell_keys", Text, nullable=False),
    Column("created_utc", Text, nullable=False),
    Column("finished_utc", Text),
    Column("checksum", Text, nullable=False),
)
HEAD_COLUMNS = tuple(column for column in CELLS.columns if column.name != "arrays")
# any number will do, as long as every program that makes these tables takes the same
_ADVISORY_LOCK = 0x70A57


def version_of(connection: Connection, store: str) -> int:
    """Return the version of the tables, 0 where there are none yet. Writes nothing.

    Raises:
        StoreError: the tables are from a newer program, or the database belongs to another one.
    """
    tables = inspect(connection).get_table_names()
    if not tables:
        return 0
    versions = list(connection.execute(select(SCHEMA.c.version)).scalars()) if SCHEMA.name in tables else []
    if len(versions) != 1:
        raise StoreError(f"store {store} holds tables of another program; pass --store with a new file or an empty database")
    if type(versions[0]) is not int or versions[0] < 1:
        raise StoreError(f"store {store} is damaged: its version is {ascii(versions[0])[:40]}; restore a copy, or move it away")
    if versions[0] > VERSION:
        raise StoreError(f"store {store} has version {versions[0]}, this program reads up to {VERSION}; update the program")
    return versions[0]


def bring_up_to_date(connection: Connection, store: str) -> None:
    """Make or migrate the tables inside the caller's write transaction; another process may have done so meanwhile."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ADVISORY_LOCK})
    version = version_of(connection, store)
    if version == 0:
        METADATA.create_all(connection)
        connection.execute(SCHEMA.insert().values(version=VERSION))
        return
    for step in range(version, VERSION):
        MIGRATIONS[step](connection)
        connection.execute(update(SCHEMA).values(version=step + 1))


def insert_new(connection: Connection, table: Table, values: dict[str, object]) -> bool:
    """Insert a row unless its primary key is there; return whether it was inserted."""
    statement = _insert(connection, table).on_conflict_do_nothing()
    return connection.execute(statement, values, execution_options={"preserve_rowcount": True}).rowcount == 1


def insert_or_replace(connection: Connection, table: Table, values: dict[str, object]) -> None:
    """Insert a row, or put it in the place of the one with its primary key."""
    statement = _insert(connection, table).values(**values)
    connection.execute(statement.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=values))


def _insert(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
