"""Bundles: written the same every time, and refused whole when any part is not sound."""

import hashlib
import io
import json
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis_cache import archive
from analysis_cache.analysis import Analysis
from analysis_cache.bundle import Bundle
from analysis_cache.cell import CellRecord
from analysis_cache.errors import StoreError
from analysis_cache.exchange import export_bundle, import_bundle
from analysis_cache.store import EvidenceStore
from tests.support.cells import TIME, fill, identity, outcomes, summary

EXTRAS = {"card.json": b'{"blocks":12}', "thumb-0.png": b"\x89PNG"}
Members = dict[str, bytes]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A sound bundle of eight cells."""
    folder = tmp_path_factory.mktemp("good")
    with EvidenceStore.open(folder / "a.sqlite") as store:
        fill(store, 8)
        export_bundle(store, folder / "a.toastbundle", extras=EXTRAS)
    return (folder / "a.toastbundle").read_bytes()


def members_of(data: bytes) -> Members:
    """What is in a zip file."""
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def packed(members: Members, **manifest: object) -> bytes:
    """A zip file of these members whose manifest holds, but for the given fields."""
    listed = [
        {"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in members.items() if name != archive.MANIFEST
    ]
    fields = json.loads(members[archive.MANIFEST]) | {"members": listed} | manifest
    return zipped([*(members | {archive.MANIFEST: json.dumps(fields).encode()}).items()])


def zipped(entries: list[tuple[str | zipfile.ZipInfo, bytes]]) -> bytes:
    """A zip file of these entries."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, data in entries:
            opened.writestr(name, data)
    return buffer.getvalue()


def with_entry(good: bytes, entry: str | zipfile.ZipInfo, data: bytes = b"x") -> bytes:
    """The good bundle with one more entry, which its manifest lists."""
    members = members_of(good)
    name = entry if isinstance(entry, str) else entry.filename
    listed = json.loads(members[archive.MANIFEST])["members"]
    listed.append({"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})
    manifest = json.dumps(json.loads(members.pop(archive.MANIFEST)) | {"members": listed}).encode()
    return zipped([*members.items(), (entry, data), (archive.MANIFEST, manifest)])


def patched(good: bytes, name: str, change: Callable[[bytes], bytes]) -> bytes:
    """The good bundle with one member changed, and a manifest that agrees."""
    members = members_of(good)
    return packed(members | {name: change(members[name])})


def link(name: str) -> zipfile.ZipInfo:
    """An entry that says it is a symbolic link."""
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info


def declared_larger(good: bytes) -> bytes:
    """The directory claims that a member has 4 GB."""
    place = good.index(b"PK\x01\x02")
    return good[: place + 24] + struct.pack("<I", 0xFFFFFFF0) + good[place + 28 :]


def first_row(change: Callable[[dict], object]) -> Callable[[bytes], bytes]:
    """Change the first line of a JSONL member."""
    def apply(data: bytes) -> bytes:
        lines = data.splitlines(keepends=True)
        return json.dumps(change(json.loads(lines[0]))).encode() + b"\n" + b"".join(lines[1:])
    return apply


def forged(row: dict) -> dict:
    """A cell whose checksums all hold, but whose identity no version of this program writes."""
    rest = (row[name] for name in ("summary", "created_utc", "code_version", "arrays_digest"))
    columns = (hashlib.sha256(b"{}").hexdigest(), "{}", *rest)
    text = "\n".join(f"{len(column)} {column}" for column in columns)
    return row | {"key": columns[0], "identity": "{}", "checksum": hashlib.sha256(text.encode()).hexdigest()}


CELLS, ARRAYS, ANALYSES = "cells/00000.jsonl", "arrays/00000.bin", "analyses.jsonl"
ATTACKS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "parent folder": (lambda good: with_entry(good, "../../etc/passwd"), "points outside"),
    "parent within": (lambda good: with_entry(good, "extra/../../x"), "points outside"),
    "absolute": (lambda good: with_entry(good, "/etc/passwd"), "points outside"),
    "windows drive": (lambda good: with_entry(good, "C:\\x"), "points outside"),
    "windows parent": (lambda good: with_entry(good, "..\\x"), "points outside"),
    "symbolic link": (lambda good: with_entry(good, link("extra/link")), "link or no plain file"),
    "folder": (lambda good: with_entry(good, "extra/", b""), "link or no plain file"),
    "unknown member": (lambda good: with_entry(good, "code.py"), "unknown member"),
    "pickle": (lambda good: with_entry(good, "cells/00000.pkl", b"cos\nsystem\n(S'true'\ntR."), "unknown member"),
    "name with NUL": (lambda good: with_entry(good, "extra/aXb").replace(b"extra/aXb", b"extra/a\x00b"), "unknown member"),
    "unlisted member": (lambda good: zipped([*members_of(good).items(), ("extra/more.txt", b"x")]), "other members than its manifest"),
    "missing member": (lambda good: zipped([item for item in members_of(good).items() if item[0] != ARRAYS]), "other members"),
    "no manifest": (lambda good: zipped([item for item in members_of(good).items() if item[0] != archive.MANIFEST]), "has no manifest"),
    "name twice": (lambda good: zipped([*members_of(good).items(), (CELLS, b"")]), "two members of one name"),
    "too many members": (lambda good: zipped([(f"extra/{number}", b"") for number in range(5000)]), "too many members"),
    "bomb": (lambda good: with_entry(good, "extra/bomb", bytes(archive.MAX_MEMBER_BYTES + 1)), "more than"),
    "declared too large": (declared_larger, "more than"),
    "checksum": (lambda good: zipped([*(members_of(good) | {ARRAYS: members_of(good)[ARRAYS][::-1]}).items()]), "checksum mismatch"),
    "version": (lambda good: packed(members_of(good), version=2), "has version 2, this program reads 1"),
    "format": (lambda good: packed(members_of(good), format="zip"), "another format"),
    "manifest fields": (lambda good: packed(members_of(good), more=1), "other fields"),
    "manifest is a list": (lambda good: zipped([(archive.MANIFEST, b"[]")]), "another format"),
    "manifest is no JSON": (lambda good: zipped([(archive.MANIFEST, b"{,}")]), "not a JSON document"),
    "manifest nested deep": (lambda good: zipped([(archive.MANIFEST, b"[" * 200_000)]), "not a JSON document"),
    "fewer cells stated": (lambda good: packed(members_of(good), counts={"analyses": 1, "cells": 7}), "another number of cells"),
    "fewer analyses stated": (lambda good: packed(members_of(good), counts={"analyses": 0, "cells": 8}), "another number of analyses"),
    "no cells for arrays": (lambda good: with_entry(good, "arrays/00001.bin"), "arrays without cells"),
    "broken line": (lambda good: patched(good, CELLS, lambda data: data[:-20] + b"\n"), "not a JSON document"),
    "NaN": (lambda good: patched(good, CELLS, first_row(lambda row: row | {"length": float("nan")})), "not a JSON document"),
    "cell fields": (lambda good: patched(good, CELLS, first_row(lambda row: row | {"more": 1})), "other fields"),
    "cell of lists": (lambda good: patched(good, CELLS, first_row(lambda row: row | {"key": []})), "other fields"),
    "negative length": (lambda good: patched(good, CELLS, first_row(lambda row: row | {"length": -1})), "has a length -1"),
    "shorter length": (lambda good: patched(good, CELLS, first_row(lambda row: row | {"length": 1})), "do not add up"),
    "cell twice": (lambda good: patched(good, CELLS, lambda data: data.splitlines(True)[0] * 8), "do not add up|lists a cell twice"),
    "another key": (lambda good: patched(good, CELLS, first_row(lambda row: row | {"key": "0" * 64})), "not sound"),
    "another summary": (lambda good: patched(good, CELLS, first_row(lambda row: row | {"summary": "{}"})), "not sound"),
    "surrogate": (lambda good: patched(good, CELLS, first_row(lambda row: row | {"summary": "\ud800"})), "not sound"),
    "forged cell": (lambda good: patched(good, CELLS, first_row(forged)), "not sound"),
    "another label": (lambda good: patched(good, ANALYSES, first_row(lambda row: row | {"label": "mine"})), "is damaged"),
    "analysis is null": (lambda good: patched(good, ANALYSES, lambda data: b"null\n"), "other fields"),
    "arrays changed": (lambda good: patched(good, ARRAYS, lambda data: data[:-1] + b"\xff"), "not sound"),
    "truncated": (lambda good: good[:-30], "truncated"),
    "half": (lambda good: good[: len(good) // 2], "truncated"),
    "empty": (lambda good: b"", "truncated"),
    "no zip": (lambda good: b"toast" * 100, "truncated"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("attack", ATTACKS)
def test_an_unsound_bundle_changes_nothing(tmp_path: Path, good: bytes, attack: str) -> None:
    make, message = ATTACKS[attack]
    path = tmp_path / "bad.toastbundle"
    path.write_bytes(make(good))
    with EvidenceStore.open(tmp_path / "a.sqlite") as store:
        store.put(identity(50), summary(), outcomes())
        with pytest.raises(StoreError, match=message) as caught:
            import_bundle(store, path)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
        assert store.verify().cells == 1 and store.verify().analyses == 0
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.sqlite", "bad.toastbundle"]


@given(st.data())
def test_any_changed_byte_is_noticed_or_harmless(tmp_path_factory: pytest.TempPathFactory, good: bytes, data: st.DataObject) -> None:
    bad = bytearray(good)
    bad[data.draw(st.integers(0, len(bad) - 1))] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.mktemp("changed") / "a.toastbundle"
    path.write_bytes(bytes(bad))
    try:
        bundle = Bundle(path)
        rows = [record for record, _ in bundle.checked_rows()]
        bundle.close()
        assert [row.key for row in rows if isinstance(row, CellRecord)] == [identity(number).key for number in range(8)]
    except StoreError as error:
        assert "\n" not in str(error)


def test_the_good_bundle_reads(tmp_path: Path, good: bytes) -> None:
    path = tmp_path / "a.toastbundle"
    path.write_bytes(packed(members_of(good)))
    with EvidenceStore.open(tmp_path / "a.sqlite") as store:
        assert import_bundle(store, path).cells == 8
    bundle = Bundle(path)
    assert bundle.extras() == EXTRAS
    assert bundle.get(identity(3).key).summary == summary(3)
    with pytest.raises(StoreError, match="there is no cell"):
        bundle.get("0" * 64)
    bundle.close()


def test_exports_are_equal_bytes_whatever_the_order_of_storing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis_cache.cell.utc_now", lambda: TIME)
    for name, order in (("a", (0, 1)), ("b", (1, 0))):
        with EvidenceStore.open(tmp_path / f"{name}.sqlite") as store:
            for number in order:
                store.put_analysis(Analysis({"number": number}, f"analysis {number}", (identity(number).key,), TIME))
                store.put(identity(number), summary(number), outcomes(number))
            export_bundle(store, tmp_path / f"{name}.toastbundle", extras=dict(reversed(EXTRAS.items())) if order[0] else EXTRAS)
    assert (tmp_path / "a.toastbundle").read_bytes() == (tmp_path / "b.toastbundle").read_bytes()


def test_large_analyses_are_split_into_members_of_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis_cache.bundle.BYTES_PER_MEMBER", 2000)
    with EvidenceStore.open(tmp_path / "a.sqlite") as store:
        fill(store, 30)
        export_bundle(store, tmp_path / "a.toastbundle")
        bundle = Bundle(tmp_path / "a.toastbundle")
        assert len(bundle.archive.names) > 6 and len(bundle.index) == 30
        assert all(bundle.get(identity(number).key).summary == summary(number) for number in (29, 0, 15))
        bundle.close()
        assert import_bundle(store, tmp_path / "a.toastbundle").cells_present == 30


def test_what_cannot_be_exported(tmp_path: Path) -> None:
    path = tmp_path / "a.toastbundle"
    with EvidenceStore.open(tmp_path / "a.sqlite") as store:
        with pytest.raises(StoreError, match="no analysis to export"):
            export_bundle(store, path)
        analysis = fill(store, 2)
        for extras in ({"../x": b""}, {"X.json": b""}, {"a.bin": bytes(archive.MAX_MEMBER_BYTES + 1)}):
            with pytest.raises(StoreError, match="is not allowed"):
                export_bundle(store, path, extras=extras)
        for place in (tmp_path / "nowhere" / "a.toastbundle", tmp_path / "a.sqlite" / "a.toastbundle"):
            with pytest.raises(StoreError, match="cannot write"):
                export_bundle(store, place)
        with pytest.raises(StoreError, match="there is no"):
            export_bundle(store, path, ["ffff"])
        with store.database.write() as connection:
            connection.exec_driver_sql("UPDATE cells SET summary = '{}'")
        with pytest.raises(StoreError, match="is damaged"):
            export_bundle(store, path, [analysis.id])
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.sqlite"]
