"""Every form that a model comes in gives the logits of the model that was saved, by the options that its row names."""

import shlex
from pathlib import Path

import pytest
import torch

from tests.support.checkpoints import FORMS, Form, images_for, named, state_of
from toast_core.loading import load_model
from toast_core.models.info import get_info
from toast_core.preprocessing import OWN, Preprocessing


def load(form: Form, place: Path, monkeypatch: pytest.MonkeyPatch) -> torch.nn.Module:
    """The model that the form's options name."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(place / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    words = shlex.split(form.options.format(place=place))
    options = {
        words[i].removeprefix("--").replace("-", "_"): words[i + 1]
        for i in range(len(words))
        if words[i].startswith("--") and words[i] != "--use-ema"
    }
    sizes = {"img_size": int(options["img_size"])} if "img_size" in options else {} if "demo" in form.model else {"img_size": 32}
    return load_model(options.get("model"), options.get("weights"), use_ema="--use-ema" in words, **sizes)


@pytest.mark.parametrize("key", FORMS)
def test_a_form_gives_the_logits_of_the_model_that_was_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    form = FORMS[key]
    model = named(form.model, num_classes=form.classes)
    if key.startswith("open-clip") and form.model != "test_vit":
        with torch.no_grad():
            model.head.bias.zero_()  # CLIP's projection has none
    loaded = load(form, form.write(tmp_path, state_of(model)), monkeypatch)
    images = images_for(model)
    with torch.inference_mode():
        assert torch.allclose(loaded(images), model(images), atol=1e-5)
    assert get_info(loaded).name == form.model
    assert not loaded.training


@pytest.mark.parametrize(
    "key", ["ddp", "compiled", "stacked", "lightning", "dino", "timm-training-ema", "transformers-vit", "torchvision-swin", "open-clip"]
)
def test_what_was_taken_off_chosen_or_renamed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    said = {
        "ddp": "took the prefix module.* off the names",
        "compiled": "took the prefix _orig_mod.*",
        "stacked": "took the prefix _orig_mod.module.backbone.*",
        "lightning": "left 2 tensors beside model.* aside, first val_accuracy.tp",
        "dino": "teacher, as DINO evaluates it",
        "timm-training-ema": "took the averaged (EMA) weights state_dict_ema of model_best.pth.tar: asked for",
        "transformers-vit": "these are transformers' names for a ViT: a ViT with 6 blocks of width 64, 16-pixel patches of 3 channels, 5 o",
        "torchvision-swin": "these are torchvision's names for a Swin: a Swin with 2-10 blocks of width 48",
        "open-clip": "no classifier",
    }
    form = FORMS[key]
    notes = get_info(load(form, form.write(tmp_path, state_of(named(form.model, num_classes=form.classes))), monkeypatch)).notes
    assert any(said[key].replace("*", "") in note.replace("*", "") for note in notes), notes


@pytest.mark.parametrize("key", ["local-dir", "folder", "hub", "transformers-folder"])
def test_a_config_says_classes_and_preprocessing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    form = FORMS[key]
    info = get_info(load(form, form.write(tmp_path, state_of(named(form.model, num_classes=form.classes))), monkeypatch))
    assert info.classes == ("ant", "bee", "cat", "dog", "eel")
    assert info.preprocessing == Preprocessing((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 0.8, "squash", "bilinear")
    assert ("hf-hub:someone/vit@000000000000" in info.weights) == (key == "hub")
    assert "model.safetensors sha256:" in info.weights


def test_without_a_config_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    form = FORMS["timm-safetensors"]
    info = get_info(load(form, form.write(tmp_path, state_of(named())), monkeypatch))
    assert (info.classes, info.preprocessing, info.notes) == (None, OWN, ())
    assert info.weights_file == (tmp_path / "model.safetensors").resolve().as_posix()


@pytest.mark.parametrize("key", ["ddp", "transformers-vit", "sharded", "plain-pickle"])
def test_only_a_file_with_the_models_own_names_is_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    form = FORMS[key]
    assert get_info(load(form, form.write(tmp_path, state_of(named())), monkeypatch)).weights_file is None
