"""An analysis: what was asked, and the cells that answer it. Also in the form that stores and bundles keep."""

from dataclasses import dataclass, replace
from typing import Any

from analysis_cache.canonical import canonical_json, read_json, sha256_hex
from analysis_cache.errors import StoreError
from analysis_cache.key import check_text, is_key, is_time

SHOWN_DIGITS = 16
MIN_PREFIX = 4


@dataclass(frozen=True)
class Analysis:
    """One request and the cells that answer it, in order. Cells may be missing while `finished_utc` is None.

    request      JSON object of what was asked; its digest is the id. With "weights_file" (a .safetensors path, or one inside
                 toast_core such as assets/fashion_mnist/demo_vit.safetensors) listings say when the weights have changed since.
    label        one line for people
    cell_keys    keys in the order of the rows, each once
    created_utc  2026-01-31T12:00:00Z
    finished_utc the same form, or None
    """

    request: dict[str, Any]
    label: str
    cell_keys: tuple[str, ...]
    created_utc: str
    finished_utc: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.request, dict):
            raise StoreError(f"request is {type(self.request).__name__}, not an object; write what was asked, by name")
        check_text(self.label, "label")
        object.__setattr__(self, "cell_keys", tuple(self.cell_keys))
        for key in self.cell_keys:
            if not is_key(key):
                raise StoreError(f"cell key {str(key)[:80]!r} is not 64 hex digits; take it from CellIdentity.key")
        if len(set(self.cell_keys)) != len(self.cell_keys):
            raise StoreError(f"the analysis lists a cell twice ({len(self.cell_keys)} keys); list each cell once")
        for time in (self.created_utc, self.created_utc if self.finished_utc is None else self.finished_utc):
            if not is_time(time):
                raise StoreError(f"time {time!r} has another form; write it as 2026-01-31T12:00:00Z")

    @property
    def id(self) -> str:
        """sha256 of the canonical request, 64 hex digits."""
        return sha256_hex(canonical_json(self.request, "request"))

    @property
    def short_id(self) -> str:
        """The part of the id that people see and type."""
        return self.id[:SHOWN_DIGITS]

    def finished(self, at_utc: str) -> "Analysis":
        """A copy that is complete."""
        return replace(self, finished_utc=at_utc)


@dataclass(frozen=True)
class AnalysisRecord:
    """The kept form. Nothing in it is trusted: `analysis` refuses a faulty one."""

    id: str
    request: str
    label: str
    cell_keys: str
    created_utc: str
    finished_utc: str | None
    checksum: str

    @classmethod
    def of(cls, analysis: Analysis) -> "AnalysisRecord":
        """Make the kept form; StoreError where the request is no JSON."""
        request, keys = canonical_json(analysis.request, "request"), canonical_json(analysis.cell_keys, "cell keys")
        columns = (analysis.id, request, analysis.label, keys, analysis.created_utc, analysis.finished_utc)
        return cls(*columns, _checksum(columns))

    def analysis(self) -> Analysis:
        """The value.

        Raises:
            StoreError: the record is damaged.
        """
        columns = (self.id, self.request, self.label, self.cell_keys, self.created_utc, self.finished_utc)
        texts = (*columns[:5], "" if self.finished_utc is None else self.finished_utc, self.checksum)
        if not all(isinstance(column, str) for column in texts) or _checksum(columns) != self.checksum:
            raise StoreError(f"analysis {str(self.id)[:SHOWN_DIGITS]} is damaged (checksum mismatch); run toast cache verify --remove")
        request: Any = read_json(self.request, "request")
        keys = read_json(self.cell_keys, "cell keys")
        if not isinstance(keys, list):
            raise StoreError(f"analysis {self.id[:SHOWN_DIGITS]} lists no cells; run toast cache verify --remove")
        analysis = Analysis(request, self.label, tuple(keys), self.created_utc, self.finished_utc)
        if AnalysisRecord.of(analysis) != self:
            raise StoreError(f"analysis {self.id[:SHOWN_DIGITS]} has an id that is not its request's; run toast cache verify --remove")
        return analysis

    def fault(self) -> str | None:
        """Say what is wrong with the record; None for a sound one."""
        try:
            self.analysis()
        except StoreError as error:
            return str(error)
        return None


def find_id(prefix: str, ids: list[str], where: str) -> str:
    """Return the one id that starts with `prefix`.

    Raises:
        StoreError: none does, several do, or the prefix is shorter than MIN_PREFIX digits.
    """
    found = [full for full in ids if full.startswith(prefix)] if len(prefix) >= MIN_PREFIX else []
    if len(prefix) < MIN_PREFIX:
        raise StoreError(f"{prefix!r} is too short for an id; give at least {MIN_PREFIX} digits, toast cache ls lists them")
    if not found:
        raise StoreError(f"there is no {prefix[:64]!r} in {where}; toast cache ls lists what there is")
    if len(found) > 1:
        shown = ", ".join(sorted(found)[i][:SHOWN_DIGITS] for i in range(min(3, len(found))))
        raise StoreError(f"{prefix!r} fits {len(found)} entries of {where} ({shown}); give more digits")
    return found[0]


def _checksum(columns: tuple[str | None, ...]) -> str:
    return sha256_hex("\n".join("none" if column is None else f"{len(column)} {column}" for column in columns))
