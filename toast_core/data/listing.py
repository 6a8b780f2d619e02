"""Images by name and size, before anyone says what class they are: what folders, lists and archives have in common. Imports no torch."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from toast_core.data.aside import NO_IMAGE, OTHER_KIND, Aside
from toast_core.data.image_set import Source, image_endings
from toast_core.data.packed import Packed
from toast_core.errors import DataError
from toast_core.files import printable

UNLABELLED = "(no class)"
MOST_CLASSES = 100_000  # that a label may number: a larger number is none of a class
# Endings of images that Pillow cannot read, or would have to run a program for
_OTHER_KINDS = {
    ".heic", ".heif", ".hif", ".jxl", ".svg", ".eps", ".ps", ".wmf", ".emf", ".exr", ".hdr", ".dcm", ".dng", ".cr2", ".cr3", ".nef",
    ".arw", ".orf", ".rw2", ".raf",
}


@dataclass(frozen=True, eq=False)
class Listing:
    """Images in the order of their names.

    root    what the whole is called in messages
    names   relative and with slashes, as the file system has them: bytes that are no UTF-8 stay in them as surrogates
    sizes   of their files, in bytes
    files   where they lie, or
    packed  where in which archive
    folders what lies directly below a root folder, images in it or not
    aside   what was left aside
    """

    root: str
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    files: tuple[Path, ...] = ()
    packed: Packed | None = None
    folders: tuple[str, ...] = ()
    aside: Aside = field(default_factory=Aside)

    def __len__(self) -> int:
        return len(self.names)

    def tops(self) -> list[str]:
        """Of each image, the first folder of its name; empty where it lies in none."""
        return [name.partition("/")[0] if "/" in name else "" for name in self.names]

    def source(
        self, positions: Sequence[int], of_class: Sequence[str], classes: Sequence[str], digest: str, notes: Iterable[str] = (),
        numbered: bool = False, has_classes: bool = True,
    ) -> Source:
        """The set of the images at these positions, with the class of each, in the order of `classes`; see `Source`."""
        alike = Counter(map(printable, classes))
        if len(alike) < len(classes):
            what = f"{printable(self.root)} has two classes that are both shown as {alike.most_common(1)[0][0]}"
            raise DataError(f"{what}, as their bytes differ; rename one of them")
        number = {name: label for label, name in enumerate(classes)}
        labels = np.array([number[name] for name in of_class], np.int64)
        packed = None
        if self.packed is not None:
            chosen = np.asarray(positions, np.int64)
            inside = tuple(self.packed.names[position] for position in positions)
            packed = Packed(self.packed.files, self.packed.which[chosen], self.packed.offsets[chosen], self.packed.sizes[chosen], inside)
        files = tuple(self.files[position] for position in positions) if self.files else ()
        return Source(
            printable(self.root), tuple(map(printable, classes)), labels, digest, files=files, numbered=numbered,
            notes=(*self.aside.notes(), *notes), packed=packed, has_classes=has_classes,
        )

    def digest(self, positions: Sequence[int], of_class: Sequence[str] | None = None, kind: str = "") -> str:
        """sha256 of names and sizes, and of the classes where names do not tell them; contents are not read, which is quick."""
        manifest = hashlib.sha256(kind.encode())
        for number, position in enumerate(positions):
            manifest.update(os.fsencode(self.names[position]) + f"\0{self.sizes[position]}\n".encode())
            if of_class is not None:
                manifest.update(os.fsencode(of_class[number]) + b"\n")
        return manifest.hexdigest()

    def unlabelled(self, notes: Iterable[str] = (), kind: str = "unlabelled\n") -> Source:
        """All images as one group, for uses without labels."""
        everything = range(len(self))
        return self.source(everything, [UNLABELLED] * len(self), [UNLABELLED], self.digest(everything, kind=kind), notes, has_classes=False)


def why_no_image(name: str) -> tuple[str, str] | None:
    """The reason to leave a file aside by the ending of its name; None for an image."""
    ending = PurePosixPath(name).suffix.lower()
    if ending in image_endings():
        return None
    return OTHER_KIND if ending in _OTHER_KINDS else NO_IMAGE
