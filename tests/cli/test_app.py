"""Exit statuses and the one line: what a script can rely on, whatever goes wrong."""

from pathlib import Path

import pytest

from tests.support.commands import run_toast
from toast_core.workbench import Workbench

PRESET = "deit_tiny_patch16_224@0.9"


@pytest.mark.parametrize("words", [
    ("apply", "--model", "demo_vit", "--preset", PRESET), ("export", "--model", "demo_vit", "--preset", PRESET, "--format", "onnx"),
    ("tune", "--model", "demo_vit", "--calibration", "fashion-mnist:calibration", "--reduction", "0.4"),
    ("recover", "--model", "demo_vit", "--train", "fashion-mnist:calibration", "--preset", PRESET),
    ("certify", "--model", "demo_vit", "--data", "fashion-mnist", "--schedule", "none.json"),
], ids=lambda words: words[0])
@pytest.mark.parametrize(
    "output", [".", "/", "..", "", "missing/file", "x" * 300], ids=["here", "root", "above", "empty", "missing", "long"]
)
def test_what_no_file_can_be_is_refused_before_any_work(
    words: tuple[str, ...], output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, stdout, stderr = run_toast(*words, "-o", output)
    assert status == 2 and stdout == "" and stderr.count("\n") == 1 and "cannot write" in stderr, stderr
    assert list(tmp_path.iterdir()) == []


class TestUnforeseen:
    """An error of the program's own: status 70, one line, and the traceback in a file."""

    @pytest.fixture(autouse=True)
    def broken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def load(*_: object) -> None:
            raise ZeroDivisionError("by nothing")

        monkeypatch.setattr(Workbench, "load", load)

    def test_the_line_names_the_file_with_the_traceback(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        status, stdout, stderr = run_toast("evaluate", "--model", "demo_vit", "--data", "fashion-mnist")
        (log,) = (tmp_path / "state" / "toast-studio").iterdir()
        assert (status, stdout) == (70, "")
        assert stderr == (
            f"toast: an error that nobody foresaw (ZeroDivisionError: by nothing); the traceback is in {log}: please report it\n"
        )
        assert "in load" in log.read_text() and log.read_text().startswith("toast 'evaluate' '--model'")

    def test_where_no_file_can_be_written_it_goes_to_stderr(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "state").write_text("no folder")
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        status, _, stderr = run_toast("evaluate", "--model", "demo_vit", "--data", "fashion-mnist")
        assert status == 70 and "in load" in stderr and stderr.splitlines()[-1].endswith("the traceback is above: please report it")


@pytest.mark.parametrize(
    ("size", "says"),
    [
        ("64x32", "rectangular input such as 64x32 is not supported; write the side of a square"),
        ("32 x 64", "rectangular input such as 32 x 64 is not supported"), ("big", "'big' is no whole number"),
        ("", "'' is no whole number"),
        ("8x8x3", "'8x8x3' is no whole number"), ("-4", "img-size is -4; write a whole number of at least 1"),
    ],
)
def test_a_size_that_is_none(size: str, says: str) -> None:
    status, _, stderr = run_toast("flops", "--model", "demo_vit", "--img-size", size)
    assert status == 2 and says in stderr


def test_a_square_may_be_written_as_a_rectangle() -> None:
    assert run_toast("flops", "--model", "demo_vit", "--img-size", "28x28")[0] == 0
