"""Text files that people bring, in the encodings of their programs, and the images that they name. Imports no torch."""

import codecs
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

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


class Names:
    """Finds images by what tables and lists call them: a path, a file name, each with or without its ending."""

    def __init__(self, names: Sequence[str]) -> None:
        whole = [PurePosixPath(_plain(name)) for name in names]
        self._tables = [_table(map(str, whole)), _table(str(name.with_suffix("")) for name in whole)]
        self._tables += [_table(name.name for name in whole), _table(name.stem for name in whole)]

    def find(self, text: str) -> tuple[int | None, int]:
        """The position of the image that is meant, -1 where several may be and None where none is, and how loosely, from 0 to 3."""
        name = _plain(text)
        last = name.rpartition("/")[2]
        for looseness, (table, key) in enumerate(zip(self._tables, (name, name, last, last), strict=True)):
            if key in table:
                return table[key], looseness
        return None, len(self._tables)


def _table(keys: Iterable[str]) -> dict[str, int]:
    table: dict[str, int] = {}
    for position, key in enumerate(keys):
        table[key] = -1 if key in table else position
    return table


def _plain(name: str) -> str:
    """One spelling of a path: Windows' backslashes, a leading ./ and decomposed accents, as macOS writes them, do not count."""
    return unicodedata.normalize("NFC", name.strip().replace("\\", "/")).removeprefix("./")
