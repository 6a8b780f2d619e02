"""Files: written whole or not at all, their sha256, whether one can be written, names and errors as text. Imports no torch."""

import codecs
import hashlib
import io
import os
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from threading import get_ident

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_BASH = {"'": "\\'", "\\": "\\\\"}  # what $'...' of bash takes escaped
_RAW = re.compile("[\ud800-\udfff]")
_RAW_BYTE = range(0xDC80, 0xDD00)  # how Python stands for a byte of a name that is not UTF-8


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` write a file beside `path`, then put it in place in one step: readers see the old file or the new one.

    Raises:
        OSError: it cannot be put in place; and whatever `write` raises. Then `path` is as it was, and nothing stays beside it.
    """
    temporary = temporary_beside(path)
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes as `write_whole` does."""
    write_whole(path, lambda temporary: temporary.write_bytes(content))


def write_text(path: Path, text: str) -> None:
    """Write text in UTF-8 as `write_whole` does."""
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def temporary_beside(path: Path) -> Path:
    """Return the hidden name in the same folder under which this thread writes `path`."""
    return path.with_name(f".{path.name}.{os.getpid()}-{get_ident()}.tmp")


def check_can_write(path: Path, error: type[Exception], suffix: str = "") -> None:
    """Raise `error` unless a file can be written at `path`, of this suffix if any; asked before the work, so that none is lost."""
    try:
        possible = bool(path.name) and not path.is_dir() and path.parent.is_dir() and os.access(path.parent, os.W_OK)
    except OSError:  # a name longer than any file's
        possible = False
    if not possible:
        raise error(f"cannot write {path}; choose a file in a folder that exists and can be written")
    if suffix and path.suffix != suffix:
        raise error(f"output {path} does not end in {suffix}; name it {path.with_suffix(suffix).name}")


def cannot_write(path: Path, error: Exception) -> str:
    """Return the one line for a write that failed."""
    reason = getattr(error, "strerror", None) or first_line(error)
    return f"cannot write {path} ({reason}); choose a folder that can be written and has room"


def sha256_of(path: Path) -> str:
    """Return a file's sha256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def first_line(error: Exception, most: int = 160) -> str:
    """Return the first line with words of an error, of at most `most` characters, to stand inside another message; else its kind."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:most]


def printable(name: str | Path) -> str:
    r"""Return a name as one line of text that terminals, JSON, databases and other programs take; what they would not is escaped.

    A byte that is not UTF-8, as old archives and foreign disks have them, becomes `\xe9`; a line break or control character too.
    """
    return _UNPRINTABLE.sub(_escaped, str(name))


def shell_word(text: str) -> str:
    r"""Return a word of a shell's command line; one with bytes or characters that cannot be printed as bash's `$'caf\xe9'`."""
    shown = printable(text)
    if shown == text:
        return shlex.quote(text)
    return "$'" + "".join(printable(one) if printable(one) != one else _BASH.get(one, one) for one in text) + "'"


def printable_values(document: object) -> object:
    """Return plain values with `printable` applied to every text in them, for JSON that any program reads."""
    if isinstance(document, str):
        return printable(document) if _RAW.search(document) else document
    if isinstance(document, dict):
        return {printable_values(key): printable_values(value) for key, value in document.items()}
    return [printable_values(value) for value in document] if isinstance(document, list | tuple) else document


def escape_what_cannot_be_printed() -> None:
    """Let what is printed on stdout and stderr escape what they cannot say, names that are no UTF-8 as `printable` has them, and go on."""
    codecs.register_error("toast.printable", _printable_error)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="toast.printable")


def _printable_error(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    meant = error.object[error.start : error.end]
    return "".join(printable(one).encode("ascii", "backslashreplace").decode() for one in meant), error.end


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    code = code - 0xDC00 if code in _RAW_BYTE else code
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
