"""The form of a model as its tensors show it: patch, width, depth, windows and so on, of a file and of a named model alike."""

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

_BLOCK = re.compile(r"(?:blocks\.(\d+)|layers\.(\d+)\.blocks\.(\d+))\.")
_QV_BIAS = re.compile(r"blocks\.\d+\.attn\.[qv]_bias")
_TABLE = "attn.relative_position_bias_table"
_NAMES = {
    "patch": ("patch_embed.proj.weight",),
    "positions": ("pos_embed",),
    "registers": ("reg_token",),
    "class_token": ("cls_token",),
    "distillation": ("dist_token",),
    "q_norm": ("blocks.0.attn.q_norm.weight",),
    "hidden": ("blocks.0.mlp.fc1.weight", "blocks.0.mlp.fc1_g.weight", "blocks.0.mlp.w12.weight", "blocks.0.mlp.w1.weight"),
    "layer_scale": ("blocks.0.ls1.gamma", "blocks.0.gamma_1"),
    "qkv": ("blocks.0.attn.qkv.weight", "blocks.0.attn.q_proj.weight"),
    "qkv_bias": ("blocks.0.attn.qkv.bias", "blocks.0.attn.q_bias", "blocks.0.attn.q_proj.bias"),
    "fc_norm": ("fc_norm.weight",),
    "norm": ("norm.weight",),
    "classifier": ("head.weight", "head.fc.weight"),
}
# Of these a checkpoint and a model either agree or do not belong together; the order is that in which a refusal names them.
_FIXED = {
    "patch": "patches of {} pixels", "width": "width {}", "depth": "{} blocks", "stages": "stages of {} blocks",
    "hidden": "{} hidden units", "windows": "windows of {}", "heads": "{} heads", "head_norm": "norms of q and k over {}",
    "registers": "{} register tokens", "class_token": "{} class token", "distillation": "{} distillation token",
    "layer_scale": "{} layer scale", "qkv_bias": "{} bias of q, k and v",
}


@dataclass(frozen=True)
class Form:
    """What tensors show of a model; None where they do not show it.

    patch         height and width of a patch in pixels
    channels      of the pictures
    width, depth, hidden   D, blocks, and rows of the first block's fc1
    positions     rows of the position embedding, those of prefix tokens included
    windows       of a Swin: edge of every block's window in tokens, in order
    stages        of a Swin: blocks of every stage
    heads         of a Swin: of every block, in order; a ViT's tensors have the same shapes whatever its number of heads
    head_norm     size of a head where q and k are normalised
    registers     how many register tokens; class_token, distillation, layer_scale, qkv_bias: whether there are such
    pooled_norm   whether the last norm stands behind the pooling (`fc_norm`), as average pooling has it
    classes       outputs of the classifier; 0: there is none
    """

    patch: tuple[int, int] | None = None
    channels: int | None = None
    width: int | None = None
    depth: int | None = None
    hidden: int | None = None
    positions: int | None = None
    stages: tuple[int, ...] | None = None
    windows: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None
    head_norm: int | None = None
    registers: int | None = None
    class_token: bool | None = None
    distillation: bool | None = None
    layer_scale: bool | None = None
    qkv_bias: bool | None = None
    pooled_norm: bool | None = None
    classes: int | None = None

    def differences(self, other: "Form") -> list[tuple[str, str, str]]:
        """What is fixed and differs: (field, this form's in words, the other's), where both are known."""
        found = []
        for name in _FIXED:
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine is None or theirs is None or mine == theirs:
                continue
            row = name, _in_words(name, mine), _in_words(name, theirs)
            if row[1] != row[2]:  # heads of other stages: those are named already
                found.append(row)
        return found

    def in_words(self) -> str:
        """What tells models apart, where it is known, as one line."""
        known = {name: getattr(self, name) for name in ("patch", "width", "depth", "windows")}
        return ", ".join(_in_words(name, value) for name, value in known.items() if value is not None)


def form_of(state: Mapping[str, torch.Tensor]) -> Form:
    """Read the form off tensors in timm's names; empty where there is no patch embedding."""

    def first(part: str) -> torch.Tensor | None:
        return next((state[name] for name in _NAMES[part] if name in state), None)

    bare = _embedding(first("patch"), first("positions"))
    blocks = {match.groups() for key in state if (match := _BLOCK.match(key))}
    if bare.patch is None or not blocks:
        return bare
    tables = [state[key] for key in sorted((key for key in state if key.endswith(_TABLE)), key=_place)]
    tables = tables if all(table.ndim == 2 for table in tables) else []
    is_swin = any(key.startswith("layers.") for key in state)
    parts = ("registers", "q_norm", "hidden", "classifier")
    shape = {part: value.shape for part in parts if (value := first(part)) is not None and value.ndim}
    qkv, norm, pooled = first("qkv"), first("norm"), first("fc_norm")
    return replace(
        bare,
        depth=len(blocks),
        hidden=shape["hidden"][0] if "hidden" in shape else None,
        stages=tuple(Counter(stage for _, stage, _ in sorted(blocks, key=str) if stage is not None).values()) or None,
        windows=tuple((math.isqrt(len(table)) + 1) // 2 for table in tables) or None,
        heads=tuple(table.shape[1] for table in tables) or None,
        head_norm=shape["q_norm"][0] if "q_norm" in shape else None if is_swin or qkv is None else 0,
        registers=None if is_swin else shape["registers"][-2] if len(shape.get("registers", ())) > 1 else 0,
        class_token=None if is_swin else first("class_token") is not None,
        distillation=None if is_swin else first("distillation") is not None,
        layer_scale=None if qkv is None else first("layer_scale") is not None,
        qkv_bias=None if qkv is None or zero_biases(state) else first("qkv_bias") is not None,
        pooled_norm=None if (norm is None) == (pooled is None) else pooled is not None,
        classes=shape["classifier"][0] if len(shape.get("classifier", ())) == 2 else 0,
    )


def zero_biases(state: Mapping[str, torch.Tensor]) -> frozenset[str]:
    """The names of q's and v's own biases where all of them are zero, as distilled DINOv3s have them: a model without fits as well."""
    biases = {name: value for name, value in state.items() if _QV_BIAS.fullmatch(name)}
    if any(value.is_meta or bool((value != 0).any()) for value in biases.values()):
        return frozenset()
    return frozenset(biases)


def square_side(count: int) -> int | None:
    """The side of a square grid of so many patches; None where they make no square."""
    side = math.isqrt(count) if count > 0 else 0
    return side if side and side * side == count else None


def _embedding(patch: torch.Tensor | None, positions: torch.Tensor | None) -> Form:
    rows = positions.shape[-2] if positions is not None and positions.ndim in (2, 3) else None
    if patch is None or patch.ndim != 4:
        return Form()
    return Form(patch=(patch.shape[2], patch.shape[3]), channels=patch.shape[1], width=patch.shape[0], positions=rows)


def _place(key: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", key))


def _in_words(name: str, value: object) -> str:
    if isinstance(value, bool):
        return _FIXED[name].format("a" if value else "no")
    if isinstance(value, tuple):
        value = " x ".join(map(str, value)) if name == "patch" else "/".join(map(str, value if name == "stages" else dict.fromkeys(value)))
    return _FIXED[name].format(value)
