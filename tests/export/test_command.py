"""`toast export`: one document or two lines, and one line for what is wrong."""

import json
from pathlib import Path

import pytest

from tests.support.exportable import RATIOS, compact_demo
from toast_core.cli import app as cli
from toast_core.export import open_exported, weights
from toast_core.loading import load_model, save_model
from toast_core.schedule.schedule import Schedule


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the command line in this process."""
    monkeypatch.setattr("sys.argv", ["toast", "export", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code


@pytest.fixture
def schedule(tmp_path: Path) -> Path:
    """A schedule for the demos' twelve blocks, channels chosen for each image."""
    path = tmp_path / "schedule.json"
    path.write_text(Schedule.uniform(12, selection="per_image", **RATIOS).to_json())
    return path


@pytest.fixture
def pruned(tmp_path: Path) -> Path:
    """A file from toast apply."""
    path = tmp_path / "pruned.safetensors"
    save_model(compact_demo(), path)
    return path


class TestExport:
    def test_a_schedule_becomes_a_file_and_one_document(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], schedule: Path, tmp_path: Path
    ) -> None:
        output = tmp_path / "out.safetensors"
        code = run(
            monkeypatch, "--model", "demo_vit", "--schedule", schedule, "--format", "safetensors", "-o", output, "--data", "fashion-mnist",
            "--images", 3, "--json",
        )
        report = json.loads(capsys.readouterr().out)
        assert code == 0
        assert (report["model"], report["execution"], report["selection"]) == ("demo_vit", "compact", "per_image")
        assert (report["format"], report["path"], report["data"], report["images"]) == ("safetensors", output.name, "fashion-mnist", 3)
        assert report["schedule_digest"] == load_model(weights=output).toast_info.schedule.digest()
        assert report["relative_difference"] == 0

    def test_a_file_from_toast_apply_needs_no_schedule_and_is_compared_on_random_images(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], pruned: Path, tmp_path: Path
    ) -> None:
        output = tmp_path / "again.safetensors"
        assert run(monkeypatch, "--weights", pruned, "--format", "safetensors", "-o", output, "--images", 2) == 0
        text = capsys.readouterr().out
        assert f"wrote {output}: demo_vit compact as safetensors" in text
        assert "opened and run again on 2 images (random): largest difference of a logit 0.0e+00 of the largest logit" in text
        assert open_exported(output)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["--format", "onnx", "-o", "m.onnx", "--opset", "9"], "opset 9 is not supported; choose one from 18 to 23"),
            (["--format", "tflite", "-o", "m.tflite"], "unknown format 'tflite'; choose from"),
            (["--format", "onnx", "-o", "m.pt2"], "output m.pt2 does not end in .onnx; name it m.onnx"),
            (["--format", "onnx", "-o", "none/m.onnx"], "cannot write none/m.onnx; choose a file in a folder that exists"),
            (["--format", "torch_export", "-o", "m.pt2"], "toast export needs a pruned model; pass --schedule FILE"),
            (["--format", "torch_export", "-o", "m.pt2", "--weights", "random"], "demo_vit is not pruned; apply a schedule before"),
            (["--format", "torch_export", "-o", "m.pt2", "--schedule", "three.json"], "3 blocks"),
        ],
    )
    def test_bad_input_is_one_line_and_no_file(
        self, options: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("three.json").write_text(Schedule.uniform(3, **RATIOS).to_json())
        assert run(monkeypatch, "--model", "demo_vit", *options) == 2
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err.count("\n") == 1
        assert words in told.err
        assert [path.name for path in tmp_path.iterdir()] == ["three.json"]

    def test_a_full_disk_is_one_line_and_no_file(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], pruned: Path, tmp_path: Path
    ) -> None:
        def full(model: object, path: Path) -> None:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(weights, "save_model", full)
        assert run(monkeypatch, "--weights", pruned, "--format", "safetensors", "-o", tmp_path / "out.safetensors") == 2
        assert "(No space left on device); choose a folder with room to write in" in capsys.readouterr().err
        assert [path.name for path in tmp_path.iterdir()] == [pruned.name]
