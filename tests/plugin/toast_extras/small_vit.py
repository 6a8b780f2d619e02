"""A family of its own: models whose blocks are timm's, of a class that may change what lies around them."""

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.vision_transformer import VisionTransformer

from toast_core.models.adapters.vit import VitAdapter

default_cfgs = generate_default_cfgs({"small_vit": {"input_size": (3, 32, 32), "num_classes": 7, "mean": (0.5,) * 3, "std": (0.5,) * 3}})


class SmallVit(VisionTransformer):
    """A subclass: ToaSt's own family takes no subclass, since it may override anything."""


@register_model
def small_vit(pretrained: bool = False, **options: Any) -> SmallVit:
    """Three blocks of width 24 on images of 32 x 32, by the name `small_vit`."""
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 3}
    return build_model_with_cfg(SmallVit, "small_vit", pretrained, **(sizes | options))


class SmallVitAdapter(VitAdapter):
    """What holds of a ViT holds of these, except where their names are."""

    family = "small_vit"
    model_class = SmallVit
    timm_modules = (__name__,)
    names = "small_vit"
