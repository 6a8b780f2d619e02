"""The idx file format of MNIST-like data sets: a big-endian header, then unsigned bytes. Imports numpy only."""

import gzip
from pathlib import Path

import numpy as np

from toast_core.errors import DataError
from toast_core.files import write_bytes

_UNSIGNED_BYTE = 0x08


def read_idx(path: Path) -> np.ndarray:
    """Return the array of a gzipped idx file, dtype uint8, in the shape its header states.

    Raises:
        DataError: the file is missing, not gzip, not idx of unsigned bytes, or shorter than its header says.
    """
    try:
        with gzip.open(path, "rb") as file:
            raw = file.read()
    except (OSError, EOFError) as error:
        raise DataError(f"cannot read {path} as a gzipped idx file ({error}); restore it from the repository") from error
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] != _UNSIGNED_BYTE:
        raise DataError(f"{path} does not begin with the idx header of unsigned bytes; restore it from the repository")
    dims = raw[3]
    if len(raw) < 4 + 4 * dims:
        raise DataError(f"{path} ends within its header; restore it from the repository")
    shape = tuple(int(size) for size in np.frombuffer(raw, ">u4", dims, offset=4))
    body = np.frombuffer(raw, np.uint8, offset=4 + 4 * dims)
    if body.size != np.prod(shape):
        raise DataError(f"{path} holds {body.size} bytes where its header {shape} asks for {np.prod(shape)}; restore it")
    return body.reshape(shape)


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write a uint8 array as gzipped idx, byte for byte the same each time (no timestamp), whole or not at all."""
    header = bytes([0, 0, _UNSIGNED_BYTE, array.ndim]) + np.asarray(array.shape, ">u4").tobytes()
    write_bytes(path, gzip.compress(header + np.ascontiguousarray(array, np.uint8).tobytes(), 9, mtime=0))
