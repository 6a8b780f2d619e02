"""The two embedded demo architectures, built by timm; `training/train_demo.py` makes their weights."""

from typing import Any

from torch import nn

DEMO_IMAGE_SIZE = 28
DEMO_MEAN = (0.2860,)
DEMO_STD = (0.3530,)


def demo_vit(num_classes: int = 10, img_size: int = DEMO_IMAGE_SIZE, **options: Any) -> nn.Module:
    """A 12-block ViT with a class token: width 96, 3 heads of 32, hidden 384, 4-pixel patches of 28 x 28 grey images."""
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        img_size=img_size, patch_size=4, in_chans=1, num_classes=num_classes, embed_dim=96, depth=12, num_heads=3, **options
    )


def demo_swin(num_classes: int = 10, img_size: int = DEMO_IMAGE_SIZE, **options: Any) -> nn.Module:
    """A 12-block Swin in two stages: widths 48 and 96, heads of 24, windows of 7 (shifted in the first stage)."""
    from timm.models.swin_transformer import SwinTransformer

    return SwinTransformer(
        img_size=img_size,
        patch_size=2,
        in_chans=1,
        num_classes=num_classes,
        embed_dim=48,
        depths=(2, 10),
        num_heads=(2, 4),
        window_size=7,
        **options,
    )


DEMO_BUILDERS = {"demo_vit": demo_vit, "demo_swin": demo_swin}
