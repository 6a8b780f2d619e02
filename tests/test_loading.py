"""Saved models: read back to the last bit, without the original weights, and refused when damaged."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from toast_core.errors import DeviceError, ModelError, ToastError
from toast_core.loading import HEADER_KEY, load_model, read_header, save_model
from toast_core.models.info import get_info
from toast_core.pruning.execution.apply import apply_plan
from toast_core.pruning.planner import make_plan
from toast_core.pruning.statistics import collect_statistics
from toast_core.schedule.execution import EXECUTIONS
from toast_core.schedule.schedule import SELECTIONS, Schedule

IMAGES = torch.randn(4, 1, 28, 28, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module", params=["demo_vit", "demo_swin"])
def baseline(request: pytest.FixtureRequest) -> nn.Module:
    """A demo architecture with random weights."""
    return load_model(request.param, weights="random", seed=3)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved compact demo_vit."""
    model = load_model("demo_vit", weights="random")
    path = tmp_path_factory.mktemp("saved") / "pruned.safetensors"
    save_model(apply_plan(model, make_plan(model, Schedule.uniform(12, qk=0.5, fc2=0.5))), path)
    return path


def rewrite(saved: Path, tmp_path: Path, header: str | None = None, drop: str = "", **values: object) -> Path:
    """A copy of the saved file with another header, or without a tensor."""
    with safe_open(saved, framework="pt") as file:
        old = json.loads(file.metadata()[HEADER_KEY])
        state = {key: file.get_tensor(key) for key in file.keys() if key != drop}  # noqa: SIM118 (no mapping)
    path = tmp_path / "edited.safetensors"
    save_file(state, path, {HEADER_KEY: json.dumps({**old, **values}) if header is None else header})
    return path


class TestRoundTrip:
    """What was saved is what runs."""

    @pytest.mark.parametrize("execution", EXECUTIONS)
    @pytest.mark.parametrize("selection", SELECTIONS)
    def test_logits_are_equal_to_the_last_bit(self, baseline: nn.Module, selection: str, execution: str, tmp_path: Path) -> None:
        schedule = Schedule.uniform(12, qk=0.5, vo=0.25, fc1=0.3, fc2=0.7, selection=selection, seed=4, token_fraction=0.5)
        statistics = collect_statistics(baseline, [IMAGES]) if selection == "calibrated" else None
        pruned = apply_plan(baseline, make_plan(baseline, schedule, statistics), execution)
        path = tmp_path / "model.safetensors"
        save_model(pruned, path)
        again = load_model(weights=path)
        with torch.inference_mode():
            assert torch.equal(again(IMAGES), pruned(IMAGES))
        info = get_info(again)
        assert (info.name, info.schedule, info.execution) == (get_info(baseline).name, schedule, execution)
        assert info.shape == get_info(baseline).shape
        assert info.weights.startswith("random, seed 3; model.safetensors sha256:")
        assert not again.training
        assert [item.name for item in tmp_path.iterdir()] == ["model.safetensors"]  # no temporary file is left

    def test_other_classes_and_sizes_survive(self, tmp_path: Path) -> None:
        model = load_model("demo_vit", weights="random", num_classes=4, img_size=20)
        pruned = apply_plan(model, make_plan(model, Schedule.uniform(12, fc2=0.5)))
        save_model(pruned, tmp_path / "m.safetensors")
        again = load_model(weights=tmp_path / "m.safetensors")
        with torch.inference_mode():
            assert torch.equal(again(IMAGES[:, :, :20, :20]), pruned(IMAGES[:, :, :20, :20]))
        assert again.num_classes == 4

    def test_a_baseline_schedule_can_be_saved(self, tmp_path: Path) -> None:
        model = load_model("demo_vit", weights="random")
        save_model(apply_plan(model, make_plan(model, Schedule.uniform(12))), tmp_path / "m.safetensors")
        with torch.inference_mode():
            assert torch.equal(load_model(weights=tmp_path / "m.safetensors")(IMAGES), model(IMAGES))

    def test_a_trained_model_keeps_its_trained_values(self, tmp_path: Path) -> None:
        model = load_model("demo_vit", weights="random")
        pruned = apply_plan(model, make_plan(model, Schedule.uniform(12, fc2=0.5, vo=0.5))).train()
        pruned(IMAGES).square().sum().backward()
        with torch.no_grad():
            for value in pruned.parameters():
                value -= 0.01 * value.grad
        save_model(pruned.eval(), tmp_path / "m.safetensors")
        with torch.inference_mode():
            assert torch.equal(load_model(weights=tmp_path / "m.safetensors")(IMAGES), pruned(IMAGES))

    def test_names_may_be_given_where_they_agree(self, saved: Path) -> None:
        assert load_model("demo_vit", weights=saved, num_classes=10, img_size=28).toast_info.execution == "compact"

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"name": "demo_swin"}, "holds a pruned model with model demo_vit, not demo_swin; leave out --model"),
            ({"num_classes": 5}, "holds a pruned model with num-classes 10, not 5; leave out --num-classes"),
            ({"img_size": 56}, "holds a pruned model with img-size 28, not 56; leave out --img-size"),
        ],
    )
    def test_arguments_that_contradict_the_file(self, saved: Path, arguments: dict, message: str) -> None:
        with pytest.raises(ModelError, match=message):
            load_model(weights=saved, **arguments)


class TestSavingIsRefused:
    """With the next step."""

    def test_a_baseline(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="demo_vit is not pruned; apply a plan before saving"):
            save_model(load_model("demo_vit", weights="random"), tmp_path / "m.safetensors")

    @pytest.mark.parametrize("name", ["m.pth", "m", "m.safetensors.bak"])
    def test_another_ending(self, saved: Path, tmp_path: Path, name: str) -> None:
        with pytest.raises(ModelError, match=r"does not end in .safetensors; name it m.*\.safetensors"):
            save_model(load_model(weights=saved), tmp_path / name)

    def test_a_folder_that_is_not_there(self, saved: Path, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match=r"cannot write .*m.safetensors"):
            save_model(load_model(weights=saved), tmp_path / "none" / "m.safetensors")

    def test_a_folder_in_the_files_place(self, saved: Path, tmp_path: Path) -> None:
        (tmp_path / "m.safetensors").mkdir()
        with pytest.raises(ModelError, match=r"cannot write .*m.safetensors"):
            save_model(load_model(weights=saved), tmp_path / "m.safetensors")
        assert [item.name for item in tmp_path.iterdir()] == ["m.safetensors"]

    def test_a_model_without_values(self, tmp_path: Path) -> None:
        model = load_model("demo_vit", weights="none")
        with pytest.raises(ToastError):
            save_model(apply_plan(model, make_plan(model, Schedule.uniform(12, fc2=0.5))), tmp_path / "m.safetensors")


class TestDamagedFiles:
    """A header that cannot be trusted is refused, whatever it says."""

    @pytest.mark.parametrize(
        "header", ["", "{", "[]", "5", "null", '"text"', "{}", '{"version": 1}', "[" * 100_000, '{"version": 1' + "0" * 5000 + "}"],
        ids=["empty", "open", "list", "number", "null", "text", "no_keys", "version_only", "deep", "long_number"],
    )
    def test_a_header_that_is_no_header(self, saved: Path, tmp_path: Path, header: str) -> None:
        with pytest.raises(ModelError, match="header"):
            load_model(weights=rewrite(saved, tmp_path, header))

    @pytest.mark.parametrize("version", [0, 3, "1", None, 1.5])
    def test_another_version(self, saved: Path, tmp_path: Path, version: object) -> None:
        with pytest.raises(ModelError, match=f"has header version {version!r}, this program reads 2; update the program"):
            load_model(weights=rewrite(saved, tmp_path, version=version))

    @pytest.mark.parametrize(
        "values",
        [
            {"execution": "dense"}, {"execution": None}, {"execution": []}, {"num_classes": "10"}, {"num_classes": None},
            {"img_size": 28.0},
            {"schedule": None}, {"schedule": []}, {"schedule": {}}, {"schedule": {"version": 2, "blocks": [{}]}},
            {"schedule": {"version": 1, "blocks": [{"fc2": 90}] * 12}},
        ],
        ids=str,
    )
    def test_values_that_are_none(self, saved: Path, tmp_path: Path, values: dict) -> None:
        with pytest.raises(ModelError, match=r"has a damaged header.*; write the file again with toast apply"):
            load_model(weights=rewrite(saved, tmp_path, **values))

    @pytest.mark.parametrize("name", [None, 5, [], {}, "", "resnet50", "no_such_model", "demo_vit.tag", "eva02_base_patch14_224"], ids=str)
    def test_names_of_no_supported_model(self, saved: Path, tmp_path: Path, name: object) -> None:
        with pytest.raises(ModelError):
            load_model(weights=rewrite(saved, tmp_path, name=name))

    @pytest.mark.parametrize("name", ["hf-hub:someone/model", "local-dir:/nowhere"])
    def test_a_header_cannot_name_a_place_to_fetch_from(
        self, saved: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import timm

        asked = []
        monkeypatch.setattr(
            timm, "create_model", lambda *args, **kwargs: asked.append(args) or (_ for _ in ()).throw(RuntimeError("fetched"))
        )
        with pytest.raises(ModelError):
            load_model(weights=rewrite(saved, tmp_path, name=name))
        assert not asked, "a name from a file reached timm's loader of remote models"

    @pytest.mark.parametrize(
        "values", [{"img_size": 0}, {"img_size": -28}, {"num_classes": 0}, {"num_classes": -5}, {"num_classes": True}], ids=str
    )
    def test_numbers_out_of_range(self, saved: Path, tmp_path: Path, values: dict) -> None:
        with pytest.raises(ModelError):
            load_model(weights=rewrite(saved, tmp_path, **values))

    @pytest.mark.parametrize(
        "schedule",
        [
            Schedule.uniform(3, fc2=0.5), Schedule.uniform(12, fc2=0.75), Schedule.uniform(12, fc2=0.5),
            Schedule.uniform(12, qk=0.5, fc2=0.5, selection="calibrated"),
            Schedule.uniform(12, qk=0.5, fc2=0.5, coupling="uncoupled"),
        ],
        ids=["length", "ratio", "site", "selection", "uncoupled"],
    )
    def test_a_schedule_that_is_not_the_files(self, saved: Path, tmp_path: Path, schedule: Schedule) -> None:
        with pytest.raises(ToastError):
            load_model(weights=rewrite(saved, tmp_path, schedule=schedule.to_dict()))

    def test_another_architecture(self, saved: Path, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match=r"does not match its own header: \d+ tensors differ, first .*; write the file again"):
            load_model(weights=rewrite(saved, tmp_path, name="demo_swin"))

    @pytest.mark.parametrize("drop", ["head.bias", "blocks.3.choose_hidden.patch_idx", "blocks.0.attn.qkv.weight"])
    def test_a_missing_tensor(self, saved: Path, tmp_path: Path, drop: str) -> None:
        with pytest.raises(ModelError, match=f"does not match its own header: 1 tensors differ, first {drop}; write the file again"):
            load_model(weights=rewrite(saved, tmp_path, drop=drop))

    @pytest.mark.parametrize("keep", [0, 8, 100, 5000, -1])
    def test_a_truncated_file(self, saved: Path, tmp_path: Path, keep: int) -> None:
        path = tmp_path / "cut.safetensors"
        path.write_bytes(saved.read_bytes()[:keep])
        with pytest.raises(ModelError, match=r"is not a complete safetensors file .*; copy it again"):
            load_model(weights=path)

    def test_indices_out_of_range(self, saved: Path, tmp_path: Path) -> None:
        with safe_open(saved, framework="pt") as file:
            header, state = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
        state["blocks.3.choose_hidden.patch_idx"] += 10_000
        save_file(state, tmp_path / "m.safetensors", header)
        with pytest.raises(ModelError):
            load_model(weights=tmp_path / "m.safetensors")

    def test_a_plain_file_has_no_header(self, tmp_path: Path) -> None:
        save_file({"x": torch.zeros(1)}, tmp_path / "plain.safetensors", {"format": "pt"})
        assert read_header(tmp_path / "plain.safetensors") is None
        with pytest.raises(ModelError, match=r"no model is named, and .* names none; it holds 1 tensors of no vision .*: pass --model"):
            load_model(weights=tmp_path / "plain.safetensors")


def test_the_dtype_is_kept(tmp_path: Path) -> None:
    model = load_model("demo_vit", weights="random")
    save_model(apply_plan(model, make_plan(model, Schedule.uniform(12, qk=0.5))).to(torch.bfloat16), tmp_path / "m.safetensors")
    assert next(load_model(weights=tmp_path / "m.safetensors").parameters()).dtype == torch.bfloat16


def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(DeviceError, match=r"device 'gpu' cannot be used on this machine .*; use cpu, or see toast doctor"):
        load_model("demo_vit", weights="random", device="gpu")
