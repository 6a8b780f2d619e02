"""A model's tensors under the names of other libraries, made from timm's by rules of their own.

`library_names.json` has the names that the libraries themselves gave, so that a test can tell whether these rules still make them.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import torch

State = dict[str, torch.Tensor]
NAMES = json.loads(Path(__file__).with_name("library_names.json").read_text(encoding="utf-8"))


def prefixed(state: Mapping[str, torch.Tensor], prefix: str) -> State:
    """The tensors under a prefix."""
    return {prefix + name: value for name, value in state.items()}


def swapped(state: State, rules: list[tuple[str, str]]) -> State:
    """The tensors under other names: every rule is a regular expression and its replacement, applied in turn."""
    renamed = {}
    for name, value in state.items():
        for pattern, new in rules:
            name = re.sub(pattern, new, name)
        renamed[name] = value.clone().contiguous()
    return renamed


def split_qkv(state: State) -> State:
    """The tensors with `attn.qkv` in three: `attn.q`, `attn.k` and `attn.v`."""
    parts: State = {}
    for name, value in state.items():
        thirds = zip("qkv", value.chunk(3), strict=True) if ".attn.qkv." in name else [("", value)]
        parts |= {name.replace("attn.qkv", f"attn.{letter}") if letter else name: part for letter, part in thirds}
    return parts


_HF_BLOCK = [
    (r"attn\.q\.", "attention.attention.query."),
    (r"attn\.k\.", "attention.attention.key."),
    (r"attn\.v\.", "attention.attention.value."),
    (r"attn\.proj\.", "attention.output.dense."),
]
_HF_LATER = [
    (r"encoder\.layer\.", "layers."),
    (r"attention\.attention\.query", "attention.q_proj"),
    (r"attention\.attention\.key", "attention.k_proj"),
    (r"attention\.attention\.value", "attention.v_proj"),
    (r"attention\.output\.dense", "attention.o_proj"),
    (r"intermediate\.dense", "mlp.fc1"),
    (r"(layers\.\d+\.)output\.dense", r"\1mlp.fc2"),
]


def as_transformers_vit(state: State, base: str = "vit.") -> State:
    """transformers' ViT for image classification, as its fourth version has it and both write it; DeiT with base `deit.`."""
    rules = [
        *_HF_BLOCK,
        (r"^(cls_token)$", rf"{base}embeddings.\1"),
        (r"^dist_token$", f"{base}embeddings.distillation_token"),
        (r"^pos_embed$", f"{base}embeddings.position_embeddings"),
        (r"^patch_embed\.proj\.", f"{base}embeddings.patch_embeddings.projection."),
        (r"mlp\.fc1\.", "intermediate.dense."),
        (r"mlp\.fc2\.", "output.dense."),
        (r"norm1\.", "layernorm_before."),
        (r"norm2\.", "layernorm_after."),
        (r"^blocks\.", f"{base}encoder.layer."),
        (r"^norm\.", f"{base}layernorm."),
        (r"^head\.", "cls_classifier." if "head_dist.weight" in state else "classifier."),
        (r"^head_dist\.", "distillation_classifier."),
    ]
    return swapped(split_qkv(state), rules)


def as_later_transformers_vit(state: State) -> State:
    """The same with the module names of transformers' fifth version."""
    return swapped(as_transformers_vit(state), _HF_LATER)


def as_transformers_dinov2(state: State) -> State:
    """transformers' DINOv2, with registers where the model has some: there the class token has a position of its own."""
    state = dict(state)
    if "reg_token" in state:
        position = state["cls_token"] * 0.5
        state["cls_token"] = state["cls_token"] - position
        state["pos_embed"] = torch.cat([position, state["pos_embed"]], 1)
    state["mask_token"] = torch.zeros(1, state["cls_token"].shape[-1])
    base = "dinov2_with_registers." if "reg_token" in state else "dinov2."
    rules = [
        *_HF_BLOCK,
        (r"^(cls|mask)_token$", rf"{base}embeddings.\1_token"),
        (r"^reg_token$", f"{base}embeddings.register_tokens"),
        (r"^pos_embed$", f"{base}embeddings.position_embeddings"),
        (r"^patch_embed\.proj\.", f"{base}embeddings.patch_embeddings.projection."),
        (r"ls([12])\.gamma", r"layer_scale\1.lambda1"),
        (r"^blocks\.", f"{base}encoder.layer."),
        (r"^norm\.", f"{base}layernorm."),
    ]
    return swapped(split_qkv(state), rules)


def as_facebook_dinov2(state: State) -> State:
    """DINOv2's own names: registers, and blocks inside chunks as its training saves them."""
    state = dict(state)
    if "reg_token" in state:
        position = state["cls_token"] * 0.5
        state["cls_token"] = state["cls_token"] - position
        state["pos_embed"] = torch.cat([position, state["pos_embed"]], 1)
        state["register_tokens"] = state.pop("reg_token")
    state["mask_token"] = torch.zeros(1, state["cls_token"].shape[-1])
    return swapped(state, [(r"^blocks\.(\d+)\.", r"blocks.0.\1.")])


def _stages_end(state: State) -> State:
    """Patch merging at a stage's end, where it is at the next one's start in timm."""
    return {
        re.sub(r"layers\.(\d+)\.downsample", lambda found: f"layers.{int(found[1]) - 1}.downsample", name): value
        for name, value in state.items()
    }


def as_transformers_swin(state: State) -> State:
    """transformers' Swin for image classification."""
    rules = [
        (r"attn\.q\.", "attention.self.query."),
        (r"attn\.k\.", "attention.self.key."),
        (r"attn\.v\.", "attention.self.value."),
        (r"attn\.proj\.", "attention.output.dense."),
        (r"attn\.relative", "attention.self.relative"),
        (r"mlp\.fc1\.", "intermediate.dense."),
        (r"mlp\.fc2\.", "output.dense."),
        (r"blocks\.(\d+)\.norm1\.", r"blocks.\1.layernorm_before."),
        (r"blocks\.(\d+)\.norm2\.", r"blocks.\1.layernorm_after."),
        (r"^layers\.", "swin.encoder.layers."),
        (r"^norm\.", "swin.layernorm."),
        (r"^patch_embed\.proj\.", "swin.embeddings.patch_embeddings.projection."),
        (r"^patch_embed\.norm\.", "swin.embeddings.norm."),
        (r"^head\.fc\.", "classifier."),
    ]
    return swapped(split_qkv(_stages_end(state)), rules)


def as_microsoft_swin(state: State) -> State:
    """Microsoft's own code: its buffers are saved too."""
    found = swapped(_stages_end(state), [(r"^head\.fc\.", "head.")])
    found["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(49, 49, dtype=torch.int64)
    found["layers.0.blocks.1.attn_mask"] = torch.full((4, 49, 49), -100.0)
    return found


def as_torchvision_vit(state: State) -> State:
    """torchvision's VisionTransformer."""
    rules = [
        (r"^cls_token$", "class_token"),
        (r"^pos_embed$", "encoder.pos_embedding"),
        (r"^patch_embed\.proj\.", "conv_proj."),
        (r"norm([12])\.", r"ln_\1."),
        (r"attn\.qkv\.", "self_attention.in_proj_"),
        (r"attn\.proj\.", "self_attention.out_proj."),
        (r"mlp\.fc1\.", "mlp.0."),
        (r"mlp\.fc2\.", "mlp.3."),
        (r"^blocks\.", "encoder.layers.encoder_layer_"),
        (r"^norm\.", "encoder.ln."),
        (r"^head\.", "heads.head."),
    ]
    return swapped(state, rules)


def as_torchvision_swin(state: State) -> State:
    """torchvision's SwinTransformer, its buffers included."""
    found = {}
    for name, value in state.items():
        name = re.sub(r"^layers\.(\d+)\.blocks\.", lambda match: f"features.{2 * int(match[1]) + 1}.", name)
        name = re.sub(r"^layers\.(\d+)\.downsample\.", lambda match: f"features.{2 * int(match[1])}.", name)
        found[name] = value
        if name.endswith("relative_position_bias_table"):
            found[name.replace("bias_table", "index")] = torch.zeros(49 * 49, dtype=torch.int64)
    rules = [
        (r"^patch_embed\.proj\.", "features.0.0."),
        (r"^patch_embed\.norm\.", "features.0.2."),
        (r"mlp\.fc1\.", "mlp.0."),
        (r"mlp\.fc2\.", "mlp.3."),
        (r"^head\.fc\.", "head."),
    ]
    return swapped(found, rules)


def as_open_clip(state: State) -> State:
    """OpenAI's CLIP as open_clip saves it: the image tower under `visual.` and a text tower beside."""
    state = {name: value for name, value in state.items() if name != "head.bias"}
    rules = [
        (r"^cls_token$", "class_embedding"),
        (r"^pos_embed$", "positional_embedding"),
        (r"^patch_embed\.proj\.", "conv1."),
        (r"^norm_pre\.", "ln_pre."),
        (r"^norm\.", "ln_post."),
        (r"^head\.weight$", "proj"),
        (r"norm([12])\.", r"ln_\1."),
        (r"attn\.qkv\.", "attn.in_proj_"),
        (r"attn\.proj\.", "attn.out_proj."),
        (r"mlp\.fc1\.", "mlp.c_fc."),
        (r"mlp\.fc2\.", "mlp.c_proj."),
        (r"^blocks\.", "transformer.resblocks."),
        (r"^", "visual."),
    ]
    found = swapped(state, rules)
    found["visual.class_embedding"] = found["visual.class_embedding"][0, 0].clone()
    found["visual.positional_embedding"] = found["visual.positional_embedding"][0].clone()
    found["visual.proj"] = found["visual.proj"].T.contiguous()
    return found | {"logit_scale": torch.tensor(4.6), "text_projection": torch.zeros(4, 4), "token_embedding.weight": torch.zeros(9, 4)}


def as_transformers_tower(state: State) -> State:
    """The image tower of transformers' CLIP, or of its SigLIP where the model pools with attention; a text tower beside."""
    state = {name: value for name, value in state.items() if name != "head.bias"}
    for kind in ("weight", "bias"):
        if f"attn_pool.q.{kind}" in state:
            state[f"attn_pool.in_proj_{kind}"] = torch.cat([state.pop(f"attn_pool.q.{kind}"), state.pop(f"attn_pool.kv.{kind}")])
    rules = [
        (r"^attn_pool\.latent$", "head.probe"),
        (r"^attn_pool\.(in_proj_|proj)", lambda found: f"head.attention.{'out_proj' if found[1] == 'proj' else 'in_proj_'}"),
        (r"^attn_pool\.norm\.", "head.layernorm."),
        (r"^attn_pool\.", "head."),
        (r"^cls_token$", "embeddings.class_embedding"),
        (r"^pos_embed$", "embeddings.position_embedding.weight"),
        (r"^patch_embed\.proj\.", "embeddings.patch_embedding."),
        (r"^norm_pre\.", "pre_layrnorm."),
        (r"^norm\.", "post_layernorm."),
        (r"norm([12])\.", r"layer_norm\1."),
        (r"attn\.([qkv])\.", r"self_attn.\1_proj."),
        (r"attn\.proj\.", "self_attn.out_proj."),
        (r"^blocks\.", "encoder.layers."),
        (r"^(?!head\.weight)", "vision_model."),
        (r"^head\.weight$", "visual_projection.weight"),
    ]
    found = swapped(split_qkv(state), rules)
    for name in ("class_embedding", "position_embedding.weight"):
        if (value := found.get(f"vision_model.embeddings.{name}")) is not None:
            found[f"vision_model.embeddings.{name}"] = value.reshape(-1, value.shape[-1]).squeeze(0).clone()
    return found | {"text_model.embeddings.token_embedding.weight": torch.zeros(9, 4), "logit_scale": torch.tensor(4.6)}
