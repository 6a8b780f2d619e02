"""Analyses and their cells as one file, and back. The file is written whole or not at all; importing is all or nothing.

    manifest.json       format version, counts, size and sha256 of every member
    analyses.jsonl      one analysis a line
    cells/00000.jsonl   one cell a line, with the length of its arrays
    arrays/00000.bin    the packed arrays of those cells, one after the other
    extra/NAME          what the caller adds: a model card, thumbnails
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from analysis_cache.analysis import Analysis, AnalysisRecord, find_id
from analysis_cache.archive import ArchiveReader, ArchiveWriter
from analysis_cache.canonical import canonical_json, read_json
from analysis_cache.cell import Cell, CellHead, CellRecord
from analysis_cache.errors import StoreError

SUFFIX = ".toastbundle"
CELLS_PER_MEMBER = 256
BYTES_PER_MEMBER = 4 << 20
_CELL_FIELDS = tuple(field.name for field in fields(CellRecord) if field.name != "arrays")
_ANALYSIS_FIELDS = tuple(field.name for field in fields(AnalysisRecord))


@dataclass(frozen=True)
class Line:
    """One cell of a bundle: its record without arrays, and where those lie."""

    record: CellRecord
    member: str
    start: int
    length: int


def write_bundle(
    path: Path, analyses: list[AnalysisRecord], cells: Iterator[CellRecord], extras: Mapping[str, bytes] | None = None
) -> dict[str, int]:
    """Write a bundle and return its counts. `cells` come with arrays; `extras` are named without "extra/".

    Raises:
        StoreError: the file cannot be written, or holds more than the limits of `archive`.
    """
    counts = {"analyses": len(analyses), "cells": 0, "extras": len(extras or {})}
    with ArchiveWriter(path) as archive:
        archive.add("analyses.jsonl", _lines([dict(vars(record)) for record in analyses]), True)
        for number, part in enumerate(_parts(cells)):
            counts["cells"] += len(part)
            rows = [{name: getattr(record, name) for name in _CELL_FIELDS} | {"length": len(record.arrays or b"")} for record in part]
            archive.add(f"cells/{number:05}.jsonl", _lines(rows), True)
            archive.add(f"arrays/{number:05}.bin", b"".join(record.arrays or b"" for record in part), False)
        for name, data in sorted((extras or {}).items()):
            archive.add(f"extra/{name}", data, True)
        archive.finish(counts)
    return counts


def _parts(cells: Iterator[CellRecord]) -> Iterator[list[CellRecord]]:
    part: list[CellRecord] = []
    size = 0
    for record in cells:
        more = len(record.arrays or b"") + len(record.summary)
        if part and (len(part) == CELLS_PER_MEMBER or size + more > BYTES_PER_MEMBER):
            yield part
            part, size = [], 0
        part.append(record)
        size += more
    if part:
        yield part


def _lines(rows: list[dict[str, object]]) -> bytes:
    return "".join(f"{canonical_json(row, 'row')}\n" for row in rows).encode()


class Bundle:
    """A bundle opened for reading: analyses at once, cells and arrays when asked for, each checked as it is read.

    Raises:
        StoreError: from every method, for a file that is not sound.
    """

    def __init__(self, path: str | Path) -> None:
        self.archive = ArchiveReader(Path(path))
        self.name = str(path)
        try:
            self.analysis_records = tuple(AnalysisRecord(**row) for row in self._rows("analyses.jsonl", _ANALYSIS_FIELDS))
            self._check_shape()
        except BaseException:
            self.close()
            raise
        self._index: dict[str, Line] | None = None
        self._member: tuple[str, bytes] = ("", b"")

    def _check_shape(self) -> None:
        numbers = {kind: {name[-9:-4] if kind == "arrays" else name[-11:-6] for name in self.archive.names if name.startswith(f"{kind}/")}
                   for kind in ("cells", "arrays")}
        if numbers["cells"] != numbers["arrays"]:
            raise self.archive.error("has cells without arrays, or arrays without cells")
        if self.archive.counts.get("analyses") != len(self.analysis_records):
            raise self.archive.error("has another number of analyses than its manifest states")
        for record in self.analysis_records:
            record.analysis()

    def _rows(self, member: str, names: tuple[str, ...]) -> list[dict[str, Any]]:
        rows = []
        for line in self.archive.read(member).splitlines():
            row: Any = read_json(line, f"a line of {member} in bundle {self.name}")
            flat = isinstance(row, dict) and all(isinstance(value, str | int | None) for value in row.values())
            if not flat or set(row) != set(names):
                raise self.archive.error(f"has a row with other fields in {member}")
            rows.append(row)
        return rows

    def lines(self) -> Iterator[Line]:
        """Yield every cell without arrays, in the order of the file."""
        for member in sorted(name for name in self.archive.names if name.startswith("cells/")):
            arrays, start = f"arrays/{member[6:11]}.bin", 0
            for row in self._rows(member, (*_CELL_FIELDS, "length")):
                length = row.pop("length")
                if type(length) is not int or length < 0:
                    raise self.archive.error(f"has a length {ascii(length)[:20]} in {member}")
                yield Line(CellRecord(**row), arrays, start, length)
                start += length
            if start != self.archive.expected[arrays]["bytes"]:
                raise self.archive.error(f"has lengths in {member} that do not add up to {arrays}")

    @property
    def index(self) -> dict[str, Line]:
        """The cells by key, read on first use."""
        if self._index is None:
            lines = list(self.lines())
            self._index = {line.record.key: line for line in lines}
            if len(self._index) != len(lines) or len(lines) != self.archive.counts.get("cells"):
                raise self.archive.error("lists a cell twice, or another number of cells than its manifest states")
        return self._index

    def record(self, line: Line) -> CellRecord:
        """The whole record of a cell; neighbours are read together."""
        member = self._member
        if member[0] != line.member:
            self._member = member = (line.member, self.archive.read(line.member))
        return replace(line.record, arrays=member[1][line.start : line.start + line.length])

    def list_analyses(self) -> list[Analysis]:
        """Return the bundle's analyses, the newest first."""
        found = [record.analysis() for record in self.analysis_records]
        return sorted(found, key=lambda analysis: (analysis.created_utc, analysis.id), reverse=True)

    def get_analysis(self, prefix: str) -> Analysis:
        """The analysis whose id starts with `prefix`."""
        found = find_id(prefix, [record.id for record in self.analysis_records], self.name)
        return next(record.analysis() for record in self.analysis_records if record.id == found)

    def heads(self, keys: Iterable[str]) -> list[CellHead]:
        """The cells of these keys without arrays, in the order given; those that are not in the bundle are left out."""
        return [self.index[key].record.head() for key in keys if key in self.index]

    def get(self, key: str) -> Cell:
        """A cell with its arrays."""
        if key not in self.index:
            raise StoreError(f"there is no cell {key[:16]!r} in {self.name}; toast cache show lists what there is")
        return self.record(self.index[key]).cell()

    def extras(self) -> dict[str, bytes]:
        """The members that the exporter added, by name."""
        return {name[6:]: self.archive.read(name) for name in self.archive.names if name.startswith("extra/")}

    def checked_rows(self) -> Iterator[tuple[CellRecord | AnalysisRecord, None]]:
        """Yield every cell and analysis for `upkeep.adopt`; the first that is not sound is an error, so that nothing is adopted."""
        for line in self.index.values():
            record = self.record(line)
            reason = record.deep_fault()
            if reason is not None:
                raise self.archive.error(f"has a cell {ascii(record.key)[1:17]} that is not sound ({reason})")
            yield record, None
        for analysis in self.analysis_records:
            yield analysis, None

    def close(self) -> None:
        """Release the bundle's file; nothing can be read from it afterwards."""
        self.archive.close()
