"""All images below a folder, links followed, and what was left aside. Imports no torch."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from toast_core.data.aside import DEAD_LINK, DEEP_LINK, LOCKED, LOOP, NO_FILE, Aside, hidden_or_system
from toast_core.data.listing import Listing, why_no_image
from toast_core.errors import DataError

_MOST_LINKS = 8  # folder links on one way: a few that point at each other would else be walked in all their orders

_Place = tuple[int, int]  # device and inode


def walk(root: Path) -> Listing:
    """List every image below a folder, in the order of its path.

    Links to files and folders are followed; one that leads back to a folder above it is not, nor is anything opened.
    A folder that two links lead to is there twice, as the links say.

    Raises:
        DataError: the folder cannot be listed.
    """
    aside, found, folders = Aside(), [], []
    try:
        above = frozenset(_place(parent.stat()) for parent in (root.resolve(), *root.resolve().parents))
        waiting = [(root, above, 0)]
        while waiting:
            folder, above, links = waiting.pop()
            below = []
            for entry, is_link, status in _entries(root, folder, aside):
                path = folder / entry
                if stat.S_ISDIR(status.st_mode):
                    reason = hidden_or_system(entry) or _why_not_followed(status, above, links + is_link)
                    if reason:
                        aside.add(reason, path.relative_to(root))
                        continue
                    below.append((path, above | {_place(status)}, links + is_link))
                    if folder == root:
                        folders.append(entry)
                elif reason := hidden_or_system(entry) or _why_no_image(entry, status):
                    aside.add(reason, path.relative_to(root))
                else:
                    found.append((path, status.st_size))
            waiting.extend(reversed(below))
    except OSError as error:
        raise DataError(f"data folder {root} cannot be listed ({error.strerror}); give one that can be read") from error
    found.sort(key=lambda pair: pair[0])
    names = tuple(path.relative_to(root).as_posix() for path, _ in found)
    sizes, files = tuple(size for _, size in found), tuple(path for path, _ in found)
    return Listing(str(root), names, sizes, files, folders=tuple(sorted(folders)), aside=aside)


def _entries(root: Path, folder: Path, aside: Aside) -> Iterator[tuple[str, bool, os.stat_result]]:
    """Name, whether it is a link, and the status of where it leads, of all in a folder, in the order of their names."""
    try:
        with os.scandir(folder) as listed:
            entries = sorted(listed, key=lambda entry: entry.name)
    except OSError:
        if folder == root:
            raise
        aside.add(LOCKED, folder.relative_to(root))
        return
    for entry in entries:
        is_link = entry.is_symlink()
        try:
            yield entry.name, is_link, entry.stat()
        except OSError as error:
            dead = is_link and isinstance(error, FileNotFoundError | NotADirectoryError)
            reason = DEAD_LINK if dead else LOOP if is_link and not isinstance(error, PermissionError) else LOCKED
            aside.add(hidden_or_system(entry.name) or reason, (folder / entry.name).relative_to(root))


def _place(status: os.stat_result) -> _Place:
    return status.st_dev, status.st_ino


def _why_not_followed(status: os.stat_result, above: frozenset[_Place], links: int) -> tuple[str, str] | None:
    if _place(status) in above:
        return LOOP
    return DEEP_LINK if links > _MOST_LINKS else None


def _why_no_image(name: str, status: os.stat_result) -> tuple[str, str] | None:
    return NO_FILE if not stat.S_ISREG(status.st_mode) else why_no_image(name)
