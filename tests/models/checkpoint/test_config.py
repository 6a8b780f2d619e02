"""What a config.json says: timm's form, transformers' and open_clip's; and what contradicts it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.support.checkpoints import PROCESSOR, TIMM_CONFIG, TRANSFORMERS_CONFIG, folder_of, named, state_of
from tests.support.renamed import as_open_clip, as_transformers_vit
from toast_core.errors import ModelError
from toast_core.loading import load_model
from toast_core.models.checkpoint import fitting, read_checkpoint
from toast_core.models.info import get_info
from toast_core.preprocessing import OWN, Preprocessing


def folder(place: Path, config: dict, **beside: dict) -> Path:
    """A transformers folder of the seeded test_vit."""
    return folder_of(config, as_transformers_vit, **beside)(place, state_of(named()))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"num_attention_heads": 4}, "config.json says 4 heads, not 2 as test_vit has"),
        ({"hidden_act": "relu"}, "config.json says the activation relu, not gelu as test_vit has"),
        ({"hidden_act": "quick_gelu"}, "config.json says the activation quick_gelu, not gelu"),
    ],
)
def test_what_no_tensor_shows_must_agree(tmp_path: Path, change: dict, what: str) -> None:
    place = folder(tmp_path, TRANSFORMERS_CONFIG | change)
    with pytest.raises(ModelError, match=what):
        load_model("test_vit", weights=place)
    with pytest.raises(ModelError, match=r"no model is named, and .*; it holds a ViT with 6 blocks of width 64"):
        load_model(weights=place)


def test_small_differences_are_said(tmp_path: Path) -> None:
    place = folder(tmp_path, TRANSFORMERS_CONFIG | {"hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-12})
    notes = " | ".join(get_info(load_model("test_vit", weights=place)).notes)
    assert "the activation gelu_tanh, test_vit has gelu" in notes and "epsilon 1e-12, test_vit has 1e-06" in notes


def test_a_pooling_that_the_name_lacks_is_refused(tmp_path: Path) -> None:
    place = folder_of(TIMM_CONFIG | {"global_pool": "avg"})(tmp_path, state_of(named()))
    with pytest.raises(ModelError, match="the pooling avg, not token as test_vit has"):
        load_model(weights=place)


def test_an_option_of_timms_that_no_tensor_shows_is_refused_by_name(tmp_path: Path) -> None:
    place = folder_of(TIMM_CONFIG | {"model_args": {"act_layer": "relu"}})(tmp_path, state_of(named()))
    with pytest.raises(ModelError, match=r"config.json builds test_vit with act_layer='relu', which is not supported"):
        load_model(weights=place)


@pytest.mark.parametrize("config", [{"model_type": "bert"}, {"model_type": "beit"}, {"model_type": "swinv2"}])
def test_a_model_of_another_kind_is_refused_by_name(tmp_path: Path, config: dict) -> None:
    with pytest.raises(
        ModelError, match=f"describes a {config['model_type']} model of transformers, which is not read; read are vit, deit"
    ):
        read_checkpoint(folder(tmp_path, config))


@pytest.mark.parametrize(
    "text", ["{", "[1]", '{"architecture": "test_vit", "pretrained_cfg": {"mean": "no"}}', '{"model_type": "vit", "image_size": "big"}']
)
def test_a_damaged_config_is_one_line(tmp_path: Path, text: str) -> None:
    place = folder(tmp_path, {})
    (place / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match=r"config.json (is not JSON|is list|has a value)") as refusal:
        read_checkpoint(place)
    assert "\n" not in str(refusal.value)


def test_classes_that_do_not_count_up_are_left_and_said(tmp_path: Path) -> None:
    labels = {"id2label": {"0": "ant", "7": "bee"}}
    checkpoint = read_checkpoint(folder(tmp_path, TRANSFORMERS_CONFIG | labels))
    assert checkpoint.classes is None and any("not numbered 0, 1, 2" in note for note in checkpoint.notes)
    few = read_checkpoint(folder(tmp_path, TRANSFORMERS_CONFIG | {"id2label": {"0": "ant", "1": "bee"}}))
    assert few.classes is None and any("names 2 classes, model.safetensors holds 5" in note for note in few.notes)
    plain = {str(number): f"LABEL_{number}" for number in range(5)}
    assert read_checkpoint(folder(tmp_path, TRANSFORMERS_CONFIG | {"id2label": plain})).classes is None


@pytest.mark.parametrize(
    ("processor", "right"),
    [
        ({}, OWN),
        (PROCESSOR, Preprocessing((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 0.8, "squash", "bilinear")),
        (
            {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}, "do_center_crop": True, "resample": 3},
            Preprocessing(None, None, 0.8, "center", "bicubic"),
        ),
        ({"size": 32, "feature_extractor_type": "ViTFeatureExtractor"}, Preprocessing(None, None, 1.0, "squash")),
        (
            {"size": 40, "crop_size": 32, "do_center_crop": True, "feature_extractor_type": "CLIPFeatureExtractor"},
            Preprocessing(None, None, 0.8, "center"),
        ),
        ({"size": {"height": 32, "width": 32}, "do_normalize": False}, Preprocessing(None, None, 1.0, "squash")),
        (
            {"size": {"height": 32, "width": 32}, "image_mean": [127.5] * 3, "image_std": [127.5] * 3, "do_rescale": False},
            Preprocessing((0.5,) * 3, (0.5,) * 3, 1.0, "squash"),
        ),
    ],
    ids=["none", "deit", "clip", "old-vit", "old-clip", "plain", "not-rescaled"],
)
def test_a_processors_words_become_timms(tmp_path: Path, processor: dict[str, Any], right: Preprocessing) -> None:
    found = read_checkpoint(folder(tmp_path, TRANSFORMERS_CONFIG, preprocessor_config=processor)).preprocessing
    if processor.get("do_normalize") is False:
        right = Preprocessing((0.0,), (1.0,), right.crop_pct, right.crop_mode)
    assert found == right


def test_open_clips_config(tmp_path: Path) -> None:
    model = named("vit_xsmall_patch16_clip_224")
    vision = {"image_size": 32, "layers": len(model.blocks), "width": model.embed_dim, "head_width": 64, "patch_size": 16}
    config = {
        "model_cfg": {"embed_dim": 5, "vision_cfg": vision},
        "preprocess_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bicubic", "resize_mode": "squash"},
    }
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(as_open_clip(state_of(model)), tmp_path / "open_clip_model.safetensors")
    checkpoint = read_checkpoint(tmp_path)
    assert checkpoint.architecture == "vit_xsmall_patch16_clip_224"
    assert checkpoint.preprocessing == Preprocessing((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 1.0, "squash", "bicubic")


def test_a_config_beside_a_file_of_ones_own_name_is_left_and_said(tmp_path: Path) -> None:
    place = folder(tmp_path, TRANSFORMERS_CONFIG)
    torch.save(state_of(named()), place / "mine.pth")
    checkpoint = read_checkpoint(place / "mine.pth")
    assert checkpoint.architecture is None
    assert any("config.json beside mine.pth was not read; to read it, name the folder" in note for note in checkpoint.notes)
    assert read_checkpoint(place / "model.safetensors").architecture == "test_vit"


def test_a_name_that_is_asked_for_wins_over_the_configs_and_is_said(tmp_path: Path) -> None:
    place = folder_of(TIMM_CONFIG | {"architecture": "vit_tiny_patch16_224"})(tmp_path, state_of(named()))
    info = get_info(load_model("test_vit", weights=place))
    assert info.name == "test_vit" and "config.json names vit_tiny_patch16_224; test_vit was asked for and is built" in info.notes


@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "vit_small_patch14_reg4_dinov2", "swin_tiny_patch4_window7_224"]
)
def test_names_that_fit_are_found_by_shape(name: str) -> None:
    import timm

    with torch.device("meta"):
        state = timm.create_model(name, num_classes=7).state_dict()
    assert name in fitting(state) and name in fitting(state, img_size=224)[:3]


def test_the_transform_is_what_the_processor_does(tmp_path: Path) -> None:
    """Resized to 40 x 40 whatever the image's sides, then the inner 32 x 32, then normalised."""
    from toast_core.data.transform import transform_for

    model = load_model(weights=folder(tmp_path, TRANSFORMERS_CONFIG, preprocessor_config=PROCESSOR))
    picture = Image.effect_noise((70, 50), 60).convert("RGB")
    right = (
        torch.from_numpy(np.array(picture.resize((40, 40), Image.Resampling.BILINEAR))).permute(2, 0, 1)[:, 4:36, 4:36]
        / 255
    )
    right = (right - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) / torch.tensor([0.4, 0.5, 0.6])[:, None, None]
    assert torch.allclose(transform_for(model)(picture), right, atol=0.02)
    