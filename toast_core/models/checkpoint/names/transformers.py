"""Hugging Face transformers' names, of its fourth and its fifth version: ViT, DeiT, MAE, DINOv2 (also with registers) and Swin."""

from toast_core.errors import ModelError
from toast_core.models.checkpoint.names.base import Conversion, Naming, Rule, Tensors, check_shape, renamed
from toast_core.models.checkpoint.names.timm import _with_registers

_VIT, _SWIN = "transformers' names for a ViT", "transformers' names for a Swin"
_PATCHES = "embeddings.patch_embeddings.projection.weight"
_BLOCK = r"(?:encoder\.layers?|layers)\.(\d+)\."
_KIND = r"(weight|bias)"


def _attention(block: str, letters: str) -> list[Rule]:
    """Query, key and value of both versions; `block` stands before them, `letters` is timm's block."""
    rules: list[Rule] = []
    for letter, word in (("q", "query"), ("k", "key"), ("v", "value")):
        names = rf"attention\.(?:attention\.{word}|self\.{word}|{letter}_proj)"
        rules.append((rf"{block}{names}\.{_KIND}", rf"{letters}attn.qkv.{letter}.{{kind}}"))
    return rules


def _block(block: str, letters: str, kind: str) -> list[Rule]:
    """What ViT and Swin share in a block; `kind` is the last group's number."""
    shared = [
        (rf"{block}attention\.(?:output\.dense|o_proj)\.{_KIND}", f"{letters}attn.proj.{{kind}}"),
        (rf"{block}(?:intermediate\.dense|mlp\.fc1|mlp\.weights_in)\.{_KIND}", f"{letters}mlp.fc1.{{kind}}"),
        (rf"{block}(?:output\.dense|mlp\.fc2|mlp\.weights_out)\.{_KIND}", f"{letters}mlp.fc2.{{kind}}"),
        (rf"{block}(?:layernorm_before|norm1)\.{_KIND}", f"{letters}norm1.{{kind}}"),
        (rf"{block}(?:layernorm_after|norm2)\.{_KIND}", f"{letters}norm2.{{kind}}"),
    ]
    return [(pattern, (name or "").replace("{kind}", kind)) for pattern, name in [*_attention(block, letters), *shared]]


VIT_RULES: tuple[Rule, ...] = (
    (r"embeddings\.cls_token", "cls_token"),
    (r"embeddings\.distillation_token", "dist_token"),
    (r"embeddings\.register_tokens", "register_tokens"),
    (r"embeddings\.position_embeddings", "pos_embed"),
    (r"embeddings\.mask_token|pooler\.dense\.(?:weight|bias)", None),
    (rf"embeddings\.patch_embeddings\.projection\.{_KIND}", r"patch_embed.proj.\1"),
    *_block(_BLOCK, r"blocks.\1.", r"\2"),
    (rf"{_BLOCK}layer_scale([12])\.lambda1", r"blocks.\1.ls\2.gamma"),
    (rf"layernorm\.{_KIND}", r"norm.\1"),
)
_STAGE = r"encoder\.layers\.(\d+)\.blocks\.(\d+)\."
SWIN_RULES: tuple[Rule, ...] = (
    (r".*\.relative_position_index|embeddings\.mask_token", None),
    (rf"embeddings\.patch_embeddings\.projection\.{_KIND}", r"patch_embed.proj.\1"),
    (rf"embeddings\.norm\.{_KIND}", r"patch_embed.norm.\1"),
    *_block(_STAGE, r"layers.\1.blocks.\2.", r"\3"),
    (
        rf"{_STAGE}attention\.(?:self|relative_position_bias)\.relative_position_bias_table",
        r"layers.\1.blocks.\2.attn.relative_position_bias_table",
    ),
    (r"encoder\.layers\.(\d+)\.downsample\.(reduction\.weight|norm\.weight|norm\.bias)", r"merge.\1.\2"),
    (rf"layernorm\.{_KIND}", r"norm.\1"),
)


def _vit(tensors: Tensors, heads: Tensors) -> Conversion:
    state, aside = renamed(tensors, VIT_RULES, _VIT)
    notes, other = [], ""
    if "register_tokens" in state:
        state = _with_registers(state)
    check_shape(state, "patch_embed.proj.weight", 4)
    width = len(state["patch_embed.proj.weight"])
    for old, new in (("classifier", "head"), ("cls_classifier", "head"), ("distillation_classifier", "head_dist")):
        for kind in ("weight", "bias"):
            if f"{old}.{kind}" in heads:
                state[f"{new}.{kind}"] = heads[f"{old}.{kind}"]
    weight = state.get("head.weight")
    if weight is not None and weight.ndim == 2 and weight.shape[1] == 2 * width:
        del state["head.weight"]
        state.pop("head.bias", None)
        other = f"has a classifier of {len(weight)} classes that reads class token and mean of the patches together, as timm's does not"
    elif "dist_token" in state and weight is not None and "head_dist.weight" not in state and "head.bias" in state:
        # timm's distilled model gives the mean of two heads: twice the one and nothing of the other is that one, to the last bit
        state |= {"head_dist.weight": weight * 0, "head_dist.bias": state["head.bias"] * 0}
        state |= {"head.weight": weight * 2, "head.bias": state["head.bias"] * 2}
        notes.append(
            "the classifier reads the class token alone: it was doubled and the distillation head is zero, as timm averages the two"
        )
    return Conversion(state, aside, tuple(notes), other)


def _swin(tensors: Tensors, heads: Tensors) -> Conversion:
    if any(name.endswith((".logit_scale", ".continuous_position_bias_mlp.0.weight")) for name in tensors):
        raise ModelError("these are transformers' names for a Swin-V2, which is not read; read are its names for Swin")
    state, aside = renamed(tensors, SWIN_RULES, _SWIN)
    merges = [name for name in state if name.startswith("merge.")]
    for name in merges:  # at a stage's end there, at the next one's start in timm
        _, stage, rest = name.split(".", 2)
        state[f"layers.{int(stage) + 1}.downsample.{rest}"] = state.pop(name)
    return Conversion(state | {f"head.fc.{name.rpartition('.')[2]}": value for name, value in heads.items()}, aside)


VIT = Naming(
    _VIT, _PATCHES, (rf"{_BLOCK}attention\.(attention\.query|q_proj)\.weight",), _vit, r"(cls_|distillation_)?classifier\.(weight|bias)"
)
SWIN = Naming(_SWIN, _PATCHES, (r"encoder\.layers\.0\.blocks\.0\.",), _swin, r"classifier\.(weight|bias)")
