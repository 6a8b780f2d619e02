"""Looking after a store: reading all of it whatever state it is in, removing what is damaged or no longer wanted, taking over rows."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, delete, literal_column, select

from analysis_cache.analysis import AnalysisRecord
from analysis_cache.cell import CellRecord
from analysis_cache.database import Database
from analysis_cache.errors import StoreError
from analysis_cache.schema import ANALYSES, CELLS, insert_new

_CHUNK = 100
_RECORDS = {CELLS: CellRecord, ANALYSES: AnalysisRecord}
Record = CellRecord | AnalysisRecord


@dataclass(frozen=True)
class Problem:
    """Something damaged. `what` is "cell", "analysis" or "file"; `key` is empty where it cannot be read."""

    what: str
    key: str
    reason: str
    row: object = field(default=None, repr=False)

    def to_dict(self) -> dict[str, str]:
        """Plain JSON values; a key that is no text is shown as far as it can be."""
        return {"what": self.what, "key": ascii(self.key)[1:-1], "reason": self.reason}


@dataclass(frozen=True)
class Verification:
    """What was read and what did not hold."""

    cells: int
    analyses: int
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether no cell and no analysis has a problem."""
        return not self.problems


@dataclass(frozen=True)
class Added:
    """How many rows were taken over, how many were there already, how many were damaged and left behind."""

    cells: int = 0
    cells_present: int = 0
    analyses: int = 0
    analyses_present: int = 0
    damaged: int = 0


def problems_of(database: Database) -> Verification:
    """Read every row and say which are damaged; page damage in the file is reported, never raised."""
    problems, counts = [], {CELLS: 0, ANALYSES: 0}
    try:
        rescue = f"save the sound rows with toast cache merge {database.name} --store NEW"
        problems += [Problem("file", "", f"{' '.join(message.split())}; {rescue}") for message in database.check_file()]
    except StoreError as error:
        problems.append(Problem("file", "", str(error)))
    for table in _RECORDS:
        try:
            for row, record, reason in _walk(database, table):
                counts[table] += 1
                if reason is not None:
                    problems.append(Problem(_name(table), _key_of(record), reason, row))
        except StoreError as error:
            problems.append(Problem("file", "", str(error)))
    return Verification(counts[CELLS], counts[ANALYSES], tuple(problems))


def remove_problems(database: Database, problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Delete the damaged rows, all or none, and return them; damage of the file itself stays."""
    rows = tuple(problem for problem in problems if problem.row is not None)
    with database.write() as connection:
        for table in _RECORDS:
            for problem in rows:
                if problem.what == _name(table):
                    connection.execute(delete(table).where(_row_id(database, table) == problem.row))
    return rows


def prune(database: Database, older_than_days: float | None, keep_listed: bool, forget: set[str], dry_run: bool) -> list[str]:
    """See EvidenceStore.prune. What is listed is read in the transaction that removes, so that no sweep can start in between."""
    if older_than_days is None and not keep_listed:
        raise StoreError("every cell would be removed; keep the listed ones, or say how old they must be (--older-than DAYS)")
    if older_than_days is not None and not 0 <= older_than_days <= 36500:
        raise StoreError(f"older than {older_than_days:g} days is out of range; write days from 0 to 36500")
    before = datetime.now(UTC) - timedelta(days=older_than_days or 0)
    limit = None if older_than_days is None else before.strftime("%Y-%m-%dT%H:%M:%SZ")
    with database.write() as connection:
        listed = _listed(connection, database.name, forget) if keep_listed else set()
        rows = connection.execute(select(CELLS.c.key, CELLS.c.created_utc)).all()
        gone = sorted(key for key, created in rows if key not in listed and (limit is None or created < limit))
        if dry_run:
            return gone
        connection.execute(delete(ANALYSES).where(ANALYSES.c.id.in_(forget)))
        for start in range(0, len(gone), _CHUNK):
            connection.execute(delete(CELLS).where(CELLS.c.key.in_(gone[start : start + _CHUNK])))
    if gone:
        database.shrink()
    return gone


def everything(database: Database) -> Iterator[tuple[Record | None, str | None]]:
    """Yield every row as a record and what is wrong with it, for `adopt`."""
    for table in _RECORDS:
        for _, record, reason in _walk(database, table):
            yield record, reason


def adopt(database: Database, rows: Iterable[tuple[Record | None, str | None]]) -> Added:
    """Take over the sound rows that are lacking, all in one transaction; an error from `rows` leaves no trace."""
    counts = dict.fromkeys(Added.__dataclass_fields__, 0)
    with database.write() as connection:
        for record, reason in rows:
            if reason is not None:
                counts["damaged"] += 1
            elif isinstance(record, CellRecord):
                counts["cells" if insert_new(connection, CELLS, dict(vars(record))) else "cells_present"] += 1
            elif record is not None:
                counts["analyses" if _adopt_analysis(connection, record) else "analyses_present"] += 1
    return Added(**counts)


def _adopt_analysis(connection: Connection, record: AnalysisRecord) -> bool:
    if record.finished_utc is not None:
        connection.execute(delete(ANALYSES).where(ANALYSES.c.id == record.id, ANALYSES.c.finished_utc.is_(None)))
    return insert_new(connection, ANALYSES, dict(vars(record)))


def _listed(connection: Connection, store: str, forget: set[str]) -> set[str]:
    listed: set[str] = set()
    for row in connection.execute(select(ANALYSES).where(ANALYSES.c.id.not_in(forget))).mappings():
        record = AnalysisRecord(**row)
        if record.fault() is not None:
            raise StoreError(f"store {store} has a damaged analysis, so what it lists is unknown; run toast cache verify --remove first")
        listed.update(record.analysis().cell_keys)
    return listed


def _walk(database: Database, table: Table) -> Iterator[tuple[object, Record | None, str | None]]:
    """Yield (row id, record, reason) of every row; a row that cannot be read is (row id, None, reason).

    By row id and not by key: a damaged key may be no text at all.
    """
    row_id = _row_id(database, table)
    with database.read() as connection:
        ids = list(connection.execute(select(row_id).select_from(table)).scalars())
    for start in range(0, len(ids), _CHUNK):
        chunk = ids[start : start + _CHUNK]
        try:
            yield from _read_rows(database, table, chunk)
        except StoreError:
            for one in chunk:
                try:
                    yield from _read_rows(database, table, [one])
                except StoreError as error:
                    yield one, None, str(error)


def _read_rows(database: Database, table: Table, ids: list[object]) -> list[tuple[object, Record, str | None]]:
    row_id = _row_id(database, table)
    with database.read() as connection:
        rows = connection.execute(select(row_id, *table.columns).where(row_id.in_(ids)).order_by(row_id)).all()
    records = [(row[0], _RECORDS[table](*row[1:-1], _as_bytes(row[-1]))) for row in rows]
    return [(one, record, record.deep_fault() if isinstance(record, CellRecord) else record.fault()) for one, record in records]


def _as_bytes(value: object) -> object:
    """Drivers return binary columns as bytes or views of them."""
    return bytes(value) if isinstance(value, memoryview | bytearray) else value


def _row_id(database: Database, table: Table) -> ColumnElement[Any]:
    return literal_column("rowid") if database.engine.dialect.name == "sqlite" else next(iter(table.primary_key.columns))


def _key_of(record: Record | None) -> str:
    return "" if record is None else str(record.key if isinstance(record, CellRecord) else record.id)


def _name(table: Table) -> str:
    return "cell" if table is CELLS else "analysis"
