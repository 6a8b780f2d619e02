"""One file a family: the only places that know what timm does differently. A new family is a file here and a line in REGISTRY."""

from torch import nn

from toast_core.errors import ModelError
from toast_core.models.adapters.base import Adapter
from toast_core.models.adapters.swin import SwinAdapter
from toast_core.models.adapters.vit import VitAdapter

REGISTRY: tuple[Adapter, ...] = (VitAdapter(), SwinAdapter())
SUPPORTED = "vit_* (AugReg, CLIP, MAE, SigLIP, DINOv2, registers), flexivit_*, deit_*, deit3_*, swin_*, swin_s3_*, demo_vit, demo_swin"


def adapter_for(model: nn.Module, name: str = "") -> Adapter:
    """Return the adapter of this model's class.

    Raises:
        ModelError: no adapter knows the class, or a part of the model differs from what the adapter handles.
    """
    label = name or type(model).__name__
    for adapter in REGISTRY:
        if type(model) is adapter.model_class:
            reason = adapter.refusal(model)
            if reason:
                raise ModelError(f"{label} is not supported: {reason}; supported: {SUPPORTED}")
            return adapter
    raise ModelError(f"{label} is not supported: its class is {type(model).__name__}; supported: {SUPPORTED}")
