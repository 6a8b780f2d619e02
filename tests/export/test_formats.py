"""What every format keeps, over the registry; families at test size where a format holds them without a name."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.export.models import compact_demo, compact_family, grey_noise
from tests.families import ALL, images_for
from toast_core.export import FORMATS, LARGEST_RELATIVE_DIFFERENCE, ExportRecord, export_model, open_exported
from toast_core.models.info import get_info

DYNAMIC = ("per_image", "per_batch")
SLOW = [pytest.param(name, marks=pytest.mark.slow) if name == "onnx" else name for name in FORMATS]
TRACED = [family.name for family in ALL]
CONVERTED = ("everything", "siglip_entry", "swin_odd_grid")  # norms, registers, pooling, padded and shifted windows


def exported(model: nn.Module, form: str, folder: Path, images: torch.Tensor) -> tuple[Path, ExportRecord]:
    """A file in a format, and its record."""
    path = folder / f"model{FORMATS[form].suffix}"
    return path, export_model(model, form, path, images)


def logits(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """What the model says."""
    with torch.inference_mode():
        return model(images)


def far(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference over the largest logit."""
    return float((found - expected).abs().max() / expected.abs().max())


class ExportContract:
    """Inherit, and give `written`: a model, its images, the file, its record."""

    def test_the_file_computes_the_same_at_any_batch_size(self, written: tuple) -> None:
        model, images, path, _ = written
        run = open_exported(path)
        for count in (1, 3, len(images)):
            assert far(run(images[:count]), logits(model, images[:count])) <= LARGEST_RELATIVE_DIFFERENCE

    def test_the_record_says_what_was_written(self, written: tuple) -> None:
        _, images, path, record = written
        assert (record.path, record.images) == (path.name, len(images))
        assert record.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert record.bytes == sum(part.stat().st_size for part in path.parent.iterdir())
        assert 0 <= record.relative_difference <= LARGEST_RELATIVE_DIFFERENCE

    def test_nothing_else_stays_in_the_folder(self, written: tuple) -> None:
        _, _, path, record = written
        beside = {"model.program.pt2"} if record.format == "loader" else set()
        assert {part.name for part in path.parent.iterdir()} == {path.name} | beside


class TestEveryFormat(ExportContract):
    """A demo in each format of the registry."""

    @pytest.fixture(scope="class", params=SLOW)
    def written(self, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple:
        model, images = compact_demo(), grey_noise(5)
        return model, images, *exported(model, request.param, tmp_path_factory.mktemp("export"), images)


class TestPrograms(ExportContract):
    """Every family as a torch.export program, which a loader also holds."""

    @pytest.fixture(scope="class", params=TRACED)
    def written(self, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple:
        model, images = compact_family(request.param), images_for(request.param)
        return model, images, *exported(model, "torch_export", tmp_path_factory.mktemp("export"), images)


@pytest.mark.slow
class TestOnnx(ExportContract):
    """The families that differ most, as ONNX graphs; benchmarks/exports.py takes all of them."""

    @pytest.fixture(scope="class", params=CONVERTED)
    def written(self, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple:
        model, images = compact_family(request.param), images_for(request.param)
        return model, images, *exported(model, "onnx", tmp_path_factory.mktemp("export"), images)


class TestDynamicSelection(ExportContract):
    """Selection in the forward, with other channels for other images, in what holds a stable sort: all formats do."""

    @pytest.fixture(
        scope="class",
        params=[
            *(pytest.param((form, selection), id=f"{form}-{selection}") for form in ("torch_export",) for selection in DYNAMIC),
            pytest.param(("onnx", "per_image"), id="onnx-per_image", marks=pytest.mark.slow),
            pytest.param(("onnx", "per_batch"), id="onnx-per_batch", marks=pytest.mark.slow),
        ],
    )
    def written(self, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple:
        form, selection = request.param
        model, images = compact_family("plain", selection), images_for("plain")
        return model, images, *exported(model, form, tmp_path_factory.mktemp("export"), images)


@pytest.fixture(scope="module")
def loader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo's loader."""
    return exported(compact_demo(), "loader", tmp_path_factory.mktemp("loader"), grey_noise(3))[0]


class TestLoader:
    """A file of a few lines."""

    def test_it_runs_without_toast_and_without_timm(self, loader: Path) -> None:
        code = (
            "import sys; sys.modules.update(dict.fromkeys(('toast_core', 'timm', 'safetensors', 'torchvision')))\n"
            "import torch; from model import load\n"
            "x = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(5))\n"
            "print(load()(x).flatten().tolist())"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=loader.parent, capture_output=True, text=True, env={"PYTHONPATH": ""})
        assert done.returncode == 0, done.stderr
        found = torch.tensor(json.loads(done.stdout)).reshape(3, 10)
        assert far(found, logits(compact_demo(), grey_noise(3))) < LARGEST_RELATIVE_DIFFERENCE

    def test_it_says_what_to_feed_it(self, loader: Path) -> None:
        text = loader.read_text()
        assert "(B, 1, 28, 28) float32 -> (B, 10)" in text
        assert "mean=(0.286,)" in text
        assert len(text.splitlines()) < 30

    def test_it_refuses_another_program(self, loader: Path, tmp_path: Path) -> None:
        (tmp_path / "model.py").write_text(loader.read_text())
        program = loader.with_suffix(".program.pt2").read_bytes()
        (tmp_path / "model.program.pt2").write_bytes(program + b" ")
        with pytest.raises(ValueError, match="is not the program that this loader was written with"):
            open_exported(tmp_path / "model.py")


class TestWhatIsInside:
    """A file says what it holds."""

    def test_a_program_names_model_schedule_and_transform(self, tmp_path: Path) -> None:
        path, _ = exported(compact_demo(), "torch_export", tmp_path, grey_noise(2))
        extra = {"toast": ""}
        torch.export.load(path, extra_files=extra)
        inside = json.loads(extra["toast"])
        assert (inside["name"], inside["execution"]) == ("demo_vit", "compact")
        assert inside["schedule_digest"] == get_info(compact_demo()).schedule.digest()
        assert "mean=(0.286,)" in inside["transform"]

    @pytest.mark.slow
    def test_a_graph_names_them_too_and_has_the_opset_asked_for(self, tmp_path: Path) -> None:
        import onnx

        path = tmp_path / "model.onnx"
        export_model(compact_family("plain"), "onnx", path, images_for("plain"), opset=20)
        graph = onnx.load(path)
        assert [entry.version for entry in graph.opset_import if not entry.domain] == [20]
        assert graph.graph.input[0].type.tensor_type.shape.dim[0].dim_param
        assert json.loads({entry.key: entry.value for entry in graph.metadata_props}["toast"])["execution"] == "compact"
