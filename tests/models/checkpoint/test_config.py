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
        ({"num_attention_heads": 4}, "config.json says 4 heads, not 2"),
        ({"hidden_act": "relu"}, "config.json says the activation relu, not gelu"),
        ({"layer_norm_eps": 1e-3}, "config.json says the norms' epsilon 0.001, not 1e-06"),
    ],
)
def test_what_no_tensor_shows_must_agree(tmp_path: Path, change: dict, what: str) -> None:
    place = folder(tmp_path, TRANSFORMERS_CONFIG | change)
    with pytest.raises(ModelError, match=f"{what}.* as test_vit has; timm has no model of these shapes with it"):
        load_model("test_vit", weights=place)
    with pytest.raises(ModelError, match=r"no model is named, and .*; it holds a ViT with 6 blocks of width 64") as nameless:
        load_model(weights=place)
    assert f"test_vit has these shapes, but {what}" in str(nameless.value)


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
    assert info.name == "test_vit"
    assert "model.safetensors or its config.json names vit_tiny_patch16_224; test_vit was asked for and is built" in info.notes


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
    

def test_a_training_program_keeps_the_models_name_in_the_file(tmp_path: Path) -> None:
    from argparse import Namespace

    state = state_of(named())
    for number, beside in enumerate(({"arch": "test_vit"}, {"args": Namespace(model="test_vit.r160_in1k")})):
        torch.save({"state_dict": state, **beside}, tmp_path / f"{number}.pth")
        assert get_info(load_model(weights=tmp_path / f"{number}.pth", img_size=32)).name == "test_vit"
    torch.save({"state_dict": state, "arch": "resnet9000"}, tmp_path / "w.pth")
    assert read_checkpoint(tmp_path / "w.pth").architecture is None


@pytest.mark.parametrize(("change", "says"), [
    ({"hidden_size": 128}, "says hidden_size 128, the tensors of model.safetensors show 64"),
    ({"num_hidden_layers": 12}, "says num_hidden_layers 12, .* show 6"),
    ({"patch_size": [8, 8]}, "says patch_size 8, .* show 16"),
    ({"intermediate_size": 256}, "says intermediate_size 256, .* show 192"),
    ({"num_channels": 1}, "says num_channels 1, .* show 3"),
    ({"num_labels": 7}, "says num_labels 7, .* show 5"),
    ({"model_type": "swin", "num_heads": [3, 6]}, "says model_type a Swin, .* show a ViT"),
    ({"hidden_size": "64"}, "has a value that is not understood .hidden_size '64'."),
])
def test_sizes_that_are_not_the_tensors_are_refused(tmp_path: Path, change: dict, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        read_checkpoint(folder(tmp_path, TRANSFORMERS_CONFIG | change))


@pytest.mark.parametrize("classes", ["5", True, -5, 5.0])
def test_a_number_of_classes_is_a_whole_number(tmp_path: Path, classes: object) -> None:
    place = folder_of(TIMM_CONFIG | {"num_classes": classes})(tmp_path, state_of(named()))
    with pytest.raises(ModelError, match="has a value that is not understood"):
        read_checkpoint(place)


def test_what_is_read_off_the_tensors_is_not_said_to_be_the_configs(tmp_path: Path) -> None:
    notes = read_checkpoint(folder(tmp_path, TRANSFORMERS_CONFIG)).notes
    said = "the tensors are a ViT with 6 blocks of width 64, 16-pixel patches of 3 channels, 5 outputs: test_vit fits them and config.json"
    assert any(note.startswith(said) for note in notes) and not any("config.json (transformers, vit) describes" in note for note in notes)


def test_a_name_that_fits_is_advised(tmp_path: Path) -> None:
    model = named("vit_xsmall_patch16_clip_224")
    config = TRANSFORMERS_CONFIG | {"model_type": "clip_vision_model", "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
    sizes = {"hidden_size": 256, "num_hidden_layers": 10, "num_attention_heads": 4, "intermediate_size": len(model.blocks[0].mlp.fc1.bias)}
    place = folder_of(config | sizes, as_open_clip)(tmp_path, state_of(model))
    says = r"says the activation quick_gelu, not gelu as vit_xsmall_patch16_clip_224 has; (pass --model|timm)"
    with pytest.raises(ModelError, match=says):
        load_model("vit_xsmall_patch16_clip_224", weights=place)


def test_without_biases_the_closest_name_is_said_with_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toast_core.models.checkpoint.nearest._candidates", lambda file: ["test_vit", "test_vit2"])
    state = {name: value for name, value in state_of(named()).items() if not name.endswith("qkv.bias")}
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"no model is named.*closest: test_vit.*; test_vit\w* has a bias of q, k and v"):
        load_model(weights=tmp_path / "w.pth")


def test_epsilons_that_are_close_are_said_in_true_words(tmp_path: Path) -> None:
    notes = get_info(load_model("test_vit", weights=folder(tmp_path, TRANSFORMERS_CONFIG | {"layer_norm_eps": 1e-12}))).notes
    assert any("differs by a share of 5e-07 over the variance" in note for note in notes)
