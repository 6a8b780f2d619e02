"""A zip file that is not trusted: every member is listed, bounded and checksummed in its manifest, and nothing else is read.

Nothing is ever unpacked to disk. Limits are checked on what the file declares before it is read, and on what comes out.
"""

import hashlib
import io
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from analysis_cache.canonical import canonical_json, read_json
from analysis_cache.errors import StoreError
from toast_core.files import cannot_write, temporary_beside

FORMAT = "toastbundle"
VERSION = 1
MANIFEST = "manifest.json"
MAX_MEMBERS = 4096
MAX_MEMBER_BYTES = 32 << 20
MAX_TOTAL_BYTES = 2 << 30
MEMBER_NAME = re.compile(r"analyses\.jsonl|(cells/\d{5}\.jsonl)|(arrays/\d{5}\.bin)|(extra/[a-z0-9][a-z0-9._-]{0,79})")
_END = struct.Struct("<4s4H2LH")
_ZIP64_LOCATOR_BYTES = 20
_MAX_DIRECTORY_BYTES = 1 << 20
_NEXT = "fetch or export it again"


class ArchiveWriter:
    """Writes one archive, the same bytes for the same members in the same order, and puts it in place when it is complete.

    Raises:
        StoreError: the file cannot be written, or a member is over the limits; then nothing is left behind.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.total = path, 0
        self.members: list[dict[str, Any]] = []
        self.temporary = temporary_beside(path)

    def __enter__(self) -> "ArchiveWriter":
        try:
            self.file = self.temporary.open("wb")
        except OSError as error:
            raise _unwritable(self.path, error) from error
        self.zip = zipfile.ZipFile(self.file, "w")
        return self

    def add(self, name: str, data: bytes, compress: bool) -> None:
        """Write a member; `compress` for text, not for what is compressed already."""
        self.total += len(data)
        if not MEMBER_NAME.fullmatch(name) or len(data) > MAX_MEMBER_BYTES:
            raise StoreError(f"bundle member {name!r} of {len(data)} bytes is not allowed; name it in plain lower case, or split it")
        if self.total > MAX_TOTAL_BYTES or len(self.members) >= MAX_MEMBERS - 1:
            raise StoreError(f"the bundle would have more than {MAX_MEMBERS} members or {MAX_TOTAL_BYTES} bytes; export fewer analyses")
        self.members.append({"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})
        self._write(name, data, compress)

    def _write(self, name: str, data: bytes, compress: bool) -> None:
        info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
        info.create_system, info.external_attr = 3, (stat.S_IFREG | 0o644) << 16
        info.compress_type = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
        try:
            self.zip.writestr(info, data, compresslevel=6)
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def finish(self, counts: Mapping[str, int]) -> None:
        """Write the manifest and put the archive in place."""
        manifest = {"format": FORMAT, "version": VERSION, "counts": dict(counts), "members": self.members}
        self._write(MANIFEST, canonical_json(manifest, "manifest").encode(), True)
        try:
            self.zip.close()
            self.file.flush()
            os.fsync(self.file.fileno())
            self.temporary.replace(self.path)
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def __exit__(self, *_: object) -> None:
        # after an error the file is thrown away, so that failing to complete it does not matter
        with suppress(OSError, ValueError):
            self.zip.close()
        with suppress(OSError):
            self.file.close()
        self.temporary.unlink(missing_ok=True)


class ArchiveReader:
    """An opened archive whose directory and manifest hold. `counts` and `names` are the manifest's.

    Raises:
        StoreError: from every method, one line with the file's name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.file = path.open("rb")
        except OSError as error:
            raise StoreError(f"bundle {path} cannot be read ({error.strerror}); check the path") from error
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        self._check_end()
        try:
            self.zip = zipfile.ZipFile(self.file)
        except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, struct.error) as error:
            raise self.error(f"is not a readable zip file ({error})") from error
        infos = self.zip.infolist()
        for info in infos:
            self._check_member(info)
        self.infos = {info.filename: info for info in infos}
        if len(self.infos) != len(infos):
            raise self.error("has two members of one name")
        if sum(info.file_size for info in infos) > MAX_TOTAL_BYTES:
            raise self.error(f"unpacks to more than {MAX_TOTAL_BYTES} bytes")
        if MANIFEST not in self.infos:
            raise self.error(f"has no {MANIFEST}")
        self._read_manifest()

    def error(self, what: str) -> StoreError:
        """An error about this file."""
        return StoreError(f"bundle {self.path} {what}; {_NEXT}")

    def _check_end(self) -> None:
        """The directory's size is bounded before it is parsed; archives with comments or zip64 records are not ours."""
        size = self.file.seek(0, io.SEEK_END)
        self.file.seek(max(0, size - _END.size - _ZIP64_LOCATOR_BYTES))
        tail = self.file.read()
        if len(tail) < _END.size or (end := _END.unpack(tail[-_END.size :]))[0] != b"PK\x05\x06":
            raise self.error("is truncated or no bundle")
        _, _, _, here, members, directory_bytes, _, _ = end
        if tail[: -_END.size][:4] == b"PK\x06\x07" or max(here, members) > MAX_MEMBERS or directory_bytes > _MAX_DIRECTORY_BYTES:
            raise self.error(f"has too many members, more than {MAX_MEMBERS}")

    def _check_member(self, info: zipfile.ZipInfo) -> None:
        name, shown = info.orig_filename, ascii(info.orig_filename)[:80]
        posix, windows = PurePosixPath(name), PureWindowsPath(name)
        if posix.is_absolute() or windows.drive or windows.root or ".." in (*posix.parts, *windows.parts):
            raise self.error(f"has a member {shown} that points outside of it")
        mode = info.external_attr >> 16
        if stat.S_ISLNK(mode) or (stat.S_IFMT(mode) not in (0, stat.S_IFREG)) or info.is_dir():
            raise self.error(f"has a member {shown} that is a link or no plain file")
        if name != info.filename or (name != MANIFEST and not MEMBER_NAME.fullmatch(name)):
            raise self.error(f"has an unknown member {shown}")
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise self.error(f"has a member {shown} that is encrypted or compressed in another way than deflate")
        if info.file_size > MAX_MEMBER_BYTES:
            raise self.error(f"has a member {shown} of {info.file_size} bytes, more than {MAX_MEMBER_BYTES}")

    def _read_manifest(self) -> None:
        manifest = read_json(self._inflate(MANIFEST), f"{MANIFEST} of bundle {self.path}")
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            raise self.error("has a manifest of another format")
        if manifest.get("version") != VERSION:
            shown = ascii(manifest.get("version"))[:20]
            raise StoreError(f"bundle {self.path} has version {shown}, this program reads {VERSION}; update the program")
        counts, members = manifest.get("counts"), manifest.get("members")
        if set(manifest) != {"format", "version", "counts", "members"} or not isinstance(counts, dict) or not isinstance(members, list):
            raise self.error("has a manifest with other fields")
        self.counts, self.expected = counts, {}
        for member in members:
            if not isinstance(member, dict) or set(member) != {"name", "bytes", "sha256"} or not isinstance(member["name"], str):
                raise self.error("has a manifest with other fields")
            self.expected[member["name"]] = member
        self.names = tuple(self.expected)
        if len(self.expected) != len(members) or set(self.names) != set(self.infos) - {MANIFEST}:
            raise self.error("has other members than its manifest lists")
        for name in self.names:
            if self.expected[name]["bytes"] != self.infos[name].file_size:
                raise self.error(f"declares another size for {name} than its manifest")

    def read(self, name: str) -> bytes:
        """Return a member, once its size and checksum hold."""
        if name not in self.expected:
            raise self.error(f"has no member {ascii(name)[:80]}")
        data = self._inflate(name)
        if hashlib.sha256(data).hexdigest() != self.expected[name]["sha256"]:
            raise self.error(f"has a damaged member {name} (checksum mismatch)")
        return data

    def _inflate(self, name: str) -> bytes:
        declared = self.infos[name].file_size
        try:
            with self.zip.open(name) as member:
                # one byte more than declared, so that a member that unpacks to more is noticed and never held
                data = member.read(declared + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, struct.error, RuntimeError) as error:
            raise self.error(f"has a damaged member {name} ({error})") from error
        if len(data) != declared:
            raise self.error(f"has a member {name} that unpacks to another size than declared")
        return data

    def close(self) -> None:
        """Release the archive's file; nothing can be read from it afterwards."""
        self.file.close()


def is_bundle(path: Path) -> bool:
    """Whether the file starts like a bundle; False where there is none."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _unwritable(path: Path, error: OSError) -> StoreError:
    return StoreError(cannot_write(path, error))
