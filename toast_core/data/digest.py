"""A digest of the images themselves: a source's own covers a folder's names and sizes only, which is quick but can be forged."""

import hashlib

from toast_core.data.load import ImageData
from toast_core.errors import DataError
from toast_core.files import sha256_of


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
            digest.update(bytes.fromhex(sha256_of(source.files[position])))
        except OSError as error:
            raise DataError(f"image {source.files[position]} cannot be read ({error.strerror}); mend or remove it") from error
    return digest.hexdigest()
