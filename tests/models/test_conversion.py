"""What timm's own conversions drop: a bias that counts is compared, a layer that counts is refused, all else is said."""

import contextlib
import io
from pathlib import Path

import pytest
import timm
import torch

from tests.support.checkpoints import named, state_of
from tests.support.renamed import State, swapped
from toast_core.errors import ModelError
from toast_core.loading import load_model
from toast_core.models.checkpoint import read_checkpoint

BIASED, PLAIN = "vit_small_patch16_dinov3_qkvb", "vit_small_patch16_dinov3"


def as_meta_dinov3(state: State, k: float = 3.0, mask_of_k: float = 0.0) -> State:
    """DINOv3's own names: one bias of q, k and v, a mask that takes k's away, and tensors of pretraining beside."""
    found = dict(state)
    for name, q in state.items():
        if name.endswith(".q_bias"):
            stem = name.removesuffix("q_bias")
            del found[name], found[f"{stem}v_bias"]
            found[f"{stem}qkv.bias"] = torch.cat([q, torch.full_like(q, k), state[f"{stem}v_bias"]])
            found[f"{stem}qkv.bias_mask"] = torch.cat([torch.ones_like(q), torch.full_like(q, mask_of_k), torch.ones_like(q)])
    found |= {"rope_embed.periods": torch.ones(4), "mask_token": torch.zeros(1, 384), "local_cls_norm.weight": torch.ones(384)}
    return swapped(found, [(r"^reg_token$", "storage_tokens"), (r"gamma_([12])$", r"ls\1.gamma")])


@pytest.fixture(scope="module")
def dinov3() -> torch.nn.Module:
    """A seeded model with biases of q and v, without classifier."""
    return named(BIASED, num_classes=0, dynamic_img_size=False)


def loaded(name: str | None, path: Path) -> tuple[torch.nn.Module, str]:
    """The model, and what was printed while it was loaded."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        return load_model(name, path, img_size=32), out.getvalue()


def test_biases_of_q_and_v_are_kept_or_refused(tmp_path: Path, dinov3: torch.nn.Module) -> None:
    torch.save(as_meta_dinov3(state_of(dinov3)), tmp_path / "w.pth")
    model, printed = loaded(BIASED, tmp_path / "w.pth")
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.equal(model(images), dinov3(images))
    assert not printed and "these are Meta's names for a DINOv3, read as timm's" in model.toast_info.notes
    with pytest.raises(ModelError, match=f"it has a bias of q, k and v, the model no bias.*{BIASED}.* would fit"):
        loaded(PLAIN, tmp_path / "w.pth")


def test_zero_biases_fit_both_and_are_said(tmp_path: Path, dinov3: torch.nn.Module) -> None:
    state = {name: value * ("q_bias" not in name and "v_bias" not in name) for name, value in state_of(dinov3).items()}
    torch.save(as_meta_dinov3(state), tmp_path / "w.pth")
    model, printed = loaded(PLAIN, tmp_path / "w.pth")
    assert not printed
    assert any("left 24 biases of q and v aside, first blocks.0.attn.q_bias: all are zero" in note for note in model.toast_info.notes)
    other, _ = loaded(BIASED, tmp_path / "w.pth")
    images = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.allclose(model(images), other(images), atol=1e-5)


def test_a_bias_that_its_mask_leaves_to_k_is_refused(tmp_path: Path, dinov3: torch.nn.Module) -> None:
    torch.save(as_meta_dinov3(state_of(dinov3), mask_of_k=1.0), tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"blocks.0.attn.qkv.bias has a bias of k that its mask leaves"):
        read_checkpoint(tmp_path / "w.pth")


def test_a_layer_before_the_classifier_is_refused_and_without_one_said(tmp_path: Path) -> None:
    layer = {"pre_logits.fc.weight": torch.zeros(64, 64), "pre_logits.fc.bias": torch.zeros(64)}
    torch.save(state_of(named()) | layer, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"has the layer pre_logits.fc.weight before its classifier.*--num-classes 0"):
        load_model("test_vit", tmp_path / "w.pth", img_size=32)
    notes = load_model("test_vit", tmp_path / "w.pth", num_classes=0, img_size=32).toast_info.notes
    assert "timm's conversion left 2 tensors aside, first pre_logits.fc.weight" in notes


def test_whatever_else_a_conversion_drops_is_said_unless_nothing_is_lost(tmp_path: Path) -> None:
    state = state_of(named("vit_tiny_patch16_dinov3_qkvb")) | {
        "rope.periods": torch.ones(4), "rope.freqs_cos": torch.ones(4), "rope.gain": torch.ones(4), "rope.bias": torch.ones(4),
    }
    torch.save(state, tmp_path / "w.pth")
    notes = load_model("vit_tiny_patch16_dinov3_qkvb", tmp_path / "w.pth", img_size=32).toast_info.notes
    assert "timm's conversion left 2 tensors aside, first rope.gain" in notes


def test_timm_still_drops_what_these_tests_say() -> None:
    convert = timm.models.vision_transformer.checkpoint_filter_fn
    model = timm.create_model("test_vit")
    assert "pre_logits.fc.weight" not in convert(model.state_dict() | {"pre_logits.fc.weight": torch.zeros(2)}, model)
