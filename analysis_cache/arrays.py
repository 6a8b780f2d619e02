"""Per-image outcomes as bytes and back, without pickle: a JSON header, then the zlib-compressed raw arrays.

    magic "TSA1" | header length, 4 bytes little-endian | header [[name, dtype, shape], ...] | zlib(raw bytes of each, in order)

Booleans take one bit each; the rest is little-endian as given.
"""

import math
import re
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from analysis_cache.canonical import canonical_json, read_json
from analysis_cache.errors import StoreError

MAGIC = b"TSA1"
MAX_ARRAYS = 64
MAX_DIMENSIONS = 4
MAX_RAW_BYTES = 16 << 20
MAX_HEADER_BYTES = 16 << 10
DTYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64")
# float16 noise hardly compresses: higher levels cost time and gain less than 1 %
_ZLIB_LEVEL = 3
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


def pack_arrays(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return the arrays as one compact text of bytes, the same for equal arrays.

    Raises:
        StoreError: a name, dtype or number of dimensions outside the limits, or more than MAX_RAW_BYTES.
    """
    header, raw = [], []
    for name, array in sorted(arrays.items()):
        array = np.asarray(array)
        header.append([name, array.dtype.name, list(array.shape)])
        _raw_bytes(header)
        flat = np.ascontiguousarray(array).reshape(-1)
        raw.append((np.packbits(flat) if flat.dtype == bool else flat.astype(flat.dtype.newbyteorder("<"), copy=False)).tobytes())
    text = canonical_json(header, "array header").encode()
    return MAGIC + struct.pack("<I", len(text)) + text + zlib.compress(b"".join(raw), _ZLIB_LEVEL)


def unpack_arrays(data: bytes) -> dict[str, np.ndarray]:
    """Return what `pack_arrays` was given, in native byte order. No size is trusted: each is checked before it is allocated.

    Raises:
        StoreError: not such bytes, or beyond the limits.
    """
    start = len(MAGIC) + 4
    if data[: len(MAGIC)] != MAGIC or len(data) < start:
        raise StoreError(f"the arrays of a cell do not start with {MAGIC.decode()}; run toast cache verify")
    length = struct.unpack("<I", data[len(MAGIC) : start])[0]
    if length > min(MAX_HEADER_BYTES, len(data) - start):
        raise StoreError(f"the array header claims {length} bytes, more than there are or than {MAX_HEADER_BYTES}; run toast cache verify")
    header: Any = read_json(data[start : start + length], "array header")
    expected = _raw_bytes(header)
    inflate = zlib.decompressobj()
    try:
        raw = inflate.decompress(data[start + length :], expected + 1)
    except zlib.error as error:
        raise StoreError(f"the arrays of a cell cannot be inflated ({error}); run toast cache verify") from error
    if len(raw) != expected or not inflate.eof or inflate.unused_data:
        raise StoreError(f"the arrays of a cell do not have the {expected} bytes that their header states; run toast cache verify")
    arrays, offset = {}, 0
    for name, dtype, shape in header:
        size, count = _size(dtype, shape), math.prod(shape)
        piece = np.frombuffer(raw, np.uint8, size, offset)
        flat = np.unpackbits(piece, count=count).astype(bool) if dtype == "bool" else piece.view(np.dtype(dtype).newbyteorder("<"))
        arrays[name] = flat.astype(dtype).reshape(shape)
        offset += size
    return arrays


def _size(dtype: str, shape: list[int]) -> int:
    count = math.prod(shape)
    return (count + 7) // 8 if dtype == "bool" else count * np.dtype(dtype).itemsize


def _raw_bytes(header: object) -> int:
    """Return how many bytes a header describes, once every entry is within the limits."""
    if not isinstance(header, list) or len(header) > MAX_ARRAYS:
        raise StoreError(f"a cell keeps at most {MAX_ARRAYS} arrays; keep fewer")
    total, names = 0, set()
    for entry in header:
        name, dtype, shape = entry if isinstance(entry, list) and len(entry) == 3 else (None, None, None)
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name in names:
            raise StoreError(f"array name {str(name)[:80]!r} is not allowed; write lower-case letters, digits and _, each name once")
        if dtype not in DTYPES:
            raise StoreError(f"array {name} has dtype {str(dtype)[:80]}; choose from {', '.join(DTYPES)}")
        if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS or any(type(side) is not int or side < 0 for side in shape):
            raise StoreError(f"array {name} has shape {str(shape)[:80]}; keep at most {MAX_DIMENSIONS} dimensions")
        names.add(name)
        total += _size(dtype, shape)
        if total > MAX_RAW_BYTES:
            raise StoreError(f"the arrays of one cell take more than {MAX_RAW_BYTES} bytes; keep per-image outcomes only, in float16")
    return total
