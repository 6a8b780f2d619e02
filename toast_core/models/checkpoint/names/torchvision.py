"""torchvision's names for vit_* and swin_*."""

from toast_core.errors import ModelError
from toast_core.models.checkpoint.names.base import Conversion, Naming, Rule, Tensors, check_shape, renamed

_VIT, _SWIN = "torchvision's names for a ViT", "torchvision's names for a Swin"
_KIND = r"(weight|bias)"
_LAYER = r"encoder\.layers\.encoder_layer_(\d+)\."

VIT_RULES: tuple[Rule, ...] = (
    (r"class_token", "cls_token"),
    (r"encoder\.pos_embedding", "pos_embed"),
    (rf"conv_proj\.{_KIND}", r"patch_embed.proj.\1"),
    (rf"{_LAYER}ln_([12])\.{_KIND}", r"blocks.\1.norm\2.\3"),
    (rf"{_LAYER}self_attention\.in_proj_{_KIND}", r"blocks.\1.attn.qkv.\2"),
    (rf"{_LAYER}self_attention\.out_proj\.{_KIND}", r"blocks.\1.attn.proj.\2"),
    (rf"{_LAYER}mlp\.(?:0|linear_1)\.{_KIND}", r"blocks.\1.mlp.fc1.\2"),
    (rf"{_LAYER}mlp\.(?:3|linear_2)\.{_KIND}", r"blocks.\1.mlp.fc2.\2"),
    (rf"encoder\.ln\.{_KIND}", r"norm.\1"),
    (rf"heads\.(?:head|0)\.{_KIND}", r"head.\1"),
)


def _vit(tensors: Tensors, heads: Tensors) -> Conversion:
    return Conversion(*renamed(tensors, VIT_RULES, _VIT))


def _stem(tensors: Tensors, heads: Tensors) -> Conversion:
    raise ModelError(
        "these are torchvision's names for a ViT whose patches several convolutions make (conv_stem_configs), which is not read; "
        "read are vit_* with one convolution (conv_proj)"
    )


def _swin(tensors: Tensors, heads: Tensors) -> Conversion:
    """Stage s stands at features 2s + 1, with the merging before it at 2s; the patch embedding is features 0."""
    if any(".cpb_mlp." in name or name.endswith(".logit_scale") for name in tensors):
        raise ModelError("these are torchvision's names for a Swin-V2, which is not read; read are its names for Swin")
    stages = {int(name.split(".")[1]) // 2 for name in tensors if name.startswith("features.") and name.split(".")[1].isdigit()}
    rules: list[Rule] = [
        (r".*\.relative_position_index", None),
        (rf"features\.0\.0\.{_KIND}", r"patch_embed.proj.\1"),
        (rf"features\.0\.2\.{_KIND}", r"patch_embed.norm.\1"),
        (rf"norm\.{_KIND}", r"norm.\1"),
        (rf"head\.{_KIND}", r"head.fc.\1"),
    ]
    for stage in sorted(stages):
        block = rf"features\.{2 * stage + 1}\.(\d+)\."
        rules += [
            (rf"{block}mlp\.0\.{_KIND}", rf"layers.{stage}.blocks.\1.mlp.fc1.\2"),
            (rf"{block}mlp\.3\.{_KIND}", rf"layers.{stage}.blocks.\1.mlp.fc2.\2"),
            (rf"{block}((?:norm[12]|attn\.qkv|attn\.proj)\.(?:weight|bias))", rf"layers.{stage}.blocks.\1.\2"),
            (rf"{block}attn\.relative_position_bias_table", rf"layers.{stage}.blocks.\1.attn.relative_position_bias_table"),
            (rf"features\.{2 * stage}\.(reduction\.weight|norm\.weight|norm\.bias)", rf"layers.{stage}.downsample.\1"),
        ]
    state, aside = renamed(tensors, rules, _SWIN)
    check_shape(state, "patch_embed.proj.weight", 4)
    return Conversion(state, aside)


VIT = Naming(_VIT, "conv_proj.weight", (r"encoder\.layers\.encoder_layer_0\.self_attention\.in_proj_weight",), _vit)
CONV_STEM = Naming(
    "torchvision's names for a ViT with a stem of convolutions", "conv_proj.conv_bn_relu_0.0.weight",
    (r"encoder\.layers\.encoder_layer_0\.self_attention\.in_proj_weight",), _stem,
)
SWIN = Naming(_SWIN, "features.0.0.weight", (r"features\.1\.0\.attn\.qkv\.weight",), _swin)
