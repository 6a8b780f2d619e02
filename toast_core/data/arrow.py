"""Data sets that Hugging Face's `datasets` saved to disk: images read from their Arrow files where they lie. Imports no torch."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toast_core.data.aside import NO_BYTES, Aside
from toast_core.data.image_set import Source
from toast_core.data.listing import MOST_CLASSES, UNLABELLED, Listing
from toast_core.data.packed import Packed
from toast_core.errors import DataError
from toast_core.files import first_line, printable

_STATE, _INFO, _DICT = "state.json", "dataset_info.json", "dataset_dict.json"
_LABEL_NAMES = ("label", "labels", "fine_label", "class", "target")
_WHAT = "a folder that Dataset.save_to_disk wrote"


def is_saved(folder: Path) -> bool:
    """Whether a folder holds a data set, or a dictionary of several, as `save_to_disk` writes them."""
    return (folder / _DICT).is_file() or all((folder / name).is_file() for name in (_STATE, _INFO))


def read_saved(folder: Path, labelled: bool) -> Source:
    """The set of the images of a data set that was saved to disk, its classes those that the data set names.

    Raises:
        DataError: it is none, is damaged, holds several sets, or has no column of images, or none of labels where they are asked for.
    """
    if (folder / _DICT).is_file():
        splits = _list_in(folder / _DICT, "splits", str)
        give = " or ".join(str(folder / str(name)) for name in sorted(map(str, splits), key=lambda name: (name == "train", name)))
        raise DataError(f"{folder} holds the parts {', '.join(map(str, splits))} of a data set; give {give or 'one of its folders'}")
    if not is_saved(folder):
        advice = "load_dataset(...)['validation'].save_to_disk(FOLDER)"
        raise DataError(f"{folder} holds no {_STATE} and {_INFO}; give {_WHAT}, such as {advice}")
    state, features = _json(folder / _STATE), _json(folder / _INFO).get("features")
    if not isinstance(features, dict) or state.get("_indices_data_files"):
        raise DataError(f"{folder} is not as today's datasets saves it; save it again with load_from_disk(...).save_to_disk(FOLDER)")
    image = _image_column(folder, features)
    label = _label_column(folder, features, labelled)
    entries = _list_in(folder / _STATE, "_data_files", dict)
    if not entries or not all(isinstance(entry.get("filename"), str) and entry["filename"] for entry in entries):
        raise DataError(f"{folder / _STATE} names no Arrow file; save it again with save_to_disk")
    files = [folder / entry["filename"] for entry in entries]
    parts = [_read(file, number, image, label) for number, file in enumerate(files)]
    if not sum(len(part.which) for part in parts):
        raise DataError(f"{folder} has no rows; save one that has with save_to_disk")
    return _as_set(folder, files, parts, features, label, labelled)


@dataclass(frozen=True)
class _Part:
    """The images of one file: which rows have bytes, where they lie, how many there are, and their labels."""

    which: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray
    has_bytes: np.ndarray
    labels: list


def _as_set(folder: Path, files: list[Path], parts: list[_Part], features: dict, label: str | None, labelled: bool) -> Source:
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in ("which", "offsets", "sizes", "has_bytes")}
    values = [value for part in parts for value in part.labels]
    names = tuple(f"row {row}" for row in range(len(joined["which"])))
    aside = Aside()
    for row in np.flatnonzero(~joined["has_bytes"]):
        aside.add(NO_BYTES, names[row])
    kept = [int(row) for row in np.flatnonzero(joined["has_bytes"])]
    if not kept:
        raise DataError(f"{folder} holds paths of images and not the images; save it again where they are, with save_to_disk")
    packed = Packed(tuple(files), joined["which"], joined["offsets"], joined["sizes"], names)
    listing = Listing(str(folder), names, tuple(map(int, joined["sizes"])), packed=packed, aside=aside)
    manifest = hashlib.sha256(b"hfds\n" + np.stack([joined["sizes"], joined["has_bytes"]]).astype("<i8").tobytes())
    try:
        classes, of_row = _classes(folder, features, label, [values[row] for row in kept] if label else [])
    except DataError:
        if labelled:
            raise
        return listing.source(kept, [UNLABELLED] * len(kept), [UNLABELLED], manifest.hexdigest(), has_classes=False)
    manifest.update(json.dumps([classes, of_row]).encode())
    return listing.source(kept, of_row, classes, manifest.hexdigest(), [f"classes are those of column {label!r}"], numbered=True)


def _classes(folder: Path, features: dict, label: str | None, values: list) -> tuple[list[str], list[str]]:
    """All classes in their order, and the class of each row."""
    feature = features.get(label)
    names = feature.get("names") if isinstance(feature, dict) else None
    if isinstance(names, list):
        if not all(type(value) is int and 0 <= value < len(names) for value in values):
            raise DataError(f"column {label!r} of {folder} has rows without a class, as test sets have; give a part with labels")
        if len(set(map(str, names))) != len(names):
            raise DataError(f"column {label!r} of {folder} names a class twice; mend its names")
        return [str(name) for name in names], [str(names[value]) for value in values]
    if values and all(type(value) is int and value >= 0 for value in values):
        if max(values) >= MOST_CLASSES:
            what = f"column {label!r} of {folder} has the class {max(values)}, and outputs are numbered from 0 to {MOST_CLASSES - 1:,}"
            raise DataError(f"{what}; name them with dataset.class_encode_column({label!r})")
        return [str(number) for number in range(max(values) + 1)], [str(value) for value in values]
    raise DataError(f"column {label!r} of {folder} holds no class numbers; cast it with dataset.class_encode_column({label!r})")


def _image_column(folder: Path, features: dict) -> str:
    found = [name for name, feature in features.items() if isinstance(feature, dict) and feature.get("_type") == "Image"]
    if len(found) != 1:
        what = f"several columns of images ({', '.join(found)})" if found else f"no column of images among {', '.join(features)}"
        give = "keep one with dataset.remove_columns" if found else "make one with dataset.cast_column(NAME, datasets.Image())"
        raise DataError(f"{folder} has {what}; {give}")
    return found[0]


def _label_column(folder: Path, features: dict, labelled: bool) -> str | None:
    found = [name for name, feature in features.items() if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"]
    found = found or [name for name in _LABEL_NAMES if name in features]
    if len(found) != 1:
        if not labelled:
            return None
        what = f"several columns of classes ({', '.join(found)})" if found else f"no column of classes among {', '.join(features)}"
        give = "keep one with dataset.remove_columns" if found else "call it label with dataset.rename_column(NAME, 'label')"
        raise DataError(f"{folder} has {what}; {give}")
    return found[0]


def _json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({first_line(error)}); save the data set again with save_to_disk") from error
    if not isinstance(document, dict):
        raise DataError(f"{path} holds no object; save the data set again with save_to_disk")
    return document


def _list_in(file: Path, name: str, kind: type) -> list[Any]:
    """The list of values of one kind under a name of a JSON file; empty where it is not there."""
    found = _json(file).get(name, [])
    if not isinstance(found, list) or not all(isinstance(value, kind) for value in found):
        raise DataError(f"{name} of {file} is no list of what save_to_disk writes; save the data set again with it")
    return found


def _read(file: Path, number: int, image: str, label: str | None) -> _Part:
    """Where the images of an Arrow file lie: their addresses in it as mapped into memory, less the address of its first byte."""
    try:
        import pyarrow  # type: ignore[import-untyped]  # it has no types
    except ImportError as error:
        raise DataError("data sets saved to disk are read with the package pyarrow, which is not installed; pip install pyarrow") from error
    try:
        with pyarrow.memory_map(str(file)) as mapped:
            whole = mapped.read_buffer()
        table = pyarrow.ipc.open_stream(pyarrow.BufferReader(whole)).read_all()
        column, labels = table[image], table[label].to_pylist() if label else []
        chunks = [_bytes_in(chunk, whole) for chunk in column.chunks]
    except (OSError, ValueError, KeyError, TypeError, NotImplementedError, pyarrow.ArrowException) as error:
        what = f"{printable(file)} cannot be read as a data set's images ({first_line(error)})"
        raise DataError(f"{what}; save it again with save_to_disk") from error
    nothing = (np.empty(0, np.int64),) * 3
    offsets, sizes, has_bytes = (np.concatenate(columns) for columns in zip(nothing, *chunks, strict=True))
    return _Part(np.full(len(offsets), number, np.int64), offsets, sizes, has_bytes.astype(bool), labels)


def _bytes_in(chunk: Any, whole: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each row of a column of images: where its bytes begin in the file, how many there are, and whether there are any."""
    if not str(chunk.type).startswith("struct<"):
        raise ValueError(f"images are stored as {chunk.type} and not as bytes with a path")
    inner = chunk.field("bytes")
    wide = {"binary": np.int32, "large_binary": np.int64}.get(str(inner.type))
    if wide is None:
        raise ValueError(f"images are stored as {inner.type}")
    if not len(inner):
        return (np.empty(0, np.int64),) * 3
    bounds = np.frombuffer(inner.buffers()[1], wide)[inner.offset : inner.offset + len(inner) + 1].astype(np.int64)
    content = inner.buffers()[2]
    is_empty = content is None or bounds[0] == bounds[-1]  # then it has no place in the file
    first = 0 if is_empty else content.address - whole.address
    if not 0 <= first <= whole.size:
        raise ValueError("it is compressed")
    has_bytes = np.array([bool(one and two) for one, two in zip(inner.is_valid(), chunk.is_valid(), strict=True)]) & (np.diff(bounds) > 0)
    return first + bounds[:-1], np.diff(bounds), has_bytes
