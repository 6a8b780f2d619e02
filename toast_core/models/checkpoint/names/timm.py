"""Names as timm has them, and as the papers' own code has them: DeiT, MAE, DINO, DINOv2, DINOv3, MoCo v3, Microsoft's Swin."""

import re

import torch

from toast_core.errors import ModelError
from toast_core.models.adapters import timm_modules
from toast_core.models.checkpoint.names.base import Conversion, Naming, Tensors, check_shape
from toast_core.models.checkpoint.numbers import COMPUTED

_CHUNKED = re.compile(r"blocks\.\d+\.(\d+\..+)")
_PRETRAINING = re.compile(r"mask_token|decoder_.*|decoder\..*|head\.(mlp|last_layer)\b.*")
_ROTARY = re.compile(r"(^|\.)rope|^storage_tokens$|\.(q_bias|bias_mask|gamma_1)$|\.mlp\.(w1|w2|fc1_g)\.|\.attn\.[qk]_proj\.")
_DINOV3_ASIDE = re.compile(r"mask_token|(projectors|local_cls_norm)\b.*|rope_embed\..*|.*\.bias_mask")
_DINOV3_NAMES = (
    (r"^storage_tokens$", "reg_token"), (r"\.ls([12])\.gamma$", r".gamma_\1"),
    (r"\.mlp\.w1\.", ".mlp.fc1_g."), (r"\.mlp\.w2\.", ".mlp.fc1_x."), (r"\.mlp\.w3\.", ".mlp.fc2."),
)
_STAGE = re.compile(r"layers\.(\d+)\.downsample\.(.+)")


def _convert(tensors: Tensors, heads: Tensors) -> Conversion:
    if any(re.match(r"layers\.\d+\.blocks\.\d+\.", name) for name in tensors):
        return _swin(tensors)
    if "storage_tokens" in tensors and "blocks.0.attn.qkv.weight" in tensors:
        return _dinov3(tensors)
    if any(_ROTARY.search(name) for name in tensors):
        return Conversion(tensors)  # timm's own conversion of these tells them apart by the names that would be taken away here
    if "blocks.0.attn.qkv.weight" in tensors or any(_CHUNKED.fullmatch(name) for name in tensors):
        return _vit(tensors, heads)
    return Conversion(tensors)  # of another family, which a package may have added: as it is


def _vit(tensors: Tensors, heads: Tensors) -> Conversion:
    tensors = {name: value for name, value in tensors.items() if not COMPUTED.fullmatch(name)}
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
        return Conversion(state, aside, tuple(notes), projection=True)
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


def _dinov3(tensors: Tensors) -> Conversion:
    """DINOv3 keeps a mask beside the bias of q, k and v, which takes k's away: timm has none of k, and of q and v in some models only."""
    aside = tuple(name for name in tensors if _DINOV3_ASIDE.fullmatch(name))
    state: Tensors = {}
    for name, value in tensors.items():
        if name in aside:
            continue
        if name.endswith(".attn.qkv.bias"):
            mask = tensors.get(f"{name}_mask")
            q, k, v = (value if mask is None else value * mask.to(value.dtype)).chunk(3)
            if mask is not None and bool((k != 0).any()):
                raise ModelError(f"{name} has a bias of k that its mask leaves, which timm's DINOv3 does not have; use a mask of 0 for k")
            if not bool(torch.isfinite(q).all() and torch.isfinite(v).all()):
                raise ModelError(f"{name} times its mask is not finite; use another checkpoint")
            stem = name.removesuffix("qkv.bias")
            state |= {f"{stem}q_bias": q.contiguous(), f"{stem}v_bias": v.contiguous()}
            continue
        for pattern, new in _DINOV3_NAMES:
            name = re.sub(pattern, new, name)
        state[name] = value
    return Conversion(state, aside, ("these are Meta's names for a DINOv3, read as timm's",))


def _swin(tensors: Tensors) -> Conversion:
    """Microsoft's code merges patches at a stage's end, timm at the next one's start; and it names the classifier `head`.

    Raises:
        ModelError: they are a Swin-V2's, which no adapter is for.
    """
    is_v2 = any(".cpb_mlp." in name or name.endswith((".attn.logit_scale", ".relative_coords_table")) for name in tensors)
    if is_v2 and "timm.models.swin_transformer_v2" not in timm_modules():  # which a package may add
        raise ModelError("these are timm's and Microsoft's names for a Swin-V2, which is not read; read are those for Swin")
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
