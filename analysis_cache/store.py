"""The evidence store: cells by key, committed one by one, and the analyses that list them."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from sqlalchemy import delete, select

from analysis_cache.analysis import Analysis, AnalysisRecord, find_id
from analysis_cache.cell import Cell, CellHead, CellRecord
from analysis_cache.database import TIMEOUT_S, Database
from analysis_cache.errors import StoreError
from analysis_cache.key import CellIdentity
from analysis_cache.schema import ANALYSES, CELLS, HEAD_COLUMNS, insert_new, insert_or_replace
from analysis_cache.upkeep import Added, Problem, Verification, adopt, everything, problems_of, prune, remove_problems

_CHUNK = 500


class EvidenceStore:
    """Measured cells, content-addressed: a key is written once and never changes.

    Several processes and threads may read and write at once. After a fork, open a store of your own.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    @classmethod
    def open(
        cls, url: str | Path | None = None, *, create: bool = True, read_only: bool = False, timeout_s: float = TIMEOUT_S
    ) -> "EvidenceStore":
        """Open a store.

        Args:
            url: a path, or sqlite:///FILE, or postgresql+psycopg://USER@HOST/DATABASE; None: the user's own, see `default_store`.
            create: make a store that does not exist yet.
            read_only: write nothing, not even a migration.
            timeout_s: how long to wait for another process's lock.

        Raises:
            StoreError: no such store, not a store, damaged, from a newer program, locked, or its place cannot be written.
        """
        return cls(Database.open(url, create, read_only, timeout_s))

    @property
    def name(self) -> str:
        """Its path or URL, without a password."""
        return self.database.name

    def close(self) -> None:
        """Release the connections; what was put is stored already."""
        self.database.close()

    def __enter__(self) -> "EvidenceStore":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def put(self, identity: CellIdentity, summary: Mapping[str, object], arrays: Mapping[str, np.ndarray]) -> bool:
        """Store a finished cell, committed when this returns. Return whether it was new; an existing one stays as it is.

        Raises:
            StoreError: the values do not fit a cell, or the store cannot be written; nothing is stored then.
        """
        record = CellRecord.of(identity, summary, arrays)
        with self.database.write() as connection:
            return insert_new(connection, CELLS, dict(vars(record)))

    def get(self, key: str) -> Cell:
        """Return a cell with its arrays; `key` is 64 hex digits.

        Raises:
            StoreError: there is no such cell, or it is damaged.
        """
        with self.database.read() as connection:
            row = connection.execute(select(CELLS).where(CELLS.c.key == key)).mappings().first()
        if row is None:
            raise StoreError(f"there is no cell {key[:16]!r} in {self.name}; measure it, or toast cache ls lists what there is")
        return CellRecord(**row).cell()

    def records(self, keys: Iterable[str]) -> Iterator[CellRecord]:
        """Yield the kept form of these cells, in the order given; those missing are left out, a damaged one is an error."""
        wanted = list(keys)
        for start in range(0, len(wanted), _CHUNK):
            part = wanted[start : start + _CHUNK]
            found = {row[0]: CellRecord(*[*row[:-1], bytes(row[-1])]) for row in self._of_keys(tuple(CELLS.columns), part)}
            for key in part:
                if key in found:
                    found[key].cell()
                    yield found[key]

    def has_many(self, keys: Iterable[str]) -> set[str]:
        """Return which of these keys are stored, damaged ones included."""
        return {row[0] for row in self._of_keys((CELLS.c.key,), keys)}

    def heads(self, keys: Iterable[str]) -> list[CellHead]:
        """Return the cells of these keys without arrays, in the order given; those missing or damaged are left out."""
        wanted = list(keys)
        records = (CellRecord(**dict(zip(_HEAD_NAMES, row, strict=True))) for row in self._of_keys(HEAD_COLUMNS, wanted))
        found = {record.key: record.head() for record in records if record.fault() is None}
        return [found[key] for key in wanted if key in found]

    def put_analysis(self, analysis: Analysis) -> None:
        """Store an analysis, or replace the one of the same request. Put it before its cells: `prune` keeps what is listed."""
        values = dict(vars(AnalysisRecord.of(analysis)))
        with self.database.write() as connection:
            insert_or_replace(connection, ANALYSES, values)

    def get_analysis(self, prefix: str) -> Analysis:
        """Return the analysis whose id starts with `prefix`.

        Raises:
            StoreError: none does, several do, or it is damaged.
        """
        with self.database.read() as connection:
            ids = list(connection.execute(select(ANALYSES.c.id)).scalars())
            found = find_id(prefix, ids, self.name)
            row = connection.execute(select(ANALYSES).where(ANALYSES.c.id == found)).mappings().one()
        return AnalysisRecord(**row).analysis()

    def list_analyses(self) -> list[Analysis]:
        """Return the analyses, newest first; damaged ones are left out, `verify` names them."""
        with self.database.read() as connection:
            records = [AnalysisRecord(**row) for row in connection.execute(select(ANALYSES)).mappings()]
        sound = [record.analysis() for record in records if record.fault() is None]
        return sorted(sound, key=lambda analysis: (analysis.created_utc, analysis.id), reverse=True)

    def verify(self) -> Verification:
        """Read every row, recompute keys and checksums, and return what does not hold. Changes nothing."""
        return problems_of(self.database)

    def remove_corrupt(self) -> tuple[Problem, ...]:
        """Remove the rows that `verify` finds damaged and return them; whatever they held can be measured again."""
        return remove_problems(self.database, self.verify().problems)

    def prune(
        self, older_than_days: float | None = None, keep_listed: bool = True, forget: Iterable[str] = (), dry_run: bool = False
    ) -> list[str]:
        """Remove cells and return their keys.

        Args:
            older_than_days: only cells stored longer ago than this.
            keep_listed: only cells that no analysis lists; False needs `older_than_days`.
            forget: full ids of analyses to remove first, in the same transaction.
            dry_run: return the keys, remove nothing.

        Raises:
            StoreError: every cell would go, or a damaged analysis hides what it lists.
        """
        return prune(self.database, older_than_days, keep_listed, set(forget), dry_run)

    def remove(self, keys: Iterable[str]) -> None:
        """Remove these cells, in one transaction; those that are not stored are passed over."""
        wanted = list(keys)
        with self.database.write() as connection:
            for start in range(0, len(wanted), _CHUNK):
                connection.execute(delete(CELLS).where(CELLS.c.key.in_(wanted[start : start + _CHUNK])))

    def merge(self, other: "str | Path | EvidenceStore") -> Added:
        """Take over the cells and analyses of another store that this one lacks, all or none; the other is only read.

        A finished analysis replaces an unfinished one of the same request. Damaged rows are left behind and counted.
        """
        if isinstance(other, EvidenceStore):
            return adopt(self.database, everything(other.database))
        with EvidenceStore.open(other, create=False, read_only=True) as opened:
            return self.merge(opened)

    def _of_keys(self, columns: tuple[Any, ...], keys: Iterable[str]) -> Iterator[Any]:
        wanted = list(keys)
        for start in range(0, len(wanted), _CHUNK):
            with self.database.read() as connection:
                yield from connection.execute(select(*columns).where(CELLS.c.key.in_(wanted[start : start + _CHUNK]))).all()


_HEAD_NAMES = tuple(column.name for column in HEAD_COLUMNS)
