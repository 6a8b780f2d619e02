"""The names of other libraries become timm's: on renamed copies of tiny models, in the names that the libraries themselves gave."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from timm.models.deit import VisionTransformerDistilled
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer

from tests.support import renamed as forms
from tests.support.checkpoints import images_for, seeded, state_of
from tests.support.renamed import NAMES, State
from toast_core.errors import ModelError
from toast_core.models.checkpoint import read_checkpoint

VIT = {"img_size": 28, "patch_size": 14, "embed_dim": 16, "depth": 2, "num_heads": 2, "mlp_ratio": 2, "num_classes": 3}
SWIN = {"img_size": 28, "patch_size": 2, "embed_dim": 16, "depths": (2, 2), "num_heads": (2, 2), "window_size": 7, "num_classes": 3}
DINOV2 = VIT | {"init_values": 0.1, "num_classes": 0, "mlp_ratio": 4}
MODELS: dict[str, tuple[Callable[..., torch.nn.Module], dict, Callable[[State], State]]] = {
    "transformers-vit": (VisionTransformer, VIT, forms.as_transformers_vit),
    "transformers-vit-v5": (VisionTransformer, VIT, forms.as_later_transformers_vit),
    "transformers-deit": (VisionTransformerDistilled, VIT, lambda state: forms.as_transformers_vit(state, "deit.")),
    "transformers-swin": (SwinTransformer, SWIN, forms.as_transformers_swin),
    "transformers-dinov2": (VisionTransformer, DINOV2, forms.as_transformers_dinov2),
    "transformers-dinov2-registers": (VisionTransformer, DINOV2 | {"reg_tokens": 4, "no_embed_class": True}, forms.as_transformers_dinov2),
    "transformers-siglip": (
        VisionTransformer,
        VIT | {"class_token": False, "global_pool": "map", "num_classes": 0},
        forms.as_transformers_tower,
    ),
    "transformers-clip": (VisionTransformer, VIT | {"pre_norm": True}, forms.as_transformers_tower),
    "open-clip": (VisionTransformer, VIT | {"pre_norm": True, "mlp_ratio": 4}, forms.as_open_clip),
    "torchvision-vit": (VisionTransformer, VIT, forms.as_torchvision_vit),
    "torchvision-swin": (SwinTransformer, SWIN, forms.as_torchvision_swin),
    "facebook-dinov2": (VisionTransformer, DINOV2, forms.as_facebook_dinov2),
    "facebook-dinov2-registers": (VisionTransformer, DINOV2 | {"reg_tokens": 4, "no_embed_class": True}, forms.as_facebook_dinov2),
    "microsoft-swin": (SwinTransformer, SWIN, forms.as_microsoft_swin),
}


def tiny(key: str) -> torch.nn.Module:
    """A seeded tiny model; CLIP's projection, which stands in the classifier's place, has no bias."""
    build, options, _ = MODELS[key]
    model = seeded(build(**options))
    if "clip" in key:
        torch.nn.init.zeros_(model.head.bias)
    return model


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("key", MODELS)
def test_a_renamed_copy_has_the_same_logits(tmp_path: Path, key: str, prefix: str) -> None:
    original = tiny(key)
    torch.save({"state_dict": forms.prefixed(MODELS[key][2](state_of(original)), prefix)}, tmp_path / "w.pth")
    copy = MODELS[key][0](**MODELS[key][1]).eval()
    copy.load_state_dict(read_checkpoint(tmp_path / "w.pth").state)
    images = images_for(original)
    with torch.inference_mode():
        assert torch.allclose(copy(images), original(images), atol=1e-5)


@pytest.mark.parametrize("key", NAMES)
def test_the_copies_have_the_librarys_own_names(key: str) -> None:
    made = MODELS[key][2](state_of(tiny(key)))
    ours = {name for name in made if not name.startswith(("text", "logit", "token_embedding"))}
    theirs = {name for name in NAMES[key] if not re.match(r"(visual_projection|classifier)\.", name) or name in ours}
    if "dinov2" in key or "siglip" in key:
        theirs -= {name for name in theirs if name.startswith("classifier.")}
    assert ours == theirs


def test_a_classifier_that_reads_what_timms_does_not_is_left_and_said(tmp_path: Path) -> None:
    state = forms.as_transformers_dinov2(state_of(tiny("transformers-dinov2"))) | {
        "classifier.weight": torch.zeros(3, 32),
        "classifier.bias": torch.zeros(3),
    }
    torch.save(state, tmp_path / "w.bin")
    checkpoint = read_checkpoint(tmp_path / "w.bin")
    assert "head.weight" not in checkpoint.state and checkpoint.num_classes == 0
    assert checkpoint.other_head.startswith("has a classifier of 3 classes that reads class token and mean of the patches together")
    assert not any("no classifier" in note for note in checkpoint.notes)


def test_a_distilled_model_with_one_classifier_gives_that_ones_logits(tmp_path: Path) -> None:
    original = tiny("transformers-deit")
    state = forms.as_transformers_vit(state_of(original), "deit.")
    state = {name.replace("cls_classifier", "classifier"): value for name, value in state.items() if "distillation_classifier" not in name}
    torch.save(state, tmp_path / "w.bin")
    checkpoint, copy = read_checkpoint(tmp_path / "w.bin"), VisionTransformerDistilled(**VIT).eval()
    copy.load_state_dict(checkpoint.state)
    images = images_for(original)
    with torch.inference_mode():
        assert torch.equal(copy(images), original.head(original.forward_features(images)[:, 0]))
    assert any("doubled" in note for note in checkpoint.notes)


def test_decoders_and_heads_of_pretraining_are_left_and_said(tmp_path: Path) -> None:
    state = state_of(tiny("transformers-vit"))
    state |= {
        "mask_token": torch.zeros(1, 1, 16),
        "decoder_embed.weight": torch.zeros(2, 2),
        "decoder_blocks.0.norm1.weight": torch.zeros(2),
    }
    torch.save({"model": state}, tmp_path / "mae.pth")
    checkpoint = read_checkpoint(tmp_path / "mae.pth")
    assert checkpoint.state.keys() == state_of(tiny("transformers-vit")).keys()
    assert checkpoint.notes == ("left 3 tensors of pretraining aside, first mask_token",)


def test_a_name_that_no_rule_knows_is_refused_by_name(tmp_path: Path) -> None:
    state = forms.as_transformers_vit(state_of(tiny("transformers-vit"))) | {"vit.encoder.layer.0.gate": torch.zeros(16)}
    torch.save(state, tmp_path / "w.bin")
    with pytest.raises(ModelError, match=r"these are transformers' names for a ViT, but encoder.layer.0.gate belongs to another model"):
        read_checkpoint(tmp_path / "w.bin")


@pytest.mark.parametrize(
    ("key", "names", "whose"),
    [
        ("transformers-swin", ["swin.encoder.layers.0.blocks.0.attention.self.logit_scale"], "transformers"),
        ("microsoft-swin", ["layers.0.blocks.0.attn.logit_scale", "layers.0.blocks.0.attn.cpb_mlp.0.weight"], "timm's and Microsoft"),
        ("torchvision-swin", ["features.1.0.attn.logit_scale", "features.1.0.attn.cpb_mlp.0.weight"], "torchvision"),
    ],
)
def test_swin_v2_is_refused_by_its_name(tmp_path: Path, key: str, names: list[str], whose: str) -> None:
    torch.save(MODELS[key][2](state_of(tiny(key))) | {name: torch.zeros(2) for name in names}, tmp_path / "w.bin")
    with pytest.raises(ModelError, match=f"these are {whose}'s? names for a Swin-V2"):
        read_checkpoint(tmp_path / "w.bin")


@pytest.mark.parametrize(
    "more", ["rope_embed.periods", "blocks.0.mlp.w1.weight", "blocks.0.attn.q_bias", "blocks.0.gamma_1"]
)
def test_names_that_timm_itself_converts_are_left_to_it(tmp_path: Path, more: str) -> None:
    state = state_of(tiny("transformers-vit")) | {
        more: torch.zeros(16),
        "mask_token": torch.zeros(1, 16),
        "blocks.0.mlp.w3.weight": torch.zeros(2, 2),
    }
    torch.save(state, tmp_path / "w.pth")
    assert read_checkpoint(tmp_path / "w.pth").state.keys() == state.keys()


def test_a_stem_of_convolutions_is_refused_by_its_name(tmp_path: Path) -> None:
    state = MODELS["torchvision-vit"][2](state_of(tiny("torchvision-vit")))
    stem = {name: torch.zeros(2) for name in ("conv_proj.conv_bn_relu_0.0.weight", "conv_proj.conv_last.weight")}
    torch.save({name: value for name, value in state.items() if not name.startswith("conv_proj")} | stem, tmp_path / "w.pth")
    with pytest.raises(ModelError, match="names for a ViT whose patches several convolutions make"):
        read_checkpoint(tmp_path / "w.pth")
