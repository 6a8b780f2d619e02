"""Where images come from: the embedded Fashion-MNIST sets, folders, lists, tables of labels, tar files and saved data sets."""

import hashlib
from functools import cache
from pathlib import Path

import numpy as np

from toast_core.data.arrow import is_saved, read_saved
from toast_core.data.folders import any_tree, class_folders
from toast_core.data.idx import read_idx
from toast_core.data.image_set import Source, image_endings
from toast_core.data.labels import with_labels
from toast_core.data.listing import Listing
from toast_core.data.lists import read_list
from toast_core.data.tars import read_tars
from toast_core.data.tree import walk
from toast_core.errors import DataError
from toast_core.files import printable
from toast_core.setup import DEMO_CLASSES, SAVED_DATA

EMBEDDED = {"fashion-mnist": "test", "fashion-mnist:calibration": "calibration"}
_ORIGINAL = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
ASSETS = Path(__file__).parents[1] / "assets" / "fashion_mnist"
_UNPACK = "unpack it and give the folder"
_WRITE = "write its images as files, a folder a class"
# What people also keep images in, by the ending of its name, and what to do with it
_OTHER_FILES = {
    **dict.fromkeys((".zip", ".rar", ".7z"), f"an archive; {_UNPACK}"),
    **dict.fromkeys((".tgz", ".gz", ".bz2", ".xz", ".zst", ".tbz2", ".txz"), f"compressed, to be read from its start only; {_UNPACK}"),
    **dict.fromkeys((".parquet", ".arrow", ".feather"), "a table of a data set; write a folder with Dataset.save_to_disk and give that"),
    **dict.fromkeys((".npz", ".npy", ".mat", ".h5", ".hdf5", ".lmdb", ".mdb"), f"an array file; {_WRITE}"),
    **dict.fromkeys((".pkl", ".pickle", ".pt", ".pth", ".bin"), f"a pickle, which could run anything and is not opened; {_WRITE}"),
    **dict.fromkeys((".tfrecord", ".tfrecords", ".rec", ".beton"), f"a stream of records, to be read from its start only; {_WRITE}"),
    **dict.fromkeys((".csv", ".tsv"), "a table; give the folder of the images and the table as --labels FILE.csv"),
}


def open_source(data: str | Path, labelled: bool = True, labels: str | Path | None = None) -> Source:
    """Return the images that `data` names; a folder of Fashion-MNIST's files is its training set.

    Args:
        data: a name of an embedded set, a folder with one subfolder of images a class, a tar file or a folder of such, a folder that
            Dataset.save_to_disk wrote (also as hfds-disk:FOLDER), or, without labels, any folder or a text file that lists images.
        labelled: False where labels are not used; the classes are then no more than groups to draw from evenly.
        labels: a CSV file with the class of every image, for a folder or list without class folders.

    Raises:
        DataError: none of these, no images, or classes that are none.
    """
    name, path = str(data), Path(data)
    if labels is not None:
        return with_labels(_listing(name, path), Path(labels))
    if name in EMBEDDED:
        return _embedded(name)
    if (path / f"{_ORIGINAL[0]}.gz").is_file():
        return _original(path)
    if name.startswith(SAVED_DATA) or (path.is_dir() and is_saved(path)):
        return read_saved(Path(name.removeprefix(SAVED_DATA)), labelled)
    if path.is_dir():
        tars = _tars_alone(path)
        if tars:
            return read_tars(tars, path, labelled)
        listing = walk(path)
        if not len(listing) and not listing.folders:
            _refuse_others(path)
        return (class_folders if labelled else any_tree)(listing, _hint())
    if path.suffix.lower() == ".tar" and path.is_file():
        return read_tars([path], path, labelled)
    return _file(path, labelled)


def _hint() -> str:
    return f"give a folder with one subfolder of images a class, or one of {', '.join(EMBEDDED)}"


def _listing(name: str, path: Path) -> Listing:
    """The images that a table of labels is about."""
    if name in EMBEDDED or name.startswith(SAVED_DATA) or (path.is_dir() and is_saved(path)) or path.suffix.lower() == ".tar":
        raise DataError(f"{name} has its own labels; leave out --labels, or give the folder of the images that the table is about")
    if path.is_dir():
        return walk(path)
    if not path.is_file():
        raise DataError(f"data {printable(path)} is not there; give the folder of the images that the table of labels is about")
    return read_list(path)


def _file(path: Path, labelled: bool) -> Source:
    """A list of images; else the refusal that says what the file is.

    Raises:
        DataError: it is no list, or labels are asked for.
    """
    ending = path.suffix.lower()
    if not path.is_file():
        raise DataError(f"data {path} is {'no file or folder' if path.exists() else 'not there'}; {_hint()}")
    if ending in _OTHER_FILES and not (ending in (".csv", ".tsv") and not labelled):
        raise DataError(f"data {path} is {_OTHER_FILES[ending]}")
    if ending in image_endings():
        raise DataError(f"data {path} is a file, one image; {_hint()}")
    if labelled:
        raise DataError(f"data {path} is a file, and a list of images has no classes; pass --labels FILE.csv with it, or {_hint()}")
    return read_list(path).unlabelled(kind="list\n")


def _refuse_others(folder: Path) -> None:
    """Raise a DataError where a folder without images holds what people also keep images in; it says which, and what to do with it."""
    found = next((path for path in sorted(folder.iterdir()) if path.suffix.lower() in _OTHER_FILES and path.is_file()), None)
    if found is not None:
        raise DataError(f"data folder {folder} holds no image but {printable(found.name)}, {_OTHER_FILES[found.suffix.lower()]}")


def _tars_alone(folder: Path) -> list[Path]:
    """The tar files of a folder that holds nothing else to read."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return []
    shown = [path for path in entries if not path.name.startswith(".")]
    tars = [path for path in shown if path.suffix.lower() == ".tar" and path.is_file()]
    return tars if tars and not any(path.is_dir() or path.suffix.lower() in image_endings() for path in shown) else []


@cache
def _embedded(name: str) -> Source:
    stem = EMBEDDED[name]
    images, labels = read_idx(ASSETS / f"{stem}-images.idx.gz"), read_idx(ASSETS / f"{stem}-labels.idx.gz").astype(np.int64)
    digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    return Source(name, DEMO_CLASSES, labels, digest, arrays=images, numbered=True)


def _original(root: Path) -> Source:
    images, labels = (read_idx(root / f"{name}.gz") for name in _ORIGINAL)
    digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    return Source(printable(root), DEMO_CLASSES, labels.astype(np.int64), digest, arrays=images, numbered=True)
