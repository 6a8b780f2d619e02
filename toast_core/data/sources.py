"""Where images come from: the embedded Fashion-MNIST sets, or a folder with one subfolder a class."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from toast_core.data.idx import read_idx
from toast_core.errors import DataError
from toast_core.setup import DEMO_CLASSES

EMBEDDED = {"fashion-mnist": "test", "fashion-mnist:calibration": "calibration"}
_ORIGINAL = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
ASSETS = Path(__file__).parents[1] / "assets" / "fashion_mnist"


@dataclass(frozen=True, eq=False)
class Source:
    """Labelled images: `arrays` (n, H, W) uint8 of an embedded set, or `files` of a folder. `labels` is (n,) int64.

    numbered        whether the set itself numbers its classes, so that no order of names does
    class_to_index  the set's classes by name with their labels, once they are those of a model; None before
    notes           what was left aside or guessed, a line each
    """

    name: str
    classes: tuple[str, ...]
    labels: np.ndarray
    digest: str
    arrays: np.ndarray | None = None
    files: tuple[Path, ...] = ()
    numbered: bool = False
    class_to_index: Mapping[str, int] | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def label_name(self, index: int) -> str:
        """What to call an image in a message."""
        return str(self.files[index]) if self.files else f"{self.name}[{index}]"

    def open(self, index: int) -> Image.Image:
        """Decode one image whole.

        Raises:
            OSError, ValueError, SyntaxError, PIL's DecompressionBombError: it cannot be read.
        """
        if self.arrays is not None:
            return Image.fromarray(self.arrays[index])
        with Image.open(self.files[index]) as image:
            image.load()
            return image


def open_source(data: str | Path) -> Source:
    """Return the embedded set of that name, or the image folder at that path; a folder of Fashion-MNIST's files is its training set.

    Raises:
        DataError: neither, or a folder without class folders or without images.
    """
    if str(data) in EMBEDDED:
        return _embedded(str(data))
    return _original(Path(data)) if (Path(data) / f"{_ORIGINAL[0]}.gz").is_file() else _folder(Path(data))


@cache
def _embedded(name: str) -> Source:
    stem = EMBEDDED[name]
    images, labels = read_idx(ASSETS / f"{stem}-images.idx.gz"), read_idx(ASSETS / f"{stem}-labels.idx.gz").astype(np.int64)
    digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    return Source(name, DEMO_CLASSES, labels, digest, arrays=images, numbered=True)


def _original(root: Path) -> Source:
    images, labels = (read_idx(root / f"{name}.gz") for name in _ORIGINAL)
    digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    return Source(str(root), DEMO_CLASSES, labels.astype(np.int64), digest, arrays=images, numbered=True)


def _folder(root: Path) -> Source:
    """Read a folder's listing; the digest covers relative paths and file sizes, not contents."""
    hint = f"give a folder with one subfolder of JPEG or PNG images a class, or one of {', '.join(EMBEDDED)}"
    if not root.is_dir():
        raise DataError(f"data {root} is {'a file' if root.exists() else 'not there'}; {hint}")
    try:
        class_folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
        found = [(path, label) for label, folder in enumerate(class_folders) for path in _images(folder)]
    except OSError as error:
        raise DataError(f"data folder {root} cannot be listed ({error}); {hint}") from error
    if not class_folders:
        what = (
            "holds images but no class folders" if any(_images(root)) else "is empty" if not any(root.iterdir()) else "has no class folders"
        )
        raise DataError(f"data folder {root} {what}; {hint}")
    if not found:
        raise DataError(f"data folder {root} has {len(class_folders)} class folders but no JPEG or PNG image; {hint}")
    manifest = hashlib.sha256()
    for path, _ in found:
        manifest.update(f"{path.relative_to(root).as_posix()}\0{path.stat().st_size}\n".encode())
    labels = np.array([label for _, label in found], np.int64)
    return Source(
        str(root), tuple(folder.name for folder in class_folders), labels, manifest.hexdigest(), files=tuple(path for path, _ in found)
    )


def _images(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() and not path.name.startswith(".")
    )
