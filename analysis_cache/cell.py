"""A stored cell: as the texts and bytes that stores and bundles keep, and as the values that callers use."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis_cache.arrays import pack_arrays, unpack_arrays
from analysis_cache.canonical import canonical_json, read_json, sha256_hex, utc_now
from analysis_cache.errors import StoreError
from analysis_cache.key import CellIdentity, is_key, is_time
from toast_core.version import code_version

MAX_SUMMARY_BYTES = 4 << 20


@dataclass(frozen=True, eq=False)
class CellHead:
    """A cell without its arrays: what a chart needs.

    summary       the caller's JSON object
    created_utc   when it was measured
    code_version  of the code that measured it, in whatever form its release wrote; see `toast_core.version`
    """

    key: str
    identity: CellIdentity
    summary: dict[str, Any]
    created_utc: str
    code_version: str

    def row(self) -> dict[str, Any]:
        """One flat record: key, details and summary by name, and the whole identity under "identity"."""
        own = {"key": self.key, "identity": self.identity.to_dict()}
        return own | self.identity.detail | self.summary | own


@dataclass(frozen=True, eq=False)
class Cell(CellHead):
    """A cell with its per-image arrays by name."""

    arrays: dict[str, np.ndarray]


@dataclass(frozen=True)
class CellRecord:
    """The kept form. Nothing in it is trusted: `fault` says what is wrong with it, `head` and `cell` refuse a faulty one.

    The checksum covers every column; `arrays_digest` stands in for the arrays, so that a head can be checked without them.
    `arrays` is None where they were not read.
    """

    key: str
    identity: str
    summary: str
    created_utc: str
    code_version: str
    arrays_digest: str
    checksum: str
    arrays: bytes | None = None

    @classmethod
    def of(cls, identity: CellIdentity, summary: Mapping[str, object], arrays: Mapping[str, np.ndarray]) -> "CellRecord":
        """Make the kept form of a measurement finished now.

        Raises:
            StoreError: the summary is no JSON object or too large, or the arrays are outside their limits.
        """
        text = canonical_json(dict(summary), "summary")
        if len(text) > MAX_SUMMARY_BYTES:
            raise StoreError(f"the summary takes {len(text)} bytes, more than {MAX_SUMMARY_BYTES}; keep long lists as arrays")
        packed = pack_arrays(arrays)
        identity_text = identity.to_json()
        columns = (sha256_hex(identity_text), identity_text, text, utc_now(), code_version(), sha256_hex(packed))
        return cls(*columns, _checksum(columns), packed)

    def fault(self) -> str | None:
        """Say what is wrong with the record, in a few words; None for a sound one."""
        columns = (self.key, self.identity, self.summary, self.created_utc, self.code_version, self.arrays_digest)
        if not all(isinstance(column, str) for column in (*columns, self.checksum)) or not is_key(self.key):
            return "a column has another type than text"
        if _checksum(columns) != self.checksum:
            return "checksum mismatch"
        if sha256_hex(self.identity) != self.key:
            return "the key is not that of the identity"
        if self.arrays is not None and not (isinstance(self.arrays, bytes) and sha256_hex(self.arrays) == self.arrays_digest):
            return "checksum mismatch in the arrays"
        if not is_time(self.created_utc):
            return "the time has another form"
        return None

    def deep_fault(self) -> str | None:
        """As `fault`, and also that every part can be read: for rows that others wrote."""
        reason = self.fault()
        if reason is None:
            try:
                _ = self.cell() if self.arrays is not None else self.head()
            except StoreError as error:
                reason = str(error)
        return reason

    def head(self) -> CellHead:
        """The values without the arrays; StoreError for a faulty record."""
        return CellHead(*self._values())

    def cell(self) -> Cell:
        """The values with the arrays; StoreError for a faulty record."""
        return Cell(*self._values(), unpack_arrays(self.arrays or b""))

    def _values(self) -> tuple[str, CellIdentity, dict[str, Any], str, str]:
        reason = self.fault()
        if reason is not None:
            raise StoreError(f"cell {str(self.key)[:16]} is damaged ({reason}); run toast cache verify --remove, then measure it again")
        summary = read_json(self.summary, "summary")
        if not isinstance(summary, dict):
            raise StoreError(f"the summary of cell {self.key[:16]} is no JSON object; measure it again")
        return self.key, CellIdentity.from_json(self.identity), summary, self.created_utc, self.code_version


def _checksum(columns: tuple[str, ...]) -> str:
    return sha256_hex("\n".join(f"{len(column)} {column}" for column in columns))
