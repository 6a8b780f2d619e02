"""What makes two measurements the same one: a cell's identity and its key, and why a cell is stale."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from analysis_cache.canonical import canonical_json, read_json, sha256_hex
from analysis_cache.errors import StoreError

IDENTITY_VERSION = 1
# raise a number when the definition of that measurement changes: stored cells then say that they are stale
METRIC_VERSIONS = {
    "sensitivity": 2, "redundancy": 1, "evaluation": 1, "composition": 1, "agreement": 1, "latency": 1,
    "tuning_curves": 1, "tuning": 1, "recovery": 1, "sketch": 2, "export": 1, "certificate": 1,
}
KINDS = tuple(METRIC_VERSIONS)
MAX_TEXT = 4096
_DETAIL_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")

Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class CellIdentity:
    """Everything a measured cell depends on. Equal fields are the same cell, on any machine.

    kind            one of KINDS
    metric_version  of the measurement's definition, see METRIC_VERSIONS
    model           name
    weights_digest  sha256 of the weights
    data_digest     sha256 of the image set's manifest
    images          how many images were asked for
    subset_digest   which images, in order, see `digest_of_subset`
    transform       from image to input, as text
    schedule_digest `Schedule.digest()`; None where no schedule is involved
    selection       the schedule's selection mode; None where nothing is selected
    order           of the images: shuffled or sorted
    batch_size      images
    seed            of subset, order and token samples
    dtype           float32, bfloat16, ...
    device_kind     cpu, cuda or mps
    details         what is particular to the kind, such as block, site, ratio, execution: a mapping when given, sorted pairs when kept
    """

    kind: str
    metric_version: int
    model: str
    weights_digest: str
    data_digest: str
    images: int
    subset_digest: str
    transform: str
    schedule_digest: str | None
    selection: str | None
    order: str
    batch_size: int
    seed: int
    dtype: str
    device_kind: str
    details: Mapping[str, Scalar] | tuple[tuple[str, Scalar], ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise StoreError(f"unknown kind of cell {self.kind!r}; choose from {', '.join(KINDS)}")
        for name in ("model", "weights_digest", "data_digest", "subset_digest", "transform", "order", "dtype", "device_kind"):
            check_text(getattr(self, name), name)
        for name in ("schedule_digest", "selection"):
            if getattr(self, name) is not None:
                check_text(getattr(self, name), name)
        for name, minimum in (("metric_version", 1), ("images", 1), ("batch_size", 1), ("seed", 0)):
            value = getattr(self, name)
            if type(value) is not int or value < minimum:
                raise StoreError(f"{name} is {value!r}; write a whole number of at least {minimum}")
        object.__setattr__(self, "details", _details(self.details))

    @property
    def detail(self) -> dict[str, Scalar]:
        """The details as a dictionary."""
        return dict(self.details)

    def to_dict(self) -> dict[str, object]:
        """Plain JSON values, with the version."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {"identity": IDENTITY_VERSION, **values, "details": self.detail}

    def to_json(self) -> str:
        """The canonical text that the key is taken from."""
        return canonical_json(self.to_dict(), "identity")

    @property
    def key(self) -> str:
        """sha256 of the canonical JSON, 64 hex digits."""
        return sha256_hex(self.to_json())

    @classmethod
    def from_json(cls, text: str) -> "CellIdentity":
        """Read `to_json`'s text.

        Raises:
            StoreError: not that text, character for character: then its key would not be its own.
        """
        values = read_json(text, "identity")
        names = {"identity", *(field.name for field in fields(cls))}
        if not isinstance(values, dict) or set(values) != names or values.pop("identity") != IDENTITY_VERSION:
            raise StoreError(f"identity has other fields than version {IDENTITY_VERSION} of a cell; update the program")
        if not isinstance(values["details"], dict):
            raise StoreError(f"details is {type(values['details']).__name__}, not an object; export the cell again")
        identity = cls(**values)
        if identity.to_json() != text:
            raise StoreError("identity is not canonical JSON; export the cell again")
        return identity


def digest_of_subset(index: Iterable[int] | np.ndarray) -> str:
    """sha256 of image positions in evaluation order, as 64-bit little-endian integers."""
    positions = index if isinstance(index, np.ndarray) else np.array(list(index), np.int64)
    return sha256_hex(np.ascontiguousarray(positions, "<i8").tobytes())


def stale_reason(identity: CellIdentity, current: CellIdentity | Mapping[str, object]) -> str | None:
    """Say in which fields a stored cell differs from what would be measured now; None where it does not.

    `current` is a whole identity or only the fields that are known, such as {"weights_digest": "..."}.
    """
    stored, now = identity.to_dict(), current.to_dict() if isinstance(current, CellIdentity) else dict(current)
    unknown = sorted(set(now) - set(stored))
    if unknown:
        raise StoreError(f"unknown identity field {unknown[0]!r}; choose from {', '.join(stored)}")
    return "; ".join(_change(name, stored[name], now[name]) for name in stored if name in now and stored[name] != now[name]) or None


def _change(name: str, old: Any, new: Any) -> str:
    if name.endswith("_digest"):
        return f"{name.removesuffix('_digest')} changed: sha256 {_short(old)} -> {_short(new)}"
    if name == "details":
        names = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
        return ", ".join(f"{key} {old.get(key)} -> {new.get(key)}" for key in names)
    return f"{name.replace('_', ' ')} {old} -> {new}"


def _short(digest: object) -> str:
    return f"{digest[:8]}…" if isinstance(digest, str) else "none"


def is_key(text: object) -> bool:
    """Whether this is 64 lower-case hex digits."""
    return isinstance(text, str) and re.fullmatch(r"[0-9a-f]{64}", text) is not None


def is_time(text: object) -> bool:
    """Whether this has the form 2026-01-31T12:00:00Z."""
    return isinstance(text, str) and _TIME.fullmatch(text) is not None


def check_text(value: object, name: str) -> None:
    """Raise a StoreError unless the value is one line of printable text."""
    if not isinstance(value, str) or not value or len(value) > MAX_TEXT or not value.isprintable():
        raise StoreError(f"{name} is {str(value)[:80]!r}; write one line of 1 to {MAX_TEXT} printable characters")


def _details(given: Any) -> tuple[tuple[str, Scalar], ...]:
    pairs = sorted(given.items() if isinstance(given, Mapping) else given, key=lambda pair: str(pair[0]))
    for name, value in pairs:
        if not (isinstance(name, str) and _DETAIL_NAME.fullmatch(name)):
            raise StoreError(f"detail name {name!r} is not allowed; write up to 40 lower-case letters, digits and underscores")
        if not (value is None or type(value) in (str, int, bool) or (type(value) is float and math.isfinite(value))):
            raise StoreError(f"detail {name} is {value!r}; write text, a finite Python number, true, false or null")
    if len(dict(pairs)) != len(pairs):
        raise StoreError("a detail is given twice; keep one of them")
    return tuple(pairs)
