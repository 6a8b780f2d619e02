"""A digest of the images themselves: a source's own covers a folder's names and sizes only, which is quick but can be forged."""

import hashlib
from typing import IO

from toast_core.data.load import ImageData
from toast_core.errors import DataError

_PART_BYTES = 1 << 20


def _sha256(file: IO[bytes]) -> bytes:
    whole = hashlib.sha256()
    while part := file.read(_PART_BYTES):
        whole.update(part)
    return whole.digest()


def images_digest(data: ImageData) -> str:
    """Return the sha256 of the bytes and the class of every image of `data`, in its order: pixels of an embedded set, else whole files.

    Raises:
        DataError: a file cannot be read.
    """
    source, digest = data.source, hashlib.sha256()
    for position in map(int, data.index):
        digest.update(f"{source.classes[source.labels[position]]}\n".encode())
        if source.arrays is not None:
            digest.update(hashlib.sha256(source.arrays[position].tobytes()).digest())
            continue
        try:
            with source.raw(position) as file:
                digest.update(_sha256(file))
        except OSError as error:
            raise DataError(f"image {source.label_name(position)} cannot be read ({error.strerror}); mend or remove it") from error
    return digest.hexdigest()
