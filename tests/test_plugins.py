"""The example package, end to end: what it adds is listed, chosen by name, written, opened again and refused like ours."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.support.exportable import RATIOS, compact_demo, grey_noise
from tests.support.families import shared_model
from tests.support.plugins import example_installed, installed
from toast_core.cli import app as cli
from toast_core.errors import ExportError, ModelError, ScheduleError
from toast_core.export import FORMATS, export_model, open_exported
from toast_core.loading import load_model
from toast_core.models.adapters import FAMILIES, adapter_for
from toast_core.models.counting import count_macs
from toast_core.models.info import get_info
from toast_core.pruning.execution.apply import apply_plan
from toast_core.pruning.planner import head_rows, make_plan
from toast_core.schedule.schedule import Schedule


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example package is installed, for one test."""
    for folder in example_installed(tmp_path / "site"):
        monkeypatch.syspath_prepend(folder)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run `toast export` in this process."""
    monkeypatch.setattr("sys.argv", ["toast", "export", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code


@pytest.mark.usefixtures("example")
class TestScore:
    def test_a_schedule_takes_it_and_a_plan_follows_it(self) -> None:
        model = shared_model("plain")
        blocks = adapter_for(model).blocks(model)
        schedule = Schedule.uniform(len(blocks), qk=0.5, vo=0.5, score="max_abs", coupling="q_only", selection="calibrated")
        plan = make_plan(model, schedule)
        for block, found in zip(blocks, plan.blocks, strict=True):
            q, _, v, _ = head_rows(adapter_for(model).parts(block))
            for rows, keep in ((q, found.qk.first), (v, found.vo.first)):
                largest = [[float(row.abs().max()) for row in head] for head in rows]
                ranked = [sorted(range(len(head)), key=lambda row, head=head: -head[row]) for head in largest]
                assert keep.tolist() == [sorted(order[: keep.shape[1]]) for order in ranked]

    def test_a_schedule_that_names_it_is_read_again(self) -> None:
        schedule = Schedule.uniform(2, qk=0.5, score="max_abs")
        assert Schedule.from_json(schedule.to_json()) == schedule

    def test_ours_stay_the_first_choice(self) -> None:
        with pytest.raises(ScheduleError, match=r"unknown score 'x'; choose from geometric_median, weiszfeld, l1, l2, max_abs$"):
            Schedule.uniform(2, score="x")


def test_without_the_package_its_score_is_unknown() -> None:
    with pytest.raises(ScheduleError, match=r"unknown score 'max_abs'; choose from geometric_median, weiszfeld, l1, l2$"):
        Schedule.uniform(2, score="max_abs")


@pytest.mark.usefixtures("example")
class TestFormat:
    def test_the_command_writes_it_and_the_file_computes_the_same(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        schedule, output = tmp_path / "schedule.json", tmp_path / "out.npz"
        schedule.write_text(Schedule.uniform(12, selection="per_image", score="max_abs", **RATIOS).to_json())
        options = ("--model", "demo_vit", "--schedule", schedule, "--images", 3, "--json")
        assert run(monkeypatch, *options, "--format", "npz", "-o", output) == 0
        report = json.loads(capsys.readouterr().out)
        assert (report["format"], report["path"], report["images"], report["relative_difference"]) == ("npz", "out.npz", 3, 0)
        assert open_exported(output)(grey_noise(2)).shape == (2, 10)

    def test_every_value_is_an_array(self, tmp_path: Path) -> None:
        import numpy as np

        model = compact_demo()
        export_model(model, "npz", tmp_path / "m.npz", grey_noise(3))
        with np.load(tmp_path / "m.npz", allow_pickle=False) as file:
            assert set(file.files) == {*model.state_dict(), "toast"}
            assert torch.equal(torch.from_numpy(file["head.weight"]), model.state_dict()["head.weight"])

    def test_rubbish_is_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "m.npz").write_bytes(b"rubbish")
        with pytest.raises(ExportError, match=r"m.npz is no export as NumPy arrays \(.*\); export it again$"):
            open_exported(tmp_path / "m.npz")


@pytest.mark.usefixtures("example")
class TestFamily:
    def test_its_models_are_built_pruned_and_counted_like_ours(self) -> None:
        model = load_model("small_vit", "random")
        info = get_info(model)
        assert (info.name, info.shape.family, info.shape.num_classes, len(info.shape.blocks)) == ("small_vit", "small_vit", 7, 3)
        schedule = Schedule.uniform(3, selection="per_image", **RATIOS)
        plan, images = make_plan(model, schedule), torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
        with torch.inference_mode():
            masked, compact = (apply_plan(model, plan, execution)(images) for execution in ("masked", "compact"))
        assert torch.allclose(masked, compact, rtol=1e-4, atol=1e-5)
        assert count_macs(model, schedule) < count_macs(model)

    def test_it_is_among_what_is_supported(self) -> None:
        supported = r"supported: vit_\* .*, swin_\*, swin_s3_\*, .*, small_vit, demo_vit, demo_swin$"
        with pytest.raises(ModelError, match=rf"it belongs to resnet; {supported}"):
            load_model("resnet50", "random")


class TestOtherFamilies:
    def test_without_its_package_it_is_a_stranger(self) -> None:
        with pytest.raises(ModelError, match=r"small_vit.*supported: vit_\* .*, swin_s3_\*, .*, demo_vit, demo_swin$"):
            load_model("small_vit", "random")

    def test_one_that_cannot_load_is_told_where_a_model_is_refused_and_breaks_no_other(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.syspath_prepend(installed(tmp_path, "gone", {FAMILIES.group: {"lost": "nobody_has_this:Adapter"}}))
        assert get_info(load_model("demo_vit", "random")).shape.family == "vit"
        with pytest.raises(ModelError) as caught:
            load_model("resnet50", "random")
        assert str(caught.value).endswith(
            "demo_vit, demo_swin; model family 'lost' cannot be loaded from gone (nobody_has_this:Adapter), entry point of "
            "toast_studio.families: ModuleNotFoundError: No module named 'nobody_has_this'; repair or uninstall gone"
        )

    def test_two_families_of_one_class_are_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        twin = {"other": "toast_core.models.adapters.vit:VitAdapter"}
        monkeypatch.syspath_prepend(installed(tmp_path, "twin", {FAMILIES.group: twin}))
        both = "vit of toast-studio .* and other of twin .*"
        with pytest.raises(ModelError, match=rf"demo_vit belongs to two families, {both}; uninstall one of the packages$"):
            load_model("demo_vit", "random")

    def test_one_without_its_parts_is_no_family(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.syspath_prepend(installed(tmp_path, "half", {FAMILIES.group: {"half": "fractions:Fraction"}}))
        missing = "it lacks family, model_class, timm_modules, names, .*, shape; see toast_core.models.adapters.base.Adapter"
        with pytest.raises(ModelError, match=f"TypeError: {missing}; repair or uninstall half$"):
            FAMILIES["half"]


class TestOtherPackages:
    """What somebody else's package does wrong stays with those who name it."""

    def test_a_format_without_an_open_is_no_format(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.syspath_prepend(installed(tmp_path, "half", {FORMATS.group: {"half": "fractions:Fraction"}}))
        with pytest.raises(ExportError) as caught:
            export_model(compact_demo(), "half", tmp_path / "m.half", grey_noise(1))
        assert str(caught.value) == (
            "format 'half' cannot be loaded from half (fractions:Fraction), entry point of toast_studio.export_formats: "
            "TypeError: it lacks suffix, takes_opset, check, write, open; a format has suffix, takes_opset, check, write, open; "
            "repair or uninstall half"
        )
        assert open_exported_of_ours(tmp_path)

    def test_two_formats_of_one_suffix_are_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.syspath_prepend(installed(tmp_path, "twin", {FORMATS.group: {"other": "toast_core.export.weights:WeightsFormat"}}))
        with pytest.raises(ExportError, match=r"may be of two formats, safetensors of toast-studio .* and other of twin .*; uninstall one"):
            open_exported_of_ours(tmp_path)


def open_exported_of_ours(folder: Path) -> object:
    """A file of ours, opened."""
    export_model(compact_demo(), "safetensors", folder / "m.safetensors", grey_noise(1))
    return open_exported(folder / "m.safetensors")


def test_the_help_lists_what_is_installed(tmp_path: Path) -> None:
    root, folders = Path(__file__).parents[1], example_installed(tmp_path)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (root, *folders))), "COLUMNS": "200"}
    code = "import sys; sys.argv = ['toast', 'export', '--help']\nfrom toast_core.cli.app import main\nmain()"
    told = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "safetensors, torch_export, onnx, loader, npz" in " ".join(told.stdout.split()), told.stderr
