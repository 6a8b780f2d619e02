"""Images inside larger files, each read where it lies: nothing is unpacked, and nothing but bytes is read. Imports no torch."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True, eq=False)
class Packed:
    """Where each image begins in which file, and how many bytes it has.

    files    the larger files
    which    (n,) position of an image's file in `files`
    offsets  (n,) bytes before it
    sizes    (n,) bytes of it
    names    what it is called inside
    """

    files: tuple[Path, ...]
    which: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray
    names: tuple[str, ...]

    def name(self, index: int) -> str:
        """The file and the name inside, as messages have it."""
        return f"{self.files[self.which[index]]}:{self.names[index]}"

    def read(self, index: int) -> bytes:
        """The bytes of one image; fewer where the file has become shorter.

        Raises:
            OSError: the file cannot be read.
        """
        with self.files[self.which[index]].open("rb") as file:
            file.seek(int(self.offsets[index]))
            return file.read(int(self.sizes[index]))
