"""Writing text files whole."""

import os
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Write a file in one step: whole, or not at all.

    Raises:
        OSError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
