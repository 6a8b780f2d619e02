"""From a decoded image to a model's input: timm's own evaluation transform for the model."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config
from timm.data.auto_augment import RandAugment, posterize
from timm.data.transforms import RandomResizedCropAndInterpolation, str_to_pil_interp
from torch import nn

from toast_core.data.pixels import as_seen
from toast_core.errors import DataError
from toast_core.models.info import get_info
from toast_core.preprocessing import Preprocessing

_PICTURE_SIZE = 64  # below it, cropping and recolouring leave too little
_AUGMENTATION: dict[str, Any] = {"auto_augment": "rand-m9-mstd0.5-inc1", "re_prob": 0.25, "color_jitter": 0.3}  # DeiT's

_OF_AFFINE = ("nearest", "bilinear", "bicubic")  # Pillow turns and shears with these alone


@dataclass(frozen=True)
class Transform:
    """How images become input: `description` names it for people and for stores.

    crops        whether the evaluation transform leaves out an image's edge, or puts one around it
    exif_rotate  whether photographs are turned as their EXIF tag says
    longest      most that an image's longer side may be of its shorter one, so that it can be resized
    training     the augmenting form for colour pictures, which draws from the ambient generators; None where images are grey or small
    """

    pipeline: Callable[[Image.Image], torch.Tensor]
    channels: int
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    description: str
    crops: bool = False
    exif_rotate: bool = False
    longest: float = math.inf
    training: Callable[[Image.Image], torch.Tensor] | None = None

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Return (C, H, W) float32."""
        return self.pipeline(as_seen(image, self.channels, self.exif_rotate))

    def misfit(self, size: tuple[int, int]) -> str | None:
        """Why an image of this width and height cannot become input, in words that follow its name; None where it can."""
        width, height = size
        if max(size) <= min(size) * self.longest:
            return None
        return f"it is {width:,} x {height:,} pixels, too long and thin to be resized to the model's {self.size}; cut it into parts"

    def fits(self, arrays: np.ndarray) -> bool:
        """Whether grey arrays (B, H, W) are already in the model's size, so that only the normalisation is left."""
        return self.channels == 1 and not self.crops and arrays.shape[1:] == (self.size, self.size)

    def normalize(self, arrays: np.ndarray) -> torch.Tensor:
        """(B, H, W) uint8 that `fits` -> (B, 1, H, W) float32."""
        return torch.from_numpy(arrays.copy()).float().div_(255.0).sub_(self.mean[0]).div_(self.std[0]).unsqueeze(1)


def transform_for(model: nn.Module) -> Transform:
    """Return the model's evaluation transform at the model's input size.

    Raises:
        DataError: the model takes other than 1 or 3 channels.
    """
    info = get_info(model)
    shape = info.shape
    channels = model.patch_embed.proj.in_channels
    if channels not in (1, 3):
        raise DataError(f"{shape.name} takes {channels} channels; images have 1 or 3: use a model for grey or colour images")
    config = resolve_data_config(pretrained_cfg=getattr(model, "pretrained_cfg", None) or {"architecture": shape.name})
    chosen = info.preprocessing
    config |= {name: value for name, value in chosen.to_dict().items() if name != "exif_rotate"}
    config["mean"], config["std"] = (_for_channels(config[name], channels, chosen, name) for name in ("mean", "std"))
    config["input_size"] = (channels, shape.image_size, shape.image_size)
    pipeline = create_transform(**config, is_training=False)
    told = ["input_size", "interpolation", "crop_pct", "mean", "std", *(["crop_mode"] if config["crop_mode"] != "center" else [])]
    text = " ".join([*(f"{key}={config[key]}" for key in told), *(["exif_rotate"] if chosen.exif_rotate else [])])
    in_colour = channels == 3 and shape.image_size >= _PICTURE_SIZE
    training = _augmenting(config) if in_colour else None
    crops, turns = config["crop_pct"] != 1, chosen.exif_rotate
    longest = _longest(shape.image_size / config["crop_pct"], config["crop_mode"])
    return Transform(pipeline, channels, shape.image_size, config["mean"], config["std"], text, crops, turns, longest, training)


def _augmenting(config: dict[str, Any]) -> Callable[[Image.Image], torch.Tensor]:
    """timm's transform for training: the crop is resized as was chosen; what turns, shears and posterizes does so as Pillow can."""
    chosen = config["interpolation"]
    training = create_transform(
        **config | {"interpolation": chosen if chosen in _OF_AFFINE else "bicubic"}, is_training=True, **_AUGMENTATION
    )
    for part in training.transforms:
        if isinstance(part, RandomResizedCropAndInterpolation):
            part.interpolation = str_to_pil_interp(chosen)
        elif isinstance(part, RandAugment):
            for step in part.ops:
                if step.aug_fn is posterize:
                    step.aug_fn = _posterized
    return training


def _posterized(image: Image.Image, bits_to_keep: int, **options: object) -> Image.Image:
    """timm's posterize; it also keeps no bits, which is black, and which Pillow refuses since version 13."""
    return posterize(image, bits_to_keep, **options) if bits_to_keep > 0 else Image.new(image.mode, image.size)


def _longest(resized: float, mode: str) -> float:
    """Beyond it, center would make an image of more pixels than Pillow opens, and border one without any."""
    if mode == "squash":
        return math.inf
    return 2 * resized if mode == "border" else 2 * (Image.MAX_IMAGE_PIXELS or math.inf) / resized**2


def _for_channels(values: Sequence[float], channels: int, chosen: Preprocessing, name: str) -> tuple[float, ...]:
    """One number for every channel; a grey model of a colour family takes the mean of the family's three.

    Raises:
        DataError: what was chosen has another number of channels.
    """
    if len(values) == channels:
        return tuple(values)
    if len(values) == 1:
        return tuple(values) * channels
    if getattr(chosen, name) is not None:
        raise DataError(f"{name} has {len(values)} numbers, the model takes {channels} channel; give one number")
    return (sum(values) / len(values),)
