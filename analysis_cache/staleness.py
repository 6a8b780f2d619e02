"""What this machine can say about a stored analysis without torch: whether its metric or its weights have changed since."""

import hashlib
from functools import cache
from pathlib import Path

import toast_core
from analysis_cache.analysis import Analysis
from analysis_cache.cell import CellHead
from analysis_cache.key import METRIC_VERSIONS, stale_reason


def analysis_stale_reason(analysis: Analysis, heads: list[CellHead]) -> str | None:
    """Say why the analysis' cells would be measured anew today; None where nothing that can be looked at has changed.

    Weights are looked at where the request names their file ("weights_file") and that file is here.
    """
    weights = weights_digest(analysis.request.get("weights_file"))
    known = {} if weights is None else {"weights_digest": weights}
    # the cells of an analysis differ in few of these, so that few comparisons are made
    versions = {(head.identity.kind, head.identity.metric_version, head.identity.weights_digest): head.identity for head in heads}
    reasons = (stale_reason(identity, {"metric_version": METRIC_VERSIONS[identity.kind], **known}) for identity in versions.values())
    return next((reason for reason in reasons if reason is not None), None)


def weights_digest(file: object) -> str | None:
    """sha256 of a weights file, given as a path or as one inside the installed toast_core; None where there is no such file."""
    if not isinstance(file, str) or not file:
        return None
    for path in (Path(file), Path(toast_core.__file__).parent / file):
        if path.is_file():
            return _digest(path, path.stat().st_mtime_ns, path.stat().st_size)
    return None


@cache
def _digest(path: Path, _changed_ns: int, _size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
