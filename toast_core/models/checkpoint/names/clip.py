"""The image towers of CLIP and SigLIP, as OpenAI's code and open_clip name them and as Hugging Face transformers does."""

import torch

from toast_core.models.checkpoint.names.base import Conversion, Naming, Rule, Tensors, check_shape, renamed

_OPEN_CLIP, _CLIP, _SIGLIP = (
    "OpenAI's and open_clip's names for a CLIP",
    "transformers' names for a CLIP",
    "transformers' names for a SigLIP",
)
_KIND = r"(weight|bias)"
_RES = r"transformer\.resblocks\.(\d+)\."
_LAYER = r"encoder\.layers\.(\d+)\."
QUICK_GELU = (
    "the file does not say which GELU the feed-forward networks use: OpenAI's weights need a model named *_quickgelu_*, most others not"
)

OPEN_CLIP_RULES: tuple[Rule, ...] = (
    (r"class_embedding", "cls_token"),
    (r"positional_embedding", "pos_embed"),
    (r"proj", "head.weight"),
    (r"conv1\.weight", "patch_embed.proj.weight"),
    (rf"ln_pre\.{_KIND}", r"norm_pre.\1"),
    (rf"ln_post\.{_KIND}", r"norm.\1"),
    (rf"{_RES}ln_([12])\.{_KIND}", r"blocks.\1.norm\2.\3"),
    (rf"{_RES}ls_([12])\.gamma", r"blocks.\1.ls\2.gamma"),
    (rf"{_RES}attn\.in_proj_{_KIND}", r"blocks.\1.attn.qkv.\2"),
    (rf"{_RES}attn\.out_proj\.{_KIND}", r"blocks.\1.attn.proj.\2"),
    (rf"{_RES}mlp\.c_fc\.{_KIND}", r"blocks.\1.mlp.fc1.\2"),
    (rf"{_RES}mlp\.c_proj\.{_KIND}", r"blocks.\1.mlp.fc2.\2"),
)
TRANSFORMERS_RULES: tuple[Rule, ...] = (
    (r"embeddings\.class_embedding", "cls_token"),
    (r"embeddings\.position_ids", None),
    (r"embeddings\.position_embedding\.weight", "pos_embed"),
    (rf"embeddings\.patch_embedding\.{_KIND}", r"patch_embed.proj.\1"),
    (rf"pre_layrnorm\.{_KIND}", r"norm_pre.\1"),
    (rf"post_layernorm\.{_KIND}", r"norm.\1"),
    (rf"{_LAYER}layer_norm([12])\.{_KIND}", r"blocks.\1.norm\2.\3"),
    (rf"{_LAYER}self_attn\.([qkv])_proj\.{_KIND}", r"blocks.\1.attn.qkv.\2.\3"),
    (rf"{_LAYER}self_attn\.out_proj\.{_KIND}", r"blocks.\1.attn.proj.\2"),
    (rf"{_LAYER}mlp\.fc([12])\.{_KIND}", r"blocks.\1.mlp.fc\2.\3"),
    (r"head\.probe", "attn_pool.latent"),
    (rf"head\.attention\.in_proj_{_KIND}", r"attn_pool.in_proj.\1"),
    (rf"head\.attention\.out_proj\.{_KIND}", r"attn_pool.proj.\1"),
    (rf"head\.layernorm\.{_KIND}", r"attn_pool.norm.\1"),
    (rf"head\.mlp\.fc([12])\.{_KIND}", r"attn_pool.mlp.fc\1.\2"),
)


def _open_clip(tensors: Tensors, heads: Tensors) -> Conversion:
    state, aside = renamed(tensors, OPEN_CLIP_RULES, _OPEN_CLIP)
    notes = [QUICK_GELU]
    if "head.weight" in state:
        check_shape(state, "head.weight", 2)
        notes += _project(state, state["head.weight"].T.contiguous())
    return Conversion(_with_positions(state), aside, tuple(notes), projection="head.weight" in state)


def _clip(tensors: Tensors, heads: Tensors) -> Conversion:
    state, aside = renamed(tensors, TRANSFORMERS_RULES, _CLIP)
    notes = [QUICK_GELU]
    if "visual_projection.weight" in heads:
        notes += _project(state, heads["visual_projection.weight"])
    other = ""
    if "classifier.weight" in heads:
        other = "has a classifier that reads the mean of the patches before the last norm, as timm's does not"
    return Conversion(_with_positions(state), aside, tuple(notes), other, "head.weight" in state)


def _siglip(tensors: Tensors, heads: Tensors) -> Conversion:
    state, aside = renamed(tensors, TRANSFORMERS_RULES, _SIGLIP)
    if "classifier.weight" in heads:  # read from the mean of the patches; what is left of the pooling is not used there either
        pool = tuple(name for name in tensors if name.startswith("head."))
        state = {name: value for name, value in state.items() if not name.startswith("attn_pool.")}
        state |= {f"head.{name.removeprefix('classifier.')}": value for name, value in heads.items() if name.startswith("classifier.")}
        note = "the classifier reads the mean of the patches: it needs a model named *_siglip_gap_*"
        return Conversion(_with_positions(state), aside + pool, (note,))
    for kind in ("weight", "bias"):
        if (value := state.pop(f"attn_pool.in_proj.{kind}", None)) is not None:
            state[f"attn_pool.q.{kind}"], state[f"attn_pool.kv.{kind}"] = value[: len(value) // 3], value[len(value) // 3 :]
    return Conversion(_with_positions(state), aside)


def _project(state: Tensors, weight: torch.Tensor) -> list[str]:
    """Put CLIP's projection where timm has it, in the classifier's place."""
    state["head.weight"], state["head.bias"] = weight, torch.zeros(len(weight))
    return [f"the head is the projection to CLIP's space of {len(weight)} numbers, no classifier"]


def _with_positions(state: Tensors) -> Tensors:
    """Give the class token and the positions the first dimension that timm has."""
    check_shape(state, "pos_embed", 2)
    if "cls_token" in state:
        check_shape(state, "cls_token", 1)
        state["cls_token"] = state["cls_token"][None, None]
    return state | {"pos_embed": state["pos_embed"][None]}


OPEN_CLIP = Naming(_OPEN_CLIP, "conv1.weight", (r"class_embedding$", r"transformer\.resblocks\.0\.attn\.in_proj_weight"), _open_clip)
CLIP = Naming(
    _CLIP,
    "embeddings.patch_embedding.weight",
    (r"embeddings\.class_embedding$", r"encoder\.layers\.0\.self_attn\.q_proj\.weight"),
    _clip,
    r"(visual_projection|classifier)\.(weight|bias)",
)
SIGLIP = Naming(
    _SIGLIP,
    "embeddings.patch_embedding.weight",
    (r"embeddings\.patch_embedding\.bias", r"encoder\.layers\.0\.self_attn\.q_proj\.weight"),
    _siglip,
    r"classifier\.(weight|bias)",
)
