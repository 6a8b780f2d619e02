"""Files: written whole or not at all, their sha256, whether one can be written, and what an error says first. Imports no torch."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from threading import get_ident


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
