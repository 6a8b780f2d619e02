"""Tiny models of every kind the engine supports, with random parameters everywhere (no zero biases, no unit norms)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import timm
import torch
from timm.models.deit import VisionTransformerDistilled
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from toast_core.models.adapters import adapter_for
from toast_core.models.info import get_info
from toast_core.pruning.statistics import Statistics, collect_statistics
from toast_core.schedule.schedule import Schedule
from toast_core.schedule.sites import SITES

CLASSES = 7
EVERY_SITE = {"qk": 0.5, "vo": 0.3, "fc1": 0.3, "fc2": 0.6}
CASES = {**{site: {site: 0.5} for site in SITES}, "all": EVERY_SITE}  # each site alone, and all together


@dataclass(frozen=True)
class Family:
    """A way to build a tiny model, and the size of its images."""

    name: str
    build: Callable[[], nn.Module]
    size: tuple[int, int] = (32, 32)


def randomise(model: nn.Module, seed: int = 1) -> nn.Module:
    """Fill every parameter with noise of a useful size, in eval mode: a bug in a bias or in a norm's gain must show."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.named_parameters():
            size = 0.3 if value.ndim < 2 else value.shape[-1] ** -0.5
            value.copy_(torch.randn(value.shape, generator=generator) * size + ("norm" in name and name.endswith("weight")))
    return model.eval()


def tiny_vit(**options: object) -> nn.Module:
    """Three blocks of width 24, 16 patches, 7 classes."""
    settings = {"img_size": 32, "patch_size": 8, "num_classes": CLASSES, "embed_dim": 24, "depth": 3, "num_heads": 3, **options}
    return randomise(VisionTransformer(**settings))


def tiny_distilled(**options: object) -> nn.Module:
    """The same with a distillation token and its classifier."""
    settings = {"img_size": 32, "patch_size": 8, "num_classes": CLASSES, "embed_dim": 24, "depth": 3, "num_heads": 3, **options}
    return randomise(VisionTransformerDistilled(**settings))


def tiny_demo(num_classes: int = 10, img_size: int = 28) -> nn.Module:
    """Three blocks for the demos' grey images: given a name in DEMO_BUILDERS, commands and jobs load it as they load a demo."""
    return tiny_vit(in_chans=1, img_size=img_size, patch_size=7, num_classes=num_classes)


def tiny_swin(img_size: int | tuple[int, int] = 56, window_size: int = 7, **options: object) -> nn.Module:
    """Two stages of two blocks, widths 24 and 48."""
    settings = {"depths": (2, 2), "num_heads": (3, 6), "embed_dim": 24, "num_classes": CLASSES, "patch_size": 4, **options}
    return randomise(SwinTransformer(img_size=img_size, window_size=window_size, **settings))


def tiny_timm(name: str, **options: object) -> nn.Module:
    """A timm entry point, narrowed: its own choice of layers at a size for tests."""
    return randomise(timm.create_model(name, num_classes=CLASSES, **options))


_NARROW = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
VITS = (
    Family("plain", tiny_vit),
    Family("layer_scale", partial(tiny_vit, init_values=0.1)),
    Family("qk_norm", partial(tiny_vit, qk_norm=True)),
    Family("registers", partial(tiny_vit, reg_tokens=3)),
    Family("siglip", partial(tiny_vit, class_token=False, global_pool="map")),
    Family("average_pooled", partial(tiny_vit, global_pool="avg")),
    Family("no_class_token", partial(tiny_vit, class_token=False, global_pool="avg")),
    Family("no_qkv_bias", partial(tiny_vit, qkv_bias=False)),
    Family("no_proj_bias", partial(tiny_vit, proj_bias=False)),
    Family("pre_norm", partial(tiny_vit, pre_norm=True)),
    Family("no_embed_class", partial(tiny_vit, no_embed_class=True, reg_tokens=2)),
    Family("distilled", tiny_distilled),
    Family(
        "everything", partial(tiny_vit, no_embed_class=True, reg_tokens=2, qk_norm=True, init_values=0.2, pre_norm=True, qkv_bias=False)
    ),
)
SWINS = (
    Family("swin", tiny_swin, (56, 56)),
    Family("swin_padded_windows", partial(tiny_swin, 40, 4), (40, 40)),
    Family("swin_odd_grid", partial(tiny_swin, 36, 4), (36, 36)),
    Family("swin_wide", partial(tiny_swin, (32, 48), 4), (32, 48)),
    Family("swin_one_window", partial(tiny_swin, 16, 7), (16, 16)),
)
ENTRY_POINTS = (
    Family("deit3", partial(tiny_timm, "deit3_small_patch16_224", **_NARROW)),
    Family("siglip_entry", partial(tiny_timm, "vit_base_patch16_siglip_224", **_NARROW)),
    Family("dinov2_registers", partial(tiny_timm, "vit_small_patch14_reg4_dinov2", **_NARROW)),
    Family("clip_quickgelu", partial(tiny_timm, "vit_base_patch32_clip_quickgelu_224", **_NARROW)),
    Family(
        "swin_s3", partial(tiny_timm, "swin_s3_tiny_224", img_size=56, embed_dim=24, depths=(2, 2), num_heads=(3, 6), window_size=(7, 7)),
        (56, 56),
    ),
)
EVAS = (
    Family("eva02_fused", partial(tiny_timm, "eva02_tiny_patch14_224", **_NARROW)),
    Family("eva02", partial(tiny_timm, "eva02_base_patch14_224", **_NARROW)),
    Family("dinov3", partial(tiny_timm, "vit_small_patch16_dinov3", global_pool="token", **_NARROW)),
    Family("dinov3_plus", partial(tiny_timm, "vit_small_plus_patch16_dinov3_qkvb", **_NARROW)),
    Family("eva_without_rope", partial(tiny_timm, "eva_giant_patch14_224", **_NARROW)),
    Family("perception_encoder", partial(tiny_timm, "vit_pe_core_tiny_patch16_384", **_NARROW)),
)
ALL = (*VITS, *SWINS, *ENTRY_POINTS, *EVAS)
# These differ in what pruning meets: class token, registers, norms of q and k, pooling heads, windows shifted,
# padded and odd, own strides, rotary pairs, gates.
REPRESENTATIVE = (
    "plain", "everything", "registers", "siglip", "swin", "swin_padded_windows", "swin_odd_grid", "swin_s3", "eva02", "dinov3",
)
_BY_NAME = {family.name: family for family in ALL}


def named(name: str) -> Family:
    """One family by its name."""
    return _BY_NAME[name]


@cache
def shared_model(name: str) -> nn.Module:
    """The family's model, built once for all tests: never change it."""
    return named(name).build()


@cache
def shared_statistics(name: str) -> Statistics:
    """Calibration statistics of the shared model."""
    return collect_statistics(shared_model(name), [images_for(name, 3, seed=11), images_for(name, 3, seed=12)])


def images_for(name: str, count: int = 5, seed: int = 3) -> torch.Tensor:
    """Random images of the family's size."""
    return torch.randn(count, 3, *named(name).size, generator=torch.Generator().manual_seed(seed))


def schedule_for(model: nn.Module, selection: str = "per_image", token_fraction: float | None = 0.5, **settings: object) -> Schedule:
    """The same ratios in every block of a model, block 0 included."""
    return Schedule.uniform(block_count(model), selection=selection, token_fraction=token_fraction, **settings)


def block_count(model: nn.Module) -> int:
    """How many blocks a baseline model has."""
    return len(adapter_for(model).blocks(model))


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Norm of the difference over the norm of what is expected."""
    return float((actual - expected).norm() / expected.norm())


def macs_without_slots(model: nn.Module, macs: int) -> int:
    """A cost's MACs less the patch-embedding slots of prefix tokens, which published budgets count and no program runs."""
    return macs - getattr(model, "num_prefix_tokens", 0) * model.patch_embed.proj.weight.numel()


def baseline_shape(model: nn.Module) -> object:
    """The model's shape in plain integers."""
    return get_info(model).shape
