"""How other libraries name a vision transformer's tensors: a file for each, a Naming for each model, all listed here."""

from toast_core.models.checkpoint.names import clip, timm, torchvision, transformers
from toast_core.models.checkpoint.names.base import Conversion, Naming, Tensors

NAMINGS: tuple[Naming, ...] = (
    timm.TIMM,
    transformers.VIT,
    transformers.SWIN,
    clip.OPEN_CLIP,
    clip.CLIP,
    clip.SIGLIP,
    torchvision.VIT,
    torchvision.CONV_STEM,
    torchvision.SWIN,
)
"""In the order in which they are looked for; no file's tensors fit two of them at the same place."""

__all__ = ["NAMINGS", "Conversion", "Naming", "Tensors"]
