"""Text files that people bring, in the encodings of their programs, and the images that they name. Imports no torch."""

import codecs
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from toast_core.errors import DataError
from toast_core.files import first_line

_MOST_BYTES = 1 << 30
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def read_text(path: Path, what: str) -> str:
    """Return a text file's text: UTF-8, or UTF-16 with its mark; bytes that are neither stay in it as they do in file names.

    Raises:
        DataError: it cannot be read, is no text, or is larger than any list; `what` says what it should be.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DataError(f"{path} has {path.stat().st_size:,} bytes, too many for {what}")
        content = path.read_bytes()
        encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
        text = content.decode(encoding, "surrogateescape" if encoding.startswith("utf-8") else "strict")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({getattr(error, 'strerror', None) or first_line(error)}); give {what}") from error
    if "\0" in text:
        raise DataError(f"{path} is no text file; give {what}")
    return text


class Found(NamedTuple):
    """Which image a text means: its position, None for none and -1 where several may be meant; how loosely, from 0 to 3.

    by_name_alone  whether the text has folders and not even the last of them is the image's
    """

    position: int | None
    looseness: int
    by_name_alone: bool = False


class Names:
    """Finds images by what tables and lists call them: a path from anywhere or a part of its end, each with or without its ending."""

    def __init__(self, names: Sequence[str], folder: Path) -> None:
        """`names` are relative to `folder`, or absolute."""
        whole = [PurePosixPath(_plain(name)) for name in names]
        bare = [name.with_suffix("") for name in whole]
        self._whole = [_table((str(name),) for name in paths) for paths in (whole, bare)]
        self._ends = [_table(_ends(name.parts) for name in paths) for paths in (whole, bare)]
        self._folders = [tuple(map(_plain, place.parts)) for place in dict.fromkeys((folder.absolute(), folder.resolve()))]

    def find(self, text: str) -> Found:
        """The image that is meant: the one of that path, else the only one whose path ends as the text does, the longest end first."""
        name = _plain(text)
        parts = PurePosixPath(name).parts if "/" in name else (name,)
        inside = [name, *("/".join(parts[cut:]) for cut in range(len(parts) - 1, 0, -1) if self._is_folder(parts[:cut]))]
        for looseness, table in enumerate(self._whole):
            if hit := next((one for one in inside if one in table), None):
                return Found(table[hit], looseness)
        for looseness, table in enumerate(self._ends, len(self._whole)):
            if hit := next((one for one in _ends(parts) if one in table), None):
                inside_it = hit in self._whole[looseness - len(self._whole)] and self._is_folder(parts[-2:-1])
                return Found(table[hit], looseness, len(parts) > 1 and "/" not in hit and not inside_it)
        return Found(None, len(self._whole) + len(self._ends))

    def _is_folder(self, parts: tuple[str, ...]) -> bool:
        return bool(parts) and any(folder[-len(parts) :] == parts for folder in self._folders)


def _ends(parts: Sequence[str]) -> list[str]:
    """The ends of a path by its parts, the longest first."""
    return ["/".join(parts[cut:]) for cut in range(len(parts))]


def _table(keys: Iterable[Sequence[str]]) -> dict[str, int]:
    table: dict[str, int] = {}
    for position, of_one in enumerate(keys):
        for key in of_one:
            table[key] = -1 if key in table else position
    return table


def _plain(name: str) -> str:
    """One spelling of a path: Windows' backslashes, a leading ./ and decomposed accents, as macOS writes them, do not count."""
    return unicodedata.normalize("NFC", name.strip().replace("\\", "/")).removeprefix("./")
