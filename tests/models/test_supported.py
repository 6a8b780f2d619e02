"""Which models are taken, and that every other one is refused by name."""

import functools
import inspect
import re

import pytest
import timm
import torch
from timm.models._registry import _module_to_models
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from tests.support.families import CLASSES, images_for, shared_model, tiny_vit
from toast_core.errors import ModelError
from toast_core.loading import load_model
from toast_core.models.adapters import FAMILIES, adapter_for, supported, timm_modules
from toast_core.models.info import get_info

FAMILY_MODULES = ("vision_transformer", "deit", "swin_transformer", "eva")
SUPPORTED_TEXT = re.escape(f"supported: {supported()}")


def family_names() -> list[str]:
    """Every name that timm registers in the three family modules."""
    return sorted(name for module in FAMILY_MODULES for name in _module_to_models[module])


@functools.cache
def representatives() -> dict[str, list[str]]:
    """One name for each way an entry point sets up its model (numbers and texts aside), with the others that it stands for."""
    groups: dict[str, list[str]] = {}
    for name in family_names():
        body = inspect.getsource(timm.models.model_entrypoint(name)).partition("->")[2]
        body = re.sub(r'""".*?"""|#[^\n]*|\'[^\']*\'', "", body, flags=re.S)
        key = re.sub(r"\b[\d.e/-]+\b|\s+", "", body)
        groups.setdefault(key, []).append(name)
    return {
        min(names, key=lambda name: ("giga" in name, "giant" in name, "huge" in name, "large" in name, name)): names
        for names in groups.values()
    }


def test_timm_still_registers_its_names_there() -> None:
    assert timm_modules() == {f"timm.models.{module}" for module in FAMILY_MODULES}
    assert len(family_names()) > 150
    assert {"deit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "vit_base_patch16_224"} <= set(family_names())
    assert {name for names in representatives().values() for name in names} == set(family_names())


@pytest.mark.wide
@pytest.mark.parametrize("name", representatives())
def test_every_name_loads_or_is_refused_with_a_model_error(name: str) -> None:
    try:
        model = load_model(name, weights="none")
    except ModelError as error:
        assert str(error).startswith((f"{name} is not supported: ", f"{name} is a name that timm has retired; use "))
        assert str(error).endswith(f"supported: {supported()}")
    else:
        assert get_info(model).name == name
        assert adapter_for(model).model_class is type(model)
        assert get_info(model).shape.blocks


@pytest.mark.parametrize(
    "name",
    [
        "deit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "deit3_small_patch16_224",
        "vit_tiny_patch16_224.augreg_in21k", "vit_base_patch16_224.mae",
        "vit_base_patch16_clip_224",
        "vit_base_patch16_siglip_224", "vit_small_patch14_reg4_dinov2", "vit_small_patch14_dinov2", "vit_medium_patch16_reg4_gap_256",
        "flexivit_small",
        "eva02_base_patch14_224", "vit_small_patch16_dinov3", "vit_base_patch16_rope_224", "vit_pe_core_tiny_patch16_384",
        "swin_tiny_patch4_window7_224", "swin_s3_tiny_224", "vit_small_patch16_36x1_224", "demo_vit", "demo_swin",
    ],
)
def test_names_that_are_supported(name: str) -> None:
    model = load_model(name, weights="none")
    info = get_info(model)
    assert (info.name, info.weights, info.execution, info.schedule) == (name, "none", "baseline", None)
    assert next(model.parameters()).device.type == "meta"
    assert not model.training
    assert info.shape.num_classes == model.num_classes >= 10


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("eva02_base_patch16_clip_224", "block 0 normalises or gates its attention output"),
        ("eva02_enormous_patch14_clip_224", "block 0 is EvaBlockPostNorm with EvaAttention, not timm's EvaBlock"),
        ("vit_base_patch16_rope_mixed_224", "its rotary embedding is RotaryEmbeddingMixed, whose angles are not the same in every block"),
        ("vit_base_patch16_sapiens2", "in block 0 norm1 is RmsNorm, not an affine LayerNorm"),
        (
            "beit_base_patch16_224",
            "it belongs to beit, whose attention adds a relative position bias over all tokens, which the pruned attention has not",
        ),
        ("cait_xxs24_224", "it belongs to cait"),
        ("vit_relpos_small_patch16_224", "it belongs to vision_transformer_relpos"),
        ("vit_small_r26_s32_224", "it belongs to vision_transformer_hybrid"),
        (
            "swinv2_tiny_window8_256",
            "it belongs to swin_transformer_v2, whose norms stand behind attention and feed-forward network, so that fc1 and fc2 are not",
        ),
        ("swinv2_cr_tiny_224", "it belongs to swin_transformer_v2_cr, whose norms stand behind"),
        ("resnet50", "it belongs to resnet"),
        ("convnext_tiny", "it belongs to convnext"),
        ("vit_small_patch16_18x2_224", "block 0 is ParallelThingsBlock"),
        ("vit_base_patch16_xp_224", "block 0 is ParallelScalingBlock"),
        ("vit_base_patch16_rpn_224", "block 0 is ResPostBlock"),
        ("vit_dwee_patch16_reg1_gap_256", "block 0 is Block with DiffAttention, not timm's Block with Attention"),
        ("vit_giant_patch14_dinov2", "in block 0 its feed-forward network is GluMlp, not a plain fc1, activation, fc2"),
        ("beit3_base_patch16_224", "block 0 normalises or gates its attention output"),
        ("aimv2_large_patch14_224", "SwiGLU"),
    ],
)
def test_strangers_are_refused_by_name(name: str, reason: str) -> None:
    with pytest.raises(ModelError, match=f"^{name} is not supported: .*{re.escape(reason)}.*; {SUPPORTED_TEXT}$"):
        load_model(name, weights="none")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("deit_tiny_patch16_22", "deit_tiny_patch16_224"), ("swin_tiny_patch4_window_224", "swin_tiny_patch4_window7_224"),
        ("demo_vitt", "demo_vit"),
        ("Demo_swin", "demo_swin"), ("vit_base_patch16_223.mae", "vit_base_patch16_224"),
    ],
)
def test_unknown_names_list_what_is_near(name: str, near: str) -> None:
    with pytest.raises(ModelError, match=f"^unknown model '{name}'; did you mean .*{near}.*{SUPPORTED_TEXT}$"):
        load_model(name, weights="none")


@pytest.mark.parametrize("name", ["zzzzqqqq", "", ".", "../../etc/passwd"])
def test_unknown_names_list_what_is_supported(name: str) -> None:
    with pytest.raises(ModelError, match=f"^unknown model {name!r}; .*{SUPPORTED_TEXT}$"):
        load_model(name, weights="none")


@pytest.mark.parametrize("name", ["vit_base_patch16_224.no_such_tag", "demo_vit.tag", "vit_base_patch16_224."])
def test_unknown_tags_are_refused(name: str) -> None:
    with pytest.raises(ModelError, match="tag"):
        load_model(name, weights="none")


def test_a_missing_name_says_what_to_pass() -> None:
    with pytest.raises(ModelError, match="no model is named and no weights file names none; pass --model, for example --model demo_vit"):
        load_model()


@pytest.mark.parametrize("name", ["vit_base_patch16_224_in21k", "swin_base_patch4_window7_224_in22k", "deit3_base_patch16_224_in21ft1k"])
def test_a_retired_name_says_so(name: str) -> None:
    with pytest.raises(ModelError, match=f"^{name} is a name that timm has retired; use .*patch"):
        load_model(name, weights="none")


@pytest.mark.parametrize(
    ("argument", "value", "words"),
    [
        ("num_classes", -1, "num-classes is -1; write a whole number of at least 1, or 0 for a model without classifier"),
        ("img_size", 0, "img-size is 0; write a whole number of at least 1"), ("img_size", -1, "img-size is -1; write a whole"),
        ("in_chans", 0, "in-chans is 0; write 1 for grey or 3 for colour"), ("in_chans", 4, "in-chans is 4; write 1 for grey"),
        ("in_chans", 3, "demo_vit takes 1 channel, not 3; leave out --in-chans"),
    ],
)
def test_numbers_that_no_model_has_are_refused(argument: str, value: int, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        load_model("demo_vit", weights="random", **{argument: value})


@pytest.mark.parametrize(
    ("name", "size"), [("deit_tiny_patch16_224", 15), ("demo_vit", 3), ("swin_tiny_patch4_window7_224", 3), ("demo_swin", 1)]
)
def test_an_image_smaller_than_a_patch_is_refused(name: str, size: int) -> None:
    with pytest.raises(
        ModelError, match=rf"{name} cannot be built with img-size {size} .*; choose a multiple of its patch and window size"
    ):
        load_model(name, weights="none", img_size=size)


def test_other_sizes_and_classes_are_built() -> None:
    model = load_model("deit_tiny_patch16_224", weights="none", num_classes=5, img_size=96)
    shape = get_info(model).shape
    assert (shape.num_classes, shape.image_size, shape.patches) == (5, 96, 36)


def test_random_weights_follow_their_seed_and_leave_ambient_randomness_alone() -> None:
    state = torch.get_rng_state()
    first, second, other = (load_model("demo_vit", weights="random", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, second.state_dict()[key]) for key, value in first.state_dict().items())
    assert not torch.equal(first.patch_embed.proj.weight, other.patch_embed.proj.weight)
    assert get_info(other).weights == "random, seed 2"


class Stranger(VisionTransformer):
    """A subclass may override anything, so it is not taken for its parent."""


class OtherBlock(nn.Module):
    """A block of unknown build."""


def _changed(change: object) -> nn.Module:
    model = tiny_vit()
    change(model)
    return model


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: Stranger(img_size=32, patch_size=8, embed_dim=24, depth=1, num_heads=3), "its class is Stranger"),
        (lambda: nn.Linear(2, 2), "its class is Linear"),
        (lambda: _changed(lambda m: m.blocks.__setitem__(1, OtherBlock())), "block 1 is OtherBlock with NoneType"),
        (
            lambda: _changed(lambda m: setattr(m.blocks[2], "norm2", nn.BatchNorm1d(24))),
            "in block 2 norm2 is BatchNorm1d, not an affine LayerNorm",
        ),
        (
            lambda: _changed(lambda m: setattr(m.blocks[0], "norm1", nn.LayerNorm(24, elementwise_affine=False))),
            "in block 0 norm1 is LayerNorm, not an affine",
        ),
        (lambda: _changed(lambda m: setattr(m.blocks[0].attn, "q_norm", nn.RMSNorm(8))), "q_norm is RMSNorm, not a LayerNorm with a bias"),
        (lambda: _changed(lambda m: setattr(m.blocks[0].mlp, "norm", nn.LayerNorm(96))), "its feed-forward network is Mlp"),
        (lambda: _changed(lambda m: setattr(m.blocks[0], "ls1", nn.Linear(24, 24))), "ls1 is Linear, not LayerScale"),
        (lambda: _changed(lambda m: setattr(m.blocks[0], "drop_path2", nn.Linear(24, 24))), "drop_path2 is Linear, not DropPath"),
        (
            lambda: _changed(lambda m: setattr(m.patch_embed, "proj", nn.Identity())),
            "its patch embedding is PatchEmbed, not one strided convolution",
        ),
        (lambda: tiny_vit(scale_attn_norm=True), "block 0 normalises or gates its attention output"),
        (lambda: tiny_vit(scale_mlp_norm=True), "its feed-forward network is Mlp"),
        (
            lambda: SwinTransformer(
                img_size=32, patch_size=4, embed_dim=24, depths=(1,), num_heads=(3,), window_size=4, strict_img_size=False
            ),
            "strict_img_size=False",
        ),
    ],
)
def test_parts_that_pruning_does_not_know_are_refused(model: object, reason: str) -> None:
    with pytest.raises(ModelError, match=f"is not supported: .*{re.escape(reason)}.*; {SUPPORTED_TEXT}$"):
        adapter_for(model())


WALKED = {"vit": "everything", "swin": "swin", "deit_distilled": "distilled", "eva": "dinov3"}


@pytest.mark.parametrize("adapter", FAMILIES.values(), ids=FAMILIES)
def test_adapters_walk_their_model(adapter: object) -> None:
    """Embedding, the blocks one by one and the head are the model's own forward."""
    name = WALKED[adapter.family]
    model, x = shared_model(name), images_for(name, 2)
    assert adapter_for(model) is adapter
    assert adapter.refusal(model) == ""
    with torch.inference_mode():
        stream = adapter.embed(model, x)
        for index, block in enumerate(adapter.blocks(model)):
            stream = block(adapter.before_block(model, index, stream))
        assert torch.equal(adapter.head(model, stream), model(x))
    shape = adapter.shape(model, "tiny")
    assert (shape.name, shape.family, shape.num_classes, len(shape.blocks)) == ("tiny", adapter.family, CLASSES, len(adapter.blocks(model)))


@pytest.mark.parametrize(
    ("family", "prefix", "patches", "has_class_token"),
    [
        ("plain", 1, 16, True), ("registers", 4, 16, True), ("siglip", 0, 16, False), ("average_pooled", 1, 16, False),
        ("no_class_token", 0, 16, False), ("distilled", 2, 16, True),
        ("no_embed_class", 3, 16, True), ("swin", 0, 196, False), ("swin_padded_windows", 0, 100, False), ("swin_wide", 0, 96, False),
    ],
)
def test_layouts_say_where_the_tokens_stand(family: str, prefix: int, patches: int, has_class_token: bool) -> None:
    model = shared_model(family)
    layout = adapter_for(model).layout(model, 0)
    assert (layout.prefix, layout.patches, layout.has_class_token) == (prefix, patches, has_class_token)


def test_a_swins_second_stage_has_a_quarter_of_the_tokens() -> None:
    model = shared_model("swin")
    assert [adapter_for(model).layout(model, index).patches for index in range(4)] == [196, 196, 49, 49]
    assert [block.stage for block in get_info(model).shape.blocks] == [0, 0, 1, 1]


class TestDemoModels:
    """The two embedded architectures are what their docstrings say."""

    def test_demo_vit(self) -> None:
        shape = get_info(load_model("demo_vit", weights="none")).shape
        assert (len(shape.blocks), shape.patches, shape.image_size, shape.num_classes) == (12, 49, 28, 10)
        assert {(block.width, block.heads, block.head_dim, block.hidden, block.tokens) for block in shape.blocks} == {(96, 3, 32, 384, 50)}

    def test_demo_swin(self) -> None:
        shape = get_info(load_model("demo_swin", weights="none")).shape
        assert [(block.width, block.heads, block.head_dim) for block in shape.blocks] == [(48, 2, 24)] * 2 + [(96, 4, 24)] * 10
        assert {block.keys for block in shape.blocks} == {49}
        assert [block.tokens for block in shape.blocks] == [196] * 2 + [49] * 10
