"""A set of images: what it is called, its classes, and how one of its images is opened. Imports no torch."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from toast_core.data.packed import Packed
from toast_core.files import printable

# Formats without pixels that Pillow itself could read, and PostScript, for which it would run a program on the file
_WITHOUT_PIXELS = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
_MORE_ENDINGS = {".mpo"}  # Pillow knows it as an ending to write, and reads it as JPEG


@cache
def formats() -> tuple[str, ...]:
    """Pillow's names of the formats that images are read in, in the order in which they are tried."""
    Image.preinit()
    Image.init()
    return tuple(name for name in Image.ID if name in Image.OPEN and name not in _WITHOUT_PIXELS)


@cache
def image_endings() -> frozenset[str]:
    """Endings of file names, such as `.png`, that Pillow reads, in lower case."""
    known = set(formats())
    return frozenset({ending.lower() for ending, name in Image.EXTENSION.items() if name in known} | _MORE_ENDINGS)


@dataclass(frozen=True, eq=False)
class Source:
    """Labelled images: `arrays` (n, H, W) uint8 of an embedded set, `files` of a folder, or `packed` in an archive. `labels` is (n,) int64.

    numbered        whether the set itself numbers its classes, so that no order of names does
    class_to_index  the set's classes by name with their labels, once they are those of a model; None before
    guessed         whether those follow an order that nobody chose and timm's training would not, so that no file may state them
    notes           what was left aside or guessed, a line each
    has_classes     whether `classes` are more than groups to draw evenly from
    """

    name: str
    classes: tuple[str, ...]
    labels: np.ndarray
    digest: str
    arrays: np.ndarray | None = None
    files: tuple[Path, ...] = ()
    numbered: bool = False
    class_to_index: Mapping[str, int] | None = None
    guessed: bool = False
    notes: tuple[str, ...] = ()
    packed: Packed | None = None
    has_classes: bool = True

    def __len__(self) -> int:
        return len(self.labels)

    def label_name(self, index: int) -> str:
        """What to call an image in a message."""
        if self.packed is not None:
            return printable(self.packed.name(index))
        return printable(self.files[index]) if self.files else f"{self.name}[{index}]"

    def raw(self, index: int) -> IO[bytes]:
        """The bytes of one image's file, open to read; an embedded set has none.

        Raises:
            OSError: they cannot be read.
        """
        return io.BytesIO(self.packed.read(index)) if self.packed is not None else self.files[index].open("rb")

    def open_lazily(self, index: int) -> Image.Image:
        """One image with its header read and its pixels not yet; its file stays open until it is closed.

        Raises:
            Exception: of any kind, from Pillow, where it cannot be read.
        """
        if self.arrays is not None:
            return Image.fromarray(self.arrays[index])
        return Image.open(self.raw(index) if self.packed is not None else self.files[index], formats=formats())

    def open(self, index: int) -> Image.Image:
        """Decode one image whole, the first frame where there are several.

        Raises:
            Exception: of any kind, from Pillow, where it cannot be read; `toast_core.data.decode.see` says why.
        """
        with self.open_lazily(index) as image:
            image.load()
            return image
