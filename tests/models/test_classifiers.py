"""A classifier that was drawn, not trained, never passes for a trained one; a backbone without classifier is built as such."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors import safe_open
from safetensors.torch import save_file
from timm.models._registry import _model_pretrained_cfgs

from tests.models.test_form import made, written
from toast_core.errors import ModelError
from toast_core.loading import load_model, save_model
from toast_core.models.info import get_info
from toast_core.pruning.execution.apply import apply_plan
from toast_core.pruning.planner import make_plan
from toast_core.schedule.schedule import Schedule

TAG = "test_vit.r160_in1k"


def cache(folder: Path, monkeypatch: pytest.MonkeyPatch, num_classes: int = 1000, without: str | None = None) -> None:
    """A hub cache as timm would have fetched it, with a test model of so many classes; its description says the same."""
    snapshot = folder / "models--timm--test_vit.r160_in1k" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (folder / "models--timm--test_vit.r160_in1k" / "refs").mkdir()
    (folder / "models--timm--test_vit.r160_in1k" / "refs" / "main").write_text("0" * 40)
    state = made(num_classes=num_classes, img_size=160).state_dict()
    save_file({key: value.clone() for key, value in state.items() if key != without}, snapshot / "model.safetensors")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setitem(_model_pretrained_cfgs, TAG, replace(timm.get_pretrained_cfg(TAG), num_classes=num_classes))


class TestOfTheHub:
    """timm leaves the classifier as it was drawn where the number of classes is another."""

    def test_its_own_classes_are_trained(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        cache(tmp_path, monkeypatch)
        info = get_info(load_model(TAG))
        assert (info.weights, info.random_classifier, info.shape.num_classes, info.notes) == ("timm pretrained", False, 1000, ())

    def test_other_classes_are_not(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        cache(tmp_path, monkeypatch)
        info = get_info(load_model(TAG, num_classes=7))
        assert (info.weights, info.random_classifier, info.shape.num_classes) == ("timm pretrained, classifier random", True, 7)

    def test_a_backbone_stays_one(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        cache(tmp_path, monkeypatch, num_classes=0)
        model = load_model(TAG)
        info = get_info(model)
        assert (info.weights, info.random_classifier, info.shape.num_classes, info.shape.head_macs) == ("timm pretrained", False, 0, 0)
        assert info.notes[0].startswith("timm's weights have no classifier, so the model is built without one: its features")
        assert model(torch.zeros(1, 3, 160, 160)).shape == (1, 64)

    def test_a_backbone_with_classes_says_so(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        cache(tmp_path, monkeypatch, num_classes=0)
        info = get_info(load_model(TAG, num_classes=1000))
        assert (info.weights, info.random_classifier) == ("timm pretrained, classifier random", True)

    def test_without_a_classifier_on_demand(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        cache(tmp_path, monkeypatch)
        info = get_info(load_model(TAG, num_classes=0))
        assert (info.weights, info.random_classifier, info.shape.num_classes) == ("timm pretrained", False, 0)

    @pytest.mark.parametrize("num_classes", [0, 7])
    @pytest.mark.parametrize("without", ["norm.weight", "blocks.3.attn.qkv.bias", "cls_token"])
    def test_any_other_random_tensor_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without: str, num_classes: int
    ) -> None:
        cache(tmp_path, monkeypatch, without=without)
        with pytest.raises(ModelError, match=f"the pretrained weights of {TAG} lack {without} and 0 more, which would stay random; use "):
            load_model(TAG, num_classes=num_classes)

    def test_weights_that_do_not_fit_are_not_said_to_be_missing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        cache(tmp_path, monkeypatch, without="norm.weight")
        with pytest.raises(ModelError, match=rf"the pretrained weights of {TAG} do not fit it \(Error.*\); use another tag"):
            load_model(TAG)

    def test_converted_channels_are_said(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        cache(tmp_path, monkeypatch)
        info = get_info(load_model(TAG, in_chans=1))
        assert info.notes == ("timm's conversion made the patch embedding for 3 channels one for 1",)
        assert not info.random_classifier

    def test_no_hook_stays_on_the_model(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        cache(tmp_path, monkeypatch)
        assert not any(module._load_state_dict_post_hooks for module in load_model(TAG).modules())


class TestOfAFile:
    """The same of a checkpoint."""

    def test_none_in_the_file_and_none_asked_for(self, tmp_path: Path) -> None:
        path = written(tmp_path, made(num_classes=0, img_size=160))
        info = get_info(load_model("test_vit", weights=path))
        assert (info.shape.num_classes, info.random_classifier) == (0, False)
        assert info.notes == ("the file has no classifier, so the model is built without one: its features are compared",)

    def test_none_in_the_file_and_some_asked_for(self, tmp_path: Path) -> None:
        path = written(tmp_path, made(num_classes=0, img_size=160))
        info = get_info(load_model("test_vit", weights=path, num_classes=6))
        assert info.random_classifier
        assert info.weights.startswith("w.safetensors sha256:") and info.weights.endswith(", classifier random")

    def test_one_in_the_file_and_none_asked_for(self, tmp_path: Path) -> None:
        info = get_info(load_model("test_vit", weights=written(tmp_path, made(img_size=160)), num_classes=0))
        assert (info.shape.num_classes, info.random_classifier) == (0, False)
        assert info.notes == ("the file's classifier of 5 classes is left out, as --num-classes 0 asks",)

    @pytest.mark.parametrize("key", ["norm.weight", "head.bias", "blocks.0.attn.qkv.weight", "cls_token"])
    def test_any_other_missing_tensor_is_refused(self, tmp_path: Path, key: str) -> None:
        state = {name: value for name, value in made(img_size=160).state_dict().items() if name != key}
        save_file(state, tmp_path / "w.safetensors")
        with pytest.raises(ModelError, match=r"does not fit test_vit: it (lacks|has)"):
            load_model("test_vit", weights=tmp_path / "w.safetensors", num_classes=5)

    def test_a_demo_without_classifier(self) -> None:
        model = load_model("demo_vit", num_classes=0)
        assert get_info(model).shape.num_classes == 0
        assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 96)

    def test_a_pruned_file_keeps_the_mark(self, tmp_path: Path) -> None:
        path = written(tmp_path, made(num_classes=0))
        for classes in (0, 4):
            model = load_model("test_vit", weights=path, num_classes=classes)
            save_model(apply_plan(model, make_plan(model, Schedule.uniform(6, vo=0.5))), tmp_path / "p.safetensors")
            info = get_info(load_model(weights=tmp_path / "p.safetensors"))
            assert (info.random_classifier, info.shape.num_classes) == (classes > 0, classes)
            assert ("classifier random" in info.weights) is (classes > 0)

    def test_the_header_says_nothing_of_a_trained_one(self, tmp_path: Path) -> None:
        model = load_model("test_vit", weights=written(tmp_path, made(img_size=160)))
        save_model(apply_plan(model, make_plan(model, Schedule.uniform(6, vo=0.5))), tmp_path / "p.safetensors")
        with safe_open(tmp_path / "p.safetensors", "pt") as file:
            assert "random_classifier" not in json.loads(file.metadata()["toast"])


@pytest.mark.parametrize("weights", ["none", "random"])
@pytest.mark.parametrize(("name", "classes"), [("test_vit", 0), ("demo_swin", 0)])
def test_any_model_can_be_built_without_classifier(name: str, classes: int, weights: str) -> None:
    shape = get_info(load_model(name, weights=weights, num_classes=classes)).shape
    assert (shape.num_classes, shape.head_macs) == (0, 0)


def test_a_backbones_name_still_counts_with_the_papers_classes() -> None:
    assert get_info(load_model("vit_base_patch16_224.mae", weights="none")).shape.num_classes == 1000
