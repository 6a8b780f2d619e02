"""What every format keeps, over the registry; families at test size where a format holds them without a name."""

import hashlib
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import nn

from tests.support.exportable import compact_demo, compact_family, grey_noise
from tests.support.families import ALL, images_for
from toast_core.errors import ExportError
from toast_core.export import FORMATS, LARGEST_RELATIVE_DIFFERENCE, ExportRecord, export_model, open_exported
from toast_core.models.info import get_info

# norms, registers and pooling, shifted and padded windows; benchmarks/exports.py takes every family
DIFFERENT = ("everything", "siglip_entry", "swin_odd_grid")
CASES = [
    ("safetensors", "demo_vit", "calibrated"),
    ("loader", "plain", "calibrated"),
    *(("torch_export", name, "calibrated") for name in DIFFERENT),
    *(("torch_export", "plain", selection) for selection in ("per_image", "per_batch")),
    *(("onnx", name, "calibrated") for name in DIFFERENT),
    ("onnx", "demo_swin", "calibrated"),
    *(("onnx", "plain", selection) for selection in ("per_image", "per_batch")),
]
QUICK = (CASES[0],)
RESULTS = Path(__file__).parents[2] / "benchmarks/results/exports.json"


@dataclass(frozen=True)
class Written:
    """A model, its images, the file, its record, and the file opened again."""

    model: nn.Module
    images: torch.Tensor
    path: Path
    record: ExportRecord
    run: Callable[[torch.Tensor], torch.Tensor]


def export(form: str, name: str, selection: str, folder: Path) -> Written:
    """A compact model in a format; only a demo has a name that a safetensors file can be built from."""
    model, images = (compact_demo(name), grey_noise(5)) if name.startswith("demo_") else (compact_family(name, selection), images_for(name))
    path = folder / f"model{FORMATS[form].suffix}"
    with mock.patch.object(sys, "dont_write_bytecode", False):  # as on a user's machine
        record = export_model(model, form, path, images)
        return Written(model, images, path, record, open_exported(path))


def logits(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """What the model says."""
    with torch.inference_mode():
        return model(images)


def far(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference over the largest logit."""
    return float((found - expected).abs().max() / expected.abs().max())


class ExportContract:
    """Inherit, and give `written`."""

    def test_the_file_computes_the_same_at_any_batch_size(self, written: Written) -> None:
        for count in (1, 3, len(written.images)):
            images = written.images[:count]
            assert far(written.run(images), logits(written.model, images)) <= LARGEST_RELATIVE_DIFFERENCE

    def test_the_record_says_what_was_written(self, written: Written) -> None:
        path, record = written.path, written.record
        assert (record.path, record.images) == (path.name, len(written.images))
        assert record.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert record.bytes == sum(part.stat().st_size for part in path.parent.iterdir())
        assert 0 <= record.relative_difference <= LARGEST_RELATIVE_DIFFERENCE

    def test_nothing_else_stays_in_the_folder(self, written: Written) -> None:
        beside = {"model.program.pt2"} if written.record.format == "loader" else set()
        assert {part.name for part in written.path.parent.iterdir()} == {written.path.name} | beside


class TestEveryFormat(ExportContract):
    """Each format of the registry, calibrated and, where it holds a program, with channels chosen in the forward."""

    @pytest.fixture(
        scope="class",
        params=[pytest.param(case, id="-".join(case), marks=[] if case in QUICK else [pytest.mark.export]) for case in CASES],
    )
    def written(self, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
        return export(*request.param, tmp_path_factory.mktemp("export"))


def test_every_format_is_under_the_contract() -> None:
    assert {form for form, _, _ in CASES} == set(FORMATS)


def test_what_was_measured_is_within_the_limit() -> None:
    measured = json.loads(RESULTS.read_text())
    assert measured["limit"] == LARGEST_RELATIVE_DIFFERENCE
    assert measured["rows"].keys() == {family.name for family in ALL} | {"demo_vit", "demo_swin"}
    for row in measured["rows"].values():
        assert row["images"] == 256
        assert max(row[form]["relative_difference"] for form in ("torch_export", "onnx")) <= LARGEST_RELATIVE_DIFFERENCE


@pytest.fixture(scope="module")
def loader(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """A loader and its program."""
    return export("loader", "plain", "calibrated", tmp_path_factory.mktemp("loader"))


@pytest.mark.export
class TestLoader:
    """A file of a few lines."""

    @pytest.mark.export
    def test_it_runs_without_toast_and_without_timm(self, loader: Written, tmp_path: Path) -> None:
        code = (
            "import sys; sys.modules.update(dict.fromkeys(('toast_core', 'timm', 'safetensors', 'torchvision')))\n"
            "import torch; from model import load\n"
            f"print(load()(torch.tensor({loader.images.tolist()})).tolist())"
        )
        script = tmp_path / "use.py"
        script.write_text(code)
        alone = {"PYTHONPATH": str(loader.path.parent)}
        done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, env=alone)
        assert done.returncode == 0, done.stderr
        assert far(torch.tensor(json.loads(done.stdout)), logits(loader.model, loader.images)) < LARGEST_RELATIVE_DIFFERENCE

    def test_it_says_what_to_feed_it(self, loader: Written) -> None:
        text = loader.path.read_text()
        assert "(B, 3, 32, 32) float32 -> (B, 7)" in text
        assert "mean=(" in text
        assert len(text.splitlines()) < 30

    def test_it_refuses_another_program(self, loader: Written, tmp_path: Path) -> None:
        (tmp_path / "model.py").write_text(loader.path.read_text())
        (tmp_path / "model.program.pt2").write_bytes(loader.path.with_suffix(".program.pt2").read_bytes())
        with zipfile.ZipFile(tmp_path / "model.program.pt2", "a") as archive:
            archive.writestr("archive/extra/more", "")
        with pytest.raises(ExportError, match="is not the program that this loader was written with"):
            open_exported(tmp_path / "model.py")

    def test_a_changed_loader_is_not_run(self, loader: Written, tmp_path: Path) -> None:
        path = tmp_path / "model.py"
        for text in (
            loader.path.read_text() + "\nraise SystemExit('ran')\n",
            loader.path.read_text().replace('"""', '"""; raise SystemExit("ran"); """', 1),
            "raise SystemExit('ran')\n" + loader.path.read_text(),
            "raise SystemExit('ran')\n",
        ):
            path.write_text(text)
            with pytest.raises(ExportError, match="is not a loader as toast export writes it, so it is not run; export the model again"):
                open_exported(path)


class TestWhatIsInside:
    """A file says what it holds."""

    def test_a_program_names_model_schedule_and_transform(self, loader: Written) -> None:
        with zipfile.ZipFile(loader.path.with_suffix(".program.pt2")) as archive:
            inside = json.loads(archive.read(next(name for name in archive.namelist() if name.endswith("extra/toast"))))
        assert inside["execution"] == "compact"
        assert inside["schedule_digest"] == get_info(loader.model).schedule.digest()
        assert "mean=(" in inside["transform"]

    def test_a_program_with_pickles_is_not_loaded(self, loader: Written, tmp_path: Path) -> None:
        path = tmp_path / "model.pt2"
        with zipfile.ZipFile(loader.path.with_suffix(".program.pt2")) as old, zipfile.ZipFile(path, "w") as new:
            for name in old.namelist():
                new.writestr(name, b"pickled" if name.endswith("sample_inputs/model.pt") else old.read(name))
        with pytest.raises(ExportError, match="holds pickled parts, which can run anything when they are loaded"):
            open_exported(path)

    @pytest.mark.export
    def test_a_graph_names_them_too_and_has_the_opset_asked_for(self, tmp_path: Path) -> None:
        import onnx

        path = tmp_path / "model.onnx"
        export_model(compact_family("plain"), "onnx", path, images_for("plain"), opset=20)
        graph = onnx.load(path)
        assert [entry.version for entry in graph.opset_import if not entry.domain] == [20]
        assert graph.graph.input[0].type.tensor_type.shape.dim[0].dim_param
        assert json.loads({entry.key: entry.value for entry in graph.metadata_props}["toast"])["execution"] == "compact"
