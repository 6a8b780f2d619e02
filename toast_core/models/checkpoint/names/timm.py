"""Names as timm has them, and as the papers' own code has them: DeiT, MAE, DINO, DINOv2, MoCo v3, Microsoft's Swin."""

import re

import torch

from toast_core.errors import ModelError
from toast_core.models.checkpoint.names.base import Conversion, Naming, Tensors, check_shape
from toast_core.models.checkpoint.numbers import COMPUTED

_CHUNKED = re.compile(r"blocks\.\d+\.(\d+\..+)")
_PRETRAINING = re.compile(r"mask_token|decoder_.*|decoder\..*|head\.(mlp|last_layer)\b.*|head\.\d+\..*")
_STAGE = re.compile(r"layers\.(\d+)\.downsample\.(.+)")


def _convert(tensors: Tensors, heads: Tensors) -> Conversion:
    if any(re.match(r"layers\.\d+\.blocks\.\d+\.", name) for name in tensors):
        return _swin(tensors)
    if "blocks.0.attn.qkv.weight" in tensors or any(_CHUNKED.fullmatch(name) for name in tensors):
        return _vit(tensors, heads)
    return Conversion(tensors)  # of another family, which a package may have added: as it is


def _vit(tensors: Tensors, heads: Tensors) -> Conversion:
    aside = tuple(name for name in tensors if _PRETRAINING.fullmatch(name))
    notes = [f"left {len(aside)} tensors of pretraining aside, first {aside[0]}"] if aside else []
    state = {_of_block(name): value for name, value in tensors.items() if name not in aside}
    if len(state) + len(aside) != len(tensors):
        raise ModelError("two blocks of the file have the same number; use a whole checkpoint")
    if "register_tokens" in state:
        state = _with_registers(state)
    if "head.proj.weight" in heads and "head.weight" not in state:
        state["head.weight"] = heads["head.proj.weight"]
        state["head.bias"] = heads.get("head.proj.bias", torch.zeros(len(state["head.weight"])))
        notes.append(f"the head is the projection to CLIP's space of {len(state['head.weight'])} numbers, no classifier")
    return Conversion(state, aside, tuple(notes))


def _of_block(name: str) -> str:
    """DINOv2's names: blocks inside chunks, and the two layers of a gated feed-forward network."""
    match = _CHUNKED.fullmatch(name)
    name = f"blocks.{match.group(1)}" if match else name
    return re.sub(r"(blocks\.\d+\.mlp\.)w(12|3)\.", lambda found: found.group(1) + ("fc1." if found.group(2) == "12" else "fc2."), name)


def _with_registers(state: Tensors) -> Tensors:
    """DINOv2 adds a position to the class token and none to the registers; timm's models with registers add none to both."""
    check_shape(state, "pos_embed", 3)
    check_shape(state, "cls_token", 3)
    position = state["pos_embed"]
    state = {"reg_token" if name == "register_tokens" else name: value for name, value in state.items()}
    return state | {"cls_token": state["cls_token"] + position[:, :1], "pos_embed": position[:, 1:]}


def _swin(tensors: Tensors) -> Conversion:
    """Microsoft's code merges patches at a stage's end, timm at the next one's start; and it names the classifier `head`."""
    aside = tuple(name for name in tensors if COMPUTED.fullmatch(name) or name == "mask_token" or name.startswith("decoder."))
    ends = "layers.0.downsample.reduction.weight" in tensors
    state = {}
    for name, value in tensors.items():
        if name in aside:
            continue
        match = _STAGE.fullmatch(name) if ends else None
        name = f"layers.{int(match.group(1)) + 1}.downsample.{match.group(2)}" if match else name
        state[f"head.fc.{name[5:]}" if name in ("head.weight", "head.bias") else name] = value
    moved = state.keys() != tensors.keys() - set(aside)
    return Conversion(state, aside, ("these are Microsoft's names for a Swin, read as timm's",) if moved else ())


TIMM = Naming("timm's names", "patch_embed.proj.weight", (), _convert, r"head\.proj\.(weight|bias)")
