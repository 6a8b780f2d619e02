"""The shelf: entries by key in a folder, checked as they are read, the least recently used gone first."""

import os
import time
from pathlib import Path

import pytest

from analysis_cache.shelf import Shelf

KEYS = [f"{number:064x}" for number in range(8)]


def test_entries_come_back_and_are_one_file_each(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "made" / "with the first")
    assert shelf.get(KEYS[0]) is None and KEYS[0] not in shelf and shelf.contents() == (0, 0)
    shelf.put(KEYS[0], b"one")
    shelf.put(KEYS[1], b"two")
    assert (shelf.get(KEYS[0]), Shelf(shelf.folder).get(KEYS[1]), KEYS[1] in shelf) == (b"one", b"two", True)
    assert shelf.contents()[0] == len(list(shelf.folder.iterdir())) == 2
    assert shelf.clear() == 2 and shelf.contents() == (0, 0)


def test_a_damaged_or_renamed_entry_is_absent_and_removed(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    harms = (lambda whole: whole[:-1]), (lambda whole: whole[:-1] + b"?"), (lambda whole: b""), (lambda whole: b"?" + whole[1:])
    for number, harm in enumerate(harms):
        shelf.put(KEYS[number], b"content")
        path = next(tmp_path.glob(f"{KEYS[number]}*"))
        path.write_bytes(harm(path.read_bytes()))
        assert shelf.get(KEYS[number]) is None and not path.exists()
    shelf.put(KEYS[5], b"content")
    next(tmp_path.glob(f"{KEYS[5]}*")).rename(tmp_path / f"{KEYS[6]}.fit")
    assert shelf.get(KEYS[6]) is None


def test_what_was_used_longest_ago_makes_room(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, limit=4000)
    for number, key in enumerate(KEYS[:4]):
        shelf.put(key, bytes(900))
        used = time.time() - 1000 + number
        os.utime(next(tmp_path.glob(f"{key}*")), (used, used))
    assert shelf.get(KEYS[0]) is not None  # used now
    shelf.put(KEYS[4], bytes(900))
    assert KEYS[0] in shelf and KEYS[4] in shelf and KEYS[1] not in shelf
    assert shelf.contents()[1] <= 4000


def test_what_killed_writers_left_is_swept_and_what_living_ones_write_is_not(tmp_path: Path) -> None:
    old, new = (tmp_path / f".{key}.fit.1-{number}.tmp" for number, key in enumerate(KEYS[:2]))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    Shelf(tmp_path).put(KEYS[2], b"x")
    assert not old.exists() and new.exists()


def test_a_folder_that_cannot_be_made_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    shelf = Shelf(tmp_path / "file" / "fits")
    shelf.put(KEYS[0], b"x")
    assert shelf.get(KEYS[0]) is None and shelf.contents() == (0, 0) and shelf.clear() == 0


def test_it_stands_beside_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("TOAST_STORE", raising=False)
    assert Shelf.beside(str(tmp_path / "mine.sqlite")).folder == tmp_path / "mine.fits"
    assert Shelf.beside(None).folder == tmp_path / "toast-studio" / "evidence.fits"
    assert Shelf.beside("postgresql+psycopg://user@host/db").folder == tmp_path / "toast-studio" / "evidence.fits"
    assert Shelf.beside("mysql://host/db") is None
