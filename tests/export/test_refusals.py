"""What cannot be exported says why in one line, and leaves no file."""

import copy
import errno
import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.support.exportable import compact_demo, grey_noise
from tests.support.families import images_for, shared_model
from toast_core.errors import ExportError, ModelError, ToastError
from toast_core.export import FORMATS, export_model, open_exported, weights, write
from toast_core.models.build import load_baseline


def refused(match: str, path: Path, form: str = "safetensors", model: nn.Module | None = None, opset: int | None = None) -> None:
    """Export, expect the message, and an untouched folder."""
    before = sorted(path.parent.iterdir()) if path.parent.is_dir() else []
    with pytest.raises(ToastError, match=match) as caught:
        export_model(model or compact_demo(), form, path, grey_noise(3), opset)
    assert "\n" not in str(caught.value)
    assert (sorted(path.parent.iterdir()) if path.parent.is_dir() else []) == before


class TestBadInput:
    """Asked before any work."""

    def test_an_unknown_format_lists_the_choices(self, tmp_path: Path) -> None:
        refused(r"unknown format 'tflite'; choose from safetensors, torch_export, onnx, loader", tmp_path / "m.tflite", "tflite")

    @pytest.mark.parametrize("form", FORMATS)
    def test_another_suffix_says_the_right_name(self, form: str, tmp_path: Path) -> None:
        refused(f"does not end in {FORMATS[form].suffix}; name it m{FORMATS[form].suffix}", tmp_path / "m.bin", form)

    @pytest.mark.parametrize("form", FORMATS)
    def test_a_folder_that_is_not_there(self, form: str, tmp_path: Path) -> None:
        refused("choose a file in a folder that exists and can be written", tmp_path / "none" / f"m{FORMATS[form].suffix}", form)

    def test_a_folder_in_the_files_place(self, tmp_path: Path) -> None:
        (tmp_path / "m.pt2").mkdir()
        refused("choose a file in a folder that exists and can be written", tmp_path / "m.pt2", "torch_export")

    @pytest.mark.parametrize("opset", [-1, 0, 17, 24, 99])
    def test_an_opset_that_is_not_supported(self, opset: int, tmp_path: Path) -> None:
        refused(f"opset {opset} is not supported; choose one from 18 to 23, or leave out --opset", tmp_path / "m.onnx", "onnx", opset=opset)

    @pytest.mark.parametrize("form", [name for name in FORMATS if name != "onnx"])
    def test_an_opset_for_another_format(self, form: str, tmp_path: Path) -> None:
        refused(f"--opset 18 is for onnx, not for {form}; leave it out", tmp_path / f"m{FORMATS[form].suffix}", form, opset=18)

    def test_a_missing_extra_says_how_to_install_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        real = importlib.util.find_spec
        monkeypatch.setattr("toast_core.export.onnx.find_spec", lambda name: None if name == "onnxruntime" else real(name))
        words = r"ONNX needs onnxruntime, not installed here; install the extra: pip install 'toast-studio\[onnx\]'"
        refused(words, tmp_path / "m.onnx", "onnx")

    def test_a_model_that_is_not_pruned(self, tmp_path: Path) -> None:
        baseline = load_baseline("demo_vit")
        refused("demo_vit is not pruned; apply a schedule before exporting it", tmp_path / "m.pt2", "torch_export", baseline)

    def test_a_model_in_another_dtype(self, tmp_path: Path) -> None:
        half = copy.deepcopy(compact_demo()).to(torch.bfloat16)
        words = "is torch.bfloat16 on cpu; exports are made in float32, on the CPU, in eval mode"
        refused(words, tmp_path / "m.pt2", "torch_export", half)

    def test_no_image_to_compare_on(self, tmp_path: Path) -> None:
        with pytest.raises(ExportError, match="there is no image to compare the export on; give at least one"):
            export_model(compact_demo(), "safetensors", tmp_path / "m.safetensors", grey_noise(0))

    def test_a_loader_that_python_cannot_import(self, tmp_path: Path) -> None:
        refused("'my-model' is no Python name; choose letters, digits and underscores", tmp_path / "my-model.py", "loader")


class TestFailures:
    """After the work has begun: nothing half-written, and what was there before stays."""

    def test_a_full_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "m.safetensors").write_bytes(b"before")

        def full(model: nn.Module, path: Path) -> None:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(weights, "save_model", full)
        refused(r"cannot write .*m.safetensors \(No space left on device\); choose a folder with room", tmp_path / "m.safetensors")
        assert (tmp_path / "m.safetensors").read_bytes() == b"before"

    def test_a_disk_that_fills_up_between_a_loader_and_its_program(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        real = Path.replace

        def fails_for_the_loader(self: Path, target: Path) -> Path:
            if self.suffix == ".py":
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(self, target)

        monkeypatch.setattr(Path, "replace", fails_for_the_loader)
        program = "toast_core.export.loader.TorchExportFormat.write"
        monkeypatch.setattr(program, lambda self, model, images, path, opset: path.write_bytes(b"."))
        monkeypatch.setattr("toast_core.export.loader.LoaderFormat.open", lambda self, path: compact_demo())
        refused("No space left on device", tmp_path / "m.py", "loader")

    @pytest.mark.parametrize("wrong", [1.001, float("nan")])
    def test_a_file_that_computes_something_else_is_not_kept(self, wrong: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(weights.WeightsFormat, "open", lambda self, path: lambda images: compact_demo()(images) * wrong)
        words = "the safetensors export differs from the model by .* of its largest logit, more than 1e-04, so it is not kept"
        refused(words, tmp_path / "m.safetensors")

    def test_a_file_that_cannot_be_run_is_not_kept(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fails(images: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no kernel\nsecond line")

        monkeypatch.setattr(weights.WeightsFormat, "open", lambda self, path: fails)
        refused(r"the export fails on a batch of 1 \(no kernel\); choose another --format", tmp_path / "m.safetensors")

    @pytest.mark.parametrize(
        ("form", "words"), [("torch_export", "cannot become a program: torch.export says"), ("onnx", "cannot become ONNX")]
    )
    def test_an_operation_that_a_format_cannot_hold(
        self, form: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails(*arguments: object, **options: object) -> None:
            raise RuntimeError("No ONNX function found for aten.strange")

        monkeypatch.setattr(torch.onnx if form == "onnx" else torch.export, "export", fails)
        monkeypatch.setattr("toast_core.export.onnx.trace", lambda model, images: None)
        refused(f"{words}.*aten.strange.*; choose --format", tmp_path / f"m{FORMATS[form].suffix}", form)


class TestOpening:
    """A file that is no export."""

    def test_another_suffix(self, tmp_path: Path) -> None:
        with pytest.raises(ExportError, match=r"is no export; its name must end in .safetensors, .pt2, .onnx, .py"):
            open_exported(tmp_path / "m.bin")

    def test_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(ExportError, match="is not there; name a file from toast export"):
            open_exported(tmp_path / "m.pt2")

    @pytest.mark.parametrize("form", FORMATS)
    def test_rubbish(self, form: str, tmp_path: Path) -> None:
        path = tmp_path / f"m{FORMATS[form].suffix}"
        path.write_bytes(b"\xff\x00 rubbish")
        with pytest.raises((ExportError, ModelError)) as caught:
            open_exported(path)
        assert "\n" not in str(caught.value)
        assert path.name in str(caught.value)


def test_one_batch_alone_and_then_the_rest_are_compared() -> None:
    sizes: list[int] = []
    model = shared_model("plain")

    def run(images: torch.Tensor) -> torch.Tensor:
        sizes.append(len(images))
        return model(images)

    assert write.relative_difference(model, run, images_for("plain", 40)) == 0
    assert sizes == [1, 32, 8]
