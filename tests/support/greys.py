"""A tiny grey model and grey images for measuring."""

from functools import cache

import numpy as np
from torch import nn

from tests.support.families import tiny_swin, tiny_vit
from toast_core.data.load import ImageData
from toast_core.data.sources import Source
from toast_core.data.transform import transform_for

CONFIG = {"architecture": "tiny", "input_size": (1, 32, 32), "mean": (0.5,), "std": (0.25,), "crop_pct": 1.0, "interpolation": "bicubic"}


@cache
def grey_model(kind: str = "vit", num_classes: int = 7) -> nn.Module:
    """A tiny model for 32-pixel grey images: never change it."""
    model = tiny_vit(in_chans=1, num_classes=num_classes) if kind == "vit" else tiny_swin(32, 4, in_chans=1, num_classes=num_classes)
    model.pretrained_cfg = CONFIG
    return model


def grey_data(model: nn.Module, count: int = 23, seed: int = 0) -> ImageData:
    """Random grey images with random labels, in a shuffled order."""
    rng = np.random.default_rng(seed)
    classes = tuple(f"class {label}" for label in range(model.num_classes))
    arrays = rng.integers(0, 256, (count, 32, 32), dtype=np.uint8)
    to_index = {name: label for label, name in enumerate(classes)}
    source = Source("greys", classes, rng.integers(0, len(classes), count), "no digest", arrays=arrays, class_to_index=to_index)
    return ImageData(source, transform_for(model), rng.permutation(count), "shuffled", seed)
