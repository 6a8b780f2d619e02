"""A text file that lists images, one a line, for uses without labels. Imports no torch."""

import stat
from pathlib import Path

from toast_core.data.aside import MISSING, Aside
from toast_core.data.listing import Listing, why_no_image
from toast_core.data.text import read_text
from toast_core.errors import DataError
from toast_core.files import printable

_WHAT = "a text file with the path of an image a line"


def read_list(file: Path) -> Listing:
    """Return the images that a file lists, by paths absolute or relative to it; a label behind a path is not used.

    Raises:
        DataError: it cannot be read, or half of its lines and more name no file.
    """
    lines = [line.rstrip("\r") for line in read_text(file, _WHAT).split("\n")]
    aside, names, sizes, files = Aside(), [], [], []
    for line in filter(str.strip, lines):
        name, size = _named(file.parent, line)
        reason = MISSING if name is None else why_no_image(name)
        if reason is not None or name is None:
            aside.add(reason or MISSING, line.strip())
            continue
        names.append(name)
        sizes.append(size)
        files.append(file.parent / name)
    missing = aside.count(MISSING)
    if not names or missing >= len(names):
        first = next((printable(line.strip()) for line in lines if line.strip()), "")
        what = f"names {len(names):,} images and {missing:,} files that are not there" if first else "is empty"
        shown = f", it begins with {first[:80]!r}" if first else ""
        raise DataError(f"list {file} {what}{shown}; give {_WHAT}, relative to {file.parent} or absolute")
    return Listing(str(file), tuple(names), tuple(sizes), tuple(files), aside=aside)


def _named(folder: Path, line: str) -> tuple[str | None, int]:
    """The path in a line and the size of its file; the first of its readings that names a file."""
    text = line.strip().strip('"').strip()
    if not text:
        return None, 0
    readings = (line, text, text.replace("\\", "/"), text.rsplit(None, 1)[0], text.partition(",")[0], text.partition("\t")[0])
    for name in dict.fromkeys(readings):
        try:
            status = (folder / name).stat()
        except (OSError, ValueError):
            continue
        if stat.S_ISREG(status.st_mode):
            return name, status.st_size
    return None, 0
