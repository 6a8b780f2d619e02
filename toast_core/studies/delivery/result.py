"""What was written of a pruned model for others to run, and under which names. Imports no torch."""

import io
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from toast_core.export.record import ExportRecord
from toast_core.files import sha256_of

METRIC = "export"
_PROGRAM = ".program.pt2"  # what a loader has beside it
_SHOWN = 8


@dataclass(frozen=True)
class Delivered(ExportRecord):
    """One exported file, opened and run again before it was kept; `source` is the sha256 of the pruned file that it was made of."""

    source: str

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Delivered":
        """Read the fields from a stored row, which others may have written.

        Raises:
            KeyError, TypeError, ValueError: a field is missing or of another kind, or the name is one in another folder.
        """
        kinds: dict[str, Any] = {"bytes": int, "images": int, "relative_difference": float}
        found = cls(**{one.name: kinds.get(one.name, str)(values[one.name]) for one in fields(cls)})
        if Path(found.path).name != found.path:
            raise ValueError(f"path {found.path!r:.80} is no file's name")
        return found

    def parts(self, folder: Path) -> list[Path]:
        """The file in a folder, and the program that belongs to a loader."""
        path = folder / self.path
        return [path, path.with_suffix(_PROGRAM)] if path.suffix == ".py" else [path]

    def is_whole(self, folder: Path) -> bool:
        """Whether the file in a folder is the one that was verified, with all that belongs to it."""
        parts = self.parts(folder)
        return (
            all(part.is_file() for part in parts) and sum(part.stat().st_size for part in parts) == self.bytes
            and sha256_of(parts[0]) == self.sha256
        )

    @property
    def download(self) -> str:
        """The name under which `content_of` is saved."""
        return self.path if not self.path.endswith(".py") else f"{self.path.removesuffix('.py')}.zip"


def content_of(record: Delivered, folder: Path) -> bytes:
    """The bytes of an exported file; of one with others beside it a ZIP of them all.

    Raises:
        OSError: one of them cannot be read.
    """
    parts = record.parts(folder)
    if len(parts) == 1:
        return parts[0].read_bytes()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for part in parts:
            archive.write(part, part.name)
    return packed.getvalue()


def file_stem(model: str, schedule: str) -> str:
    """How files of a model under a schedule (its digest) begin, a Python name, since loaders are imported: `demo_vit_0123abcd`."""
    name = re.sub(r"\W+", "_", f"{model}_{schedule[:_SHOWN]}", flags=re.ASCII)
    return name if name[:1].isalpha() else f"model_{name}"
