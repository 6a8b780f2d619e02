"""One text for one value: canonical JSON, its strict reader, and sha256. Keys and checksums rest on these."""

import hashlib
import json
from datetime import UTC, datetime

from analysis_cache.errors import StoreError


def canonical_json(value: object, where: str) -> str:
    """Return ASCII JSON with sorted keys and no spaces: equal values give equal text on any machine.

    Raises:
        StoreError: a value JSON lacks (NaN, an array, a key that is no text); `where` names it.
    """
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise StoreError(f"{where} cannot be kept as JSON ({error}); use text, finite numbers, booleans, None, lists, dicts") from error


def read_json(text: str | bytes, where: str) -> object:
    """Parse strict JSON: no NaN, no name twice in an object.

    Raises:
        StoreError: not such a document; `where` names it.
    """

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON number")

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if len(values := dict(pairs)) != len(pairs):
            raise ValueError("a name is given twice in one object")
        return values

    try:
        return json.loads(text, parse_constant=refuse, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{where} is not a JSON document ({error}); fetch or export it again") from error


def sha256_hex(data: str | bytes) -> str:
    """The digest as 64 hex digits; text is taken as UTF-8."""
    # a damaged row may decode to lone surrogates: they too must have a digest, another one
    return hashlib.sha256(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data).hexdigest()


def utc_now() -> str:
    """The time as 2026-01-31T12:00:00Z: as text it sorts like the time."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
