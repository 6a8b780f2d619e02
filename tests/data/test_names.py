"""Names that are no UTF-8, as old archives and foreign disks have them: read, and printable wherever they are said or kept."""

import io
import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.pictures import put, rename_to_bytes
from toast_core.cli.output import print_json
from toast_core.command import command_line
from toast_core.data.digest import images_digest
from toast_core.data.load import load_data
from toast_core.data.sources import open_source
from toast_core.errors import DataError
from toast_core.files import escape_what_cannot_be_printed, printable, printable_values, shell_word
from toast_core.loading import load_model
from toast_core.setup import Setup

RAW = "caf\udce9"  # the byte E9, as Python has it in a name


@pytest.mark.parametrize(("name", "said"), [
    ("plain", "plain"), ("caf\u00e9 \u65e5\u672c", "caf\u00e9 \u65e5\u672c"), (RAW, r"caf\xe9"),
    ("\ud800", r"\ud800"), ("a\nb\x1b[0m", r"a\x0ab\x1b[0m"), (Path("x") / RAW, r"x/caf\xe9"),
])
def test_printable(name: str | Path, said: str) -> None:
    assert printable(name) == said
    said.encode()


def folder(root: Path) -> Path:
    """A class folder and a file whose names are ISO-8859-1, and a pointer under such a name."""
    put(root / "d", ["a/1.png", "b/1.png", "b/2.png", "b/3.png"])
    (root / "d" / "b" / "3.png").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    rename_to_bytes(root / "d" / "b" / "3.png", b"pointer\xff.png")
    rename_to_bytes(root / "d" / "b" / "2.png", b"\xe9t\xe9.png")
    rename_to_bytes(root / "d" / "b", b"caf\xe9")
    return rename_to_bytes(root / "d", b"d\xfc")


def test_such_a_folder_is_read_and_every_text_of_it_is_printable(tmp_path: Path) -> None:
    source = open_source(folder(tmp_path))
    assert source.classes == ("a", r"caf\xe9") and source.labels.tolist() == [0, 1, 1, 1] and source.name == f"{tmp_path}/d\\xfc"
    data = load_data(tmp_path / "d\udcfc", load_model("demo_vit", "random", 2), order="sorted")
    assert next(data.batches(4)).labels.tolist() == [0, 1, 1]
    assert data.skipped == [f"{tmp_path}/d\\xfc/caf\\xe9/pointer\\xff.png"]
    json.dumps([source.classes, source.name, *data.notes(), *data.skipped], ensure_ascii=False).encode()
    data.index = data.index[:2]
    assert len(source.digest) == len(images_digest(data)) == 64


def test_two_names_of_other_bytes_have_other_digests(tmp_path: Path) -> None:
    digests = set()
    for name in (b"\xe9.png", b"\xe8.png"):
        root = put(tmp_path / str(name), ["a/1.png"])
        rename_to_bytes(root / "a" / "1.png", name)
        digests.add(open_source(root).digest)
    assert len(digests) == 2


def test_json_and_streams_escape_what_they_cannot_say(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    assert printable_values({RAW: [RAW, 1, None, {"x": ("a\nb", RAW)}]}) == {r"caf\xe9": [r"caf\xe9", 1, None, {"x": ["a\nb", r"caf\xe9"]}]}
    print_json({"data": RAW, "other": "\U0001f4e9"})
    assert json.loads(capsys.readouterr().out) == {"data": r"caf\xe9", "other": "\U0001f4e9"}
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "ascii"))
    escape_what_cannot_be_printed()
    print(RAW, "\u00e9", end="", flush=True)
    assert written.getvalue() == rb"caf\xe9 \xe9"


@pytest.mark.parametrize("word", [RAW, "a b", "it's \udce9 \\", "a\nb\udcff0", "plain"])
def test_a_command_line_is_printable_and_bash_reads_the_bytes_back(word: str) -> None:
    line = shell_word(word)
    assert printable(line) == line
    back = subprocess.run(["bash", "-c", f"printf %s {line}"], capture_output=True, check=True).stdout
    assert back == word.encode("utf-8", "surrogateescape")
    setup = Setup(model="demo_vit", data=RAW)
    assert r" --data $'caf\xe9' " in command_line("evaluate", setup)


@pytest.mark.parametrize("word", ["plain", "with blank", "quo'te", "caf\u00e9"])
def test_other_command_lines_stay_as_they_are(word: str) -> None:
    assert shell_word(word) == shlex.quote(word)


def test_nothing_of_a_set_changes_by_the_escapes(tmp_path: Path) -> None:
    source = open_source(put(tmp_path, ["a/1.png", "\u00e9/1.png"]))
    assert source.classes == ("a", "\u00e9") and np.array_equal(source.labels, [0, 1])


def test_two_classes_that_are_shown_alike_are_refused(tmp_path: Path) -> None:
    put(tmp_path, [r"\xe9/1.png", "x/1.png"])
    rename_to_bytes(tmp_path / "x", b"\xe9")
    with pytest.raises(DataError, match=r"has two classes that are both shown as \\xe9, as their bytes differ; rename one of them"):
        open_source(tmp_path)


def test_a_saved_data_set_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Setup(data="hfds-disk:d", calibration="hfds-disk:c").anchored().data == f"hfds-disk:{tmp_path}/d"
