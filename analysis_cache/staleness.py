"""What this machine can say about a stored analysis without torch: whether its metric or its weights have changed since."""

import hashlib
import json
import struct
from functools import cache
from importlib.resources import files
from pathlib import Path

from analysis_cache.analysis import Analysis
from analysis_cache.cell import CellHead
from analysis_cache.key import METRIC_VERSIONS, CellIdentity, stale_reason

_TORCH_NAMES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
    "U8": "uint8", "BOOL": "bool",
}
_MAX_HEADER_BYTES = 16 << 20
_OWN_NAME = "patch_embed.proj.weight"  # every model of the supported families has it


def analysis_stale_reason(analysis: Analysis, heads: list[CellHead]) -> str | None:
    """Say why the analysis' cells would be measured anew today; None where nothing that can be looked at has changed.

    Weights are looked at where the request names their file ("weights_file"), that file is here, and it keeps them in the dtype
    that they were measured in: otherwise its digest says nothing.
    """
    # the cells of an analysis differ in few of these, so that few comparisons are made
    kinds = {(one.kind, one.metric_version, one.weights_digest, one.dtype): one for one in (head.identity for head in heads)}
    reasons = (stale_reason(identity, _now(identity, analysis.request.get("weights_file"))) for identity in kinds.values())
    return next((reason for reason in reasons if reason is not None), None)


def _now(identity: CellIdentity, weights_file: object) -> dict[str, object]:
    now: dict[str, object] = {"metric_version": METRIC_VERSIONS[identity.kind]}
    path = _find_file(weights_file)
    digest, dtype = digest_of_weights(path, path.stat().st_mtime_ns) if path is not None else (None, None)
    return now | {"weights_digest": digest} if dtype == identity.dtype else now


def _find_file(given: object) -> Path | None:
    """The file of this path, or of this path inside the installed toast_core."""
    if not isinstance(given, str) or not given:
        return None
    return next((path for path in (Path(given), Path(str(files("toast_core"))) / given) if path.is_file()), None)


@cache
def digest_of_weights(path: Path, changed_ns: int) -> tuple[str | None, str | None]:
    """Return what `toast_core.models.weights.weights_digest` gives for the tensors of a .safetensors file, and their one dtype.

    (None, None) where the file is of another kind, its tensors have several dtypes, or their names are not those of the model itself, so
    that loading renames them. `changed_ns` is part of the cache's key.
    """
    try:
        data = path.read_bytes()
        start = 8 + struct.unpack("<Q", data[:8])[0]
        header = json.loads(data[8:start]) if start <= _MAX_HEADER_BYTES else {}
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        dtypes = {_TORCH_NAMES[entry["dtype"]] for entry in tensors.values()}
        if _OWN_NAME not in tensors:
            return None, None
        digest = hashlib.sha256()
        for name, entry in sorted(tensors.items()):
            first, last = entry["data_offsets"]
            digest.update(f"{name} {tuple(entry['shape'])} torch.{_TORCH_NAMES[entry['dtype']]}\n".encode())
            digest.update(data[start + first : start + last])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
        return None, None
    return (digest.hexdigest(), dtypes.pop()) if len(dtypes) == 1 else (None, None)
