"""Everything that can be wrong with a SQLite store's place or file: one clear line, and the file as it was."""

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis_cache.errors import StoreError
from analysis_cache.replay import Replay
from analysis_cache.store import EvidenceStore
from tests.support.cells import fill, identity, outcomes, summary

ROOT = Path(__file__).parents[2]


def filled(path: Path, count: int = 3, images: int = 40) -> Path:
    """A closed store."""
    with EvidenceStore.open(path) as store:
        fill(store, count, images)
    return path


def refused(message: str, path: object, **options: object) -> None:
    """Opening it is an error of one line that names it."""
    with pytest.raises(StoreError, match=message) as caught:
        EvidenceStore.open(path, **options)
    assert "\n" not in str(caught.value) and str(path).removeprefix("sqlite:///").split("?")[0] in str(caught.value)


@pytest.mark.parametrize("content", [b"x", b"garbage " * 1000, b"SQLite format 3\x00" + b"\xff" * 5000, b"SQLite format 3\x00", b"SQLite"])
def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    refused("is no SQLite database|is damaged", path)
    assert path.read_bytes() == content and [entry.name for entry in tmp_path.iterdir()] == ["notes.txt"]


def test_the_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "places.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE places (url TEXT)")
    connection.close()
    before = path.read_bytes()
    refused("holds tables of another program", path)
    assert path.read_bytes() == before


def test_a_newer_file_is_left_byte_for_byte(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.sqlite")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE toast_schema SET version = 99")
    connection.close()
    before = path.read_bytes()
    refused("has version 99, this program reads up to 1", path)
    assert path.read_bytes() == before


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    (tmp_path / "a.sqlite").touch()
    filled(tmp_path / "a.sqlite")


def test_places_where_no_file_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    refused("cannot be used", tmp_path / "file" / "a.sqlite")
    refused("is a folder", tmp_path)
    refused("there is no store", tmp_path / "nowhere.sqlite", create=False)
    refused("there is no store", tmp_path / "nowhere.sqlite", read_only=True)
    (tmp_path / "b.zip").write_bytes(b"PK\x03\x04more")
    refused("is a bundle", tmp_path / "b.zip")
    assert not (tmp_path / "nowhere.sqlite").exists()


def test_a_read_only_file_can_be_read_and_not_written(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.sqlite")
    with EvidenceStore.open(f"sqlite:///file:{path}?mode=ro&uri=true") as store:
        assert store.verify().ok
        with pytest.raises(StoreError, match="cannot be written: the file or its folder is read-only"):
            store.put(identity(9), summary(), outcomes())


@pytest.mark.skipif(shutil.which("chattr") is None, reason="chattr is not there to make a folder read-only for root too")
def test_a_read_only_folder(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    path = filled(folder / "a.sqlite")
    if subprocess.run(["chattr", "-R", "+i", str(folder)], capture_output=True).returncode:
        pytest.skip("this file system or user cannot make a folder immutable")
    try:
        before = path.read_bytes()
        refused("cannot be opened|cannot be written", folder / "new.sqlite")
        with pytest.raises(StoreError, match=r"cannot be (opened|written)"):
            EvidenceStore.open(path).put(identity(9), summary(), outcomes())
        assert path.read_bytes() == before
        replay = Replay.open(path)
        assert len(replay.rows(replay.analyses()[0].id)) == 3
        replay.close()
    finally:
        subprocess.run(["chattr", "-R", "-i", str(folder)], check=True)
    with EvidenceStore.open(path) as store:
        assert store.verify().ok and store.verify().cells == 3


def test_a_full_store_keeps_what_it_has(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.sqlite", 3)
    with EvidenceStore.open(path) as store:
        with store.database._raw() as connection:
            connection.execute(f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0] + 4}")
        stored = 3
        with pytest.raises(StoreError, match="is full"):
            for number in range(3, 200):
                store.put(identity(number), summary(number), outcomes(number, 2000))
                stored += 1
        assert store.verify().ok and store.verify().cells == stored > 3
    with EvidenceStore.open(path) as store:
        assert store.put(identity(stored), summary(), outcomes(stored, 2000))


@pytest.mark.kill
def test_a_disk_that_fills_up(tmp_path: Path) -> None:
    # a mount of its own, seen by this child only and gone with it
    script = f"mount -t tmpfs -o size=2m none {tmp_path} && exec {sys.executable} -m tests.support.crash full {tmp_path}/a.sqlite"
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("unshare is not permitted here, so that no small disk can be mounted")
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], cwd=ROOT, capture_output=True, text=True)
    if "mount" in done.stderr and done.returncode:
        pytest.skip("mounting is not permitted here")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_lock_held_too_long(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.sqlite")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with EvidenceStore.open(path, timeout_s=0.1) as store:
        with pytest.raises(StoreError, match=r"stayed locked by another process for longer than 0\.1 s"):
            store.put(identity(9), summary(), outcomes())
        assert store.get(identity(0).key).summary == summary(0)
        other.execute("ROLLBACK")
        assert store.put(identity(9), summary(), outcomes())
    other.close()


def test_rows_of_impossible_types_are_named_and_removed(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.sqlite", 6)
    with sqlite3.connect(path) as connection:
        changes = ("summary = x'ff00'", "arrays = 'text'", "checksum = 5", "key = x'00ff'", "identity = CAST(x'ff' AS TEXT)")
        for number, change in enumerate(changes):
            connection.execute(f"UPDATE cells SET {change} WHERE key = ?", (identity(number).key,))
        connection.execute("UPDATE analyses SET cell_keys = 7, id = CAST(x'fe' AS TEXT)")
    connection.close()
    with EvidenceStore.open(path) as store:
        result = store.verify()
        assert len(result.problems) == 6 and all(problem.to_dict()["reason"] for problem in result.problems)
        assert store.list_analyses() == [] and [head.identity.detail["block"] for head in store.heads([identity(5).key])] == [5]
        assert len(store.remove_corrupt()) == 6 and store.verify().ok and store.verify().cells == 1


@settings(max_examples=25)
@given(st.data())
def test_damaged_pages_are_reported_and_never_crash(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = filled(tmp_path_factory.mktemp("damaged") / "a.sqlite", 8, 3000)
    content = bytearray(path.read_bytes())
    start = data.draw(st.integers(4096, len(content) - 1))
    length = data.draw(st.integers(1, 9000))
    content[start : start + length] = b"\xa5" * len(content[start : start + length])
    if data.draw(st.booleans()):
        del content[start:]
    path.write_bytes(content)
    try:
        with EvidenceStore.open(path) as store:
            result = store.verify()
            sound = store.heads(identity(number).key for number in range(8))
            assert result.problems or len(sound) == 8
            with EvidenceStore.open(path.with_name("saved.sqlite")) as saved:
                saved.merge(store)
                assert saved.verify().ok
    except StoreError as error:
        assert "\n" not in str(error)
