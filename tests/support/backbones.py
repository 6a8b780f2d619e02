"""Tiny models without a classifier, and labelled images whose classes their features tell apart."""

from functools import cache

import numpy as np
from torch import nn

from tests.support.families import tiny_swin, tiny_vit
from tests.support.greys import CONFIG
from toast_core.data.load import ImageData
from toast_core.data.sources import Source
from toast_core.data.transform import transform_for

CLASSES = ("dark", "left", "right", "stripes")


@cache
def grey_backbone(kind: str = "vit") -> nn.Module:
    """A tiny backbone for 32-pixel grey images: never change it."""
    build = {"vit": tiny_vit, "registers": lambda **more: tiny_vit(reg_tokens=3, global_pool="avg", **more), "swin": _swin}[kind]
    model = build(in_chans=1, num_classes=0)
    model.pretrained_cfg = CONFIG
    return model


def _swin(**options: object) -> nn.Module:
    return tiny_swin(32, 4, **options)


def patterns(model: nn.Module, count: int = 40, seed: int = 0, classes: tuple[str, ...] = CLASSES, name: str = "patterns") -> ImageData:
    """Noisy patterns of as many classes as there are names, in a shuffled order."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(classes), count)
    clean = np.full((max(len(classes), 4), 32, 32), 40.0)
    clean[1, :, :16], clean[2, :, 16:], clean[3, ::4] = 200, 200, 200
    arrays = np.clip(clean[labels % len(clean)] + rng.normal(0, 40, (count, 32, 32)), 0, 255).astype(np.uint8)
    source = Source(name, classes, labels, f"{name} {seed}", arrays=arrays)
    return ImageData(source, transform_for(model), rng.permutation(count), "shuffled", seed)
