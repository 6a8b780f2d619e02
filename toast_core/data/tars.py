"""Images in tar files, read where they lie; classes are folders inside, or the files themselves. Imports no torch."""

import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from toast_core.data.aside import ARCHIVE_LINK, LATER, NO_FILE, Aside, hidden_or_system
from toast_core.data.image_set import Source
from toast_core.data.listing import UNLABELLED, Listing, why_no_image
from toast_core.data.packed import Packed
from toast_core.data.splits import are_splits
from toast_core.errors import DataError
from toast_core.files import first_line, printable

_KIND = "tar\n"
_PADDING = 1 << 20  # zeros that tar programs write at an end, at most


@dataclass(frozen=True)
class _Member:
    name: str
    file: int
    offset: int
    size: int


def read_tars(files: list[Path], root: Path, labelled: bool) -> Source:
    """The set of the images in one tar file, or in several of a folder; a tar file inside one is looked into, as timm does.

    An image's class is the folder that it lies in, else the inner tar file's or, of several, its own tar file's name.

    Raises:
        DataError: one cannot be read, there are no images, or labels are asked for and the folders are none of classes.
    """
    aside = Aside()
    found: dict[str, _Member] = {}
    ends: list[str] = []
    for number, file in enumerate(files):
        for member in _members(file, number, file.stem if len(files) > 1 else "", aside, ends):
            if member.name in found:
                aside.add(LATER, member.name)
            found[member.name] = member
    if not found:
        raise DataError(f"{root} holds no image{'; '.join(('', *aside.notes()[:2]))}; give a tar file with a folder of images a class")
    members = sorted(found.values(), key=lambda member: member.name.split("/"))
    names = tuple(member.name for member in members)
    which, offsets, sizes = (np.array([getattr(one, what) for one in members], np.int64) for what in ("file", "offset", "size"))
    packed = Packed(tuple(files), which, offsets, sizes, names)
    listing = Listing(str(root), names, tuple(map(int, sizes)), packed=packed, aside=aside)
    classes = [PurePosixPath(name).parent.name for name in names]
    everything = range(len(names))
    try:
        _check_classes(root, names, classes)
        has_classes = True
    except DataError:
        if labelled:
            raise
        has_classes = False
    named = [name or UNLABELLED for name in classes]
    digest = listing.digest(everything, kind=_KIND)
    return listing.source(everything, named, sorted(set(named)), digest, map(printable, ends), has_classes=has_classes)


def _check_classes(root: Path, names: tuple[str, ...], classes: list[str]) -> None:
    if not all(classes):
        bare = next(name for name, one in zip(names, classes, strict=True) if not one)
        raise DataError(
            f"image {bare} of {root} lies in no folder, so that its class is not known (shards of WebDataset, whose labels are files "
            "beside the images, are not read); give a tar file with a folder of images a class"
        )
    known = sorted(set(classes))
    if are_splits(known):
        raise DataError(f"{root} holds {', '.join(known)}: parts of a data set, not classes; give a tar file of one part, a folder a class")
    parents = sorted({str(PurePosixPath(name).parent.parent) for name in names})
    if len(parents) > 1:
        raise DataError(
            f"the folders of images in {root} lie at several places, in {parents[0]} and {parents[1]}, so that it is not known which "
            "are classes; give a tar file with one folder of images a class, side by side"
        )


def _members(file: Path, number: int, folder: str, aside: Aside, ends: list[str]) -> Iterator[_Member]:
    """The images of one tar file, under `folder` where it has one; `ends` takes what is wrong at its end."""
    try:
        most = file.stat().st_size
        with tarfile.open(file, "r:") as tar:
            for entry in tar:
                if entry.isfile() and entry.name.lower().endswith(".tar"):
                    inner = tar.extractfile(entry)
                    within = "/".join(filter(None, (folder, _clean(entry.name)[: -len(".tar")])))
                    with tarfile.open(fileobj=inner, mode="r:") as below:
                        yield from _images(below, number, within, entry.offset_data, most, aside)
                        ends.extend(_wrong_at_end(below, f"{file}:{entry.name}"))
                else:
                    yield from _images([entry], number, folder, 0, most, aside)
            ends.extend(_wrong_at_end(tar, str(file)))
    except (OSError, tarfile.TarError, ValueError, EOFError, OverflowError, MemoryError) as error:
        raise DataError(f"{file} cannot be read as a tar file without compression ({first_line(error)}); {_advice(file)}") from error


def _images(
    entries: Iterable[tarfile.TarInfo], number: int, folder: str, before: int, most: int, aside: Aside
) -> Iterator[_Member]:
    for entry in entries:
        name = "/".join(filter(None, (folder, _clean(entry.name))))
        if entry.isdir():
            continue
        hidden = next(filter(None, map(hidden_or_system, name.split("/"))), None)
        reason = hidden or (ARCHIVE_LINK if entry.issym() or entry.islnk() else None)
        reason = reason or (NO_FILE if not entry.isfile() or entry.issparse() else why_no_image(name))
        if reason is not None:
            aside.add(reason, name)
            continue
        offset = before + entry.offset_data
        yield _Member(name, number, offset, max(0, min(entry.size, most - offset)))


def _wrong_at_end(tar: tarfile.TarFile, name: str) -> list[str]:
    """A line where a tar file that was listed to its end has no mark there, or more behind it."""
    file: Any = tar.fileobj
    file.seek(tar.offset)
    block = file.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE or any(block):
        what = "is damaged" if any(block) else "has no end mark"
        return [f"{name} {what} behind byte {tar.offset:,}, so that images may be missing; copy it again"]
    zeros = tarfile.BLOCKSIZE
    while content := file.read(_PADDING):
        if any(content):
            return [f"{name} goes on behind its end mark, as joined tar files do, and that is not read; give each as a file of its own"]
        zeros += len(content)
    if zeros > _PADDING:
        return [f"{name} ends in {zeros:,} zeros, as a copy that was not finished does; compare it with the original"]
    return []


def _clean(name: str) -> str:
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _advice(file: Path) -> str:
    with file.open("rb") as opened:
        start = opened.read(6)
    packed = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz", b"\x28\xb5\x2f\xfd": "unzstd"}
    program = next((name for magic, name in packed.items() if start.startswith(magic)), None)
    return f"a compressed one is read from its start only: run {program} on it first" if program else "copy it again"
