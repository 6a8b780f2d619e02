"""Results that can be made again, kept in a folder beside the store: what was used longest ago makes room. No evidence, and in no bundle.

One file an entry, named by its key:

    magic "TSF1" | sha256 of key and content, 32 bytes | content

Whatever cannot be read, written or removed counts as absent: whoever asks makes the result again.
"""

import hashlib
import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from analysis_cache.database import default_store, file_of
from analysis_cache.errors import StoreError
from toast_core.files import write_bytes

MAGIC = b"TSF1"
LIMIT_BYTES = 2 << 30
SUFFIX = ".fit"
_HEAD = len(MAGIC) + 32
_LEFT_BEHIND_S = 3600.0  # a writer that was killed leaves a hidden file; a living one is done sooner


@dataclass(eq=False)
class Shelf:
    """Entries by key in a folder that several processes share; made with the first entry.

    limit  bytes of all files together, about: looked after whenever a part of it was written
    """

    folder: Path
    limit: int = LIMIT_BYTES
    _written: int | None = field(default=None, repr=False)

    @classmethod
    def beside(cls, store: str | None) -> "Shelf | None":
        """The shelf of a store, None for the user's own: a folder beside its file, or in the user's data folder for a server.

        None where the store's address cannot be read: whoever needs the store says so.
        """
        try:
            file = file_of(default_store() if store is None else store)
        except StoreError:
            return None
        return cls(_own_folder() if file is None else file.with_name(f"{file.stem}.fits"))

    def __contains__(self, key: str) -> bool:
        """Whether there is an entry, sound or not."""
        return self._path(key).is_file()

    def get(self, key: str) -> bytes | None:
        """The content of an entry, which is now the one used last; None where there is none. A damaged one is removed."""
        path = self._path(key)
        try:
            whole = path.read_bytes()
        except OSError:
            return None
        content = whole[_HEAD:]
        with suppress(OSError):
            if whole[:_HEAD] == _head(key, content):
                os.utime(path)
                return content
            path.unlink()
            return None
        return content if whole[:_HEAD] == _head(key, content) else None

    def put(self, key: str, content: bytes) -> None:
        """Keep an entry, and remove those used longest ago where there is too much."""
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_bytes(self._path(key), _head(key, content) + content)
            self._written = len(content) + (self.limit if self._written is None else self._written)
            if self._written >= self.limit // 32:
                self._written = 0
                self.tidy()

    def tidy(self) -> None:
        """Remove what was used longest ago, until nine tenths of the limit are left, and what killed writers left behind."""
        entries = self._entries()
        total = sum(size for _, size, _ in entries)
        if total > self.limit:
            for _, size, path in sorted(entries):
                with suppress(OSError):
                    path.unlink()
                    total -= size
                if total <= 0.9 * self.limit:
                    break
        with suppress(OSError):
            for path in self.folder.glob(f".*{SUFFIX}.*.tmp"):
                with suppress(OSError):
                    if time.time() - path.stat().st_mtime > _LEFT_BEHIND_S:
                        path.unlink()

    def clear(self) -> int:
        """Remove every entry and return how many there were."""
        removed = 0
        for _, _, path in self._entries():
            with suppress(OSError):
                path.unlink()
                removed += 1
        return removed

    def contents(self) -> tuple[int, int]:
        """How many entries there are, and their bytes."""
        entries = self._entries()
        return len(entries), sum(size for _, size, _ in entries)

    def _entries(self) -> list[tuple[float, int, Path]]:
        """When each entry was used last, its bytes and its file."""
        found = []
        with suppress(OSError):
            for path in self.folder.glob(f"*{SUFFIX}"):
                with suppress(OSError):
                    facts = path.stat()
                    found.append((facts.st_mtime, facts.st_size, path))
        return found

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{SUFFIX}"


def _own_folder() -> Path:
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "toast-studio" / "evidence.fits"


def _head(key: str, content: bytes) -> bytes:
    return MAGIC + hashlib.sha256(key.encode() + content).digest()
