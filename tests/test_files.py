"""Files are whole or not there, and errors are one line."""

import errno
import hashlib
import threading
from pathlib import Path

import pytest

from toast_core.errors import ModelError
from toast_core.files import cannot_write, check_can_write, first_line, sha256_of, write_bytes, write_text, write_whole


def fails_half_way(path: Path) -> None:
    """A writer whose disk is full after some bytes."""
    path.write_bytes(b"half")
    raise OSError(errno.ENOSPC, "No space left on device")


class TestWriting:
    def test_text_and_bytes(self, tmp_path: Path) -> None:
        write_text(tmp_path / "a.txt", "ü\n")
        write_bytes(tmp_path / "b", b"\x00")
        assert (tmp_path / "a.txt").read_bytes() == "ü\n".encode() and (tmp_path / "b").read_bytes() == b"\x00"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b"]

    def test_a_failure_leaves_the_old_file_and_nothing_else(self, tmp_path: Path) -> None:
        write_text(tmp_path / "a", "before")
        with pytest.raises(OSError, match="No space left"):
            write_whole(tmp_path / "a", fails_half_way)
        assert (tmp_path / "a").read_text() == "before" and [path.name for path in tmp_path.iterdir()] == ["a"]

    def test_what_is_half_written_has_another_name_in_the_same_folder(self, tmp_path: Path) -> None:
        seen: list[Path] = []
        write_whole(tmp_path / "a", lambda path: (seen.append(path), path.write_text("x")))
        assert seen[0].parent == tmp_path and seen[0].name.startswith(".a.") and seen[0].suffix == ".tmp"

    def test_threads_do_not_write_into_each_others_file(self, tmp_path: Path) -> None:
        seen: set[Path] = set()
        both = threading.Barrier(2)

        def write(text: str) -> None:
            def content(path: Path) -> None:
                path.write_text(text)
                both.wait(10)  # each has written before one puts its file in place
                seen.add(path)
                assert path.read_text() == text

            write_whole(tmp_path / "a", content)

        threads = [threading.Thread(target=write, args=(text,)) for text in ("one", "two")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(seen) == 2 and (tmp_path / "a").read_text() in ("one", "two") and [path.name for path in tmp_path.iterdir()] == ["a"]


class TestAsking:
    @pytest.mark.parametrize("name", ["", "none/m.bin"])
    def test_where_no_file_can_be_is_one_line(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(ModelError) as caught:
            check_can_write(tmp_path / name, ModelError)
        assert str(caught.value) == f"cannot write {tmp_path / name}; choose a file in a folder that exists and can be written"

    def test_where_one_can_be_nothing_is_said_or_written(self, tmp_path: Path) -> None:
        check_can_write(tmp_path / "m.bin", ModelError)
        assert not list(tmp_path.iterdir())


def test_the_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()


@pytest.mark.parametrize(
    ("text", "line"),
    [("one\ntwo", "one"), ("\n  \n two \nthree", "two"), ("", "ValueError"), (" \n", "ValueError"), ("x" * 200, "x" * 160)],
)
def test_the_first_line_of_an_error(text: str, line: str) -> None:
    assert first_line(ValueError(text)) == line


def test_a_failed_write_is_one_line() -> None:
    ends = "; choose a folder that can be written and has room"
    assert cannot_write(Path("m"), OSError(errno.ENOSPC, "No space left on device")) == f"cannot write m (No space left on device){ends}"
    assert cannot_write(Path("m"), ValueError("a\nb")) == f"cannot write m (a){ends}"
