"""One file a family: the only places that know what timm does differently. A family is a file here and a line below, or an entry point."""

from typing import TYPE_CHECKING, Any

from torch import nn

from toast_core.errors import ModelError
from toast_core.models.demo import DEMO_BUILDERS
from toast_core.registry import Registry

if TYPE_CHECKING:
    from toast_core.models.adapters.base import Adapter

_PARTS = (
    "family", "model_class", "timm_modules", "names", "default_token_fraction", "refusal", "blocks", "replace_block", "parts", "embed",
    "before_block", "head", "layout", "shape",
)


def _made(found: Any) -> "Adapter":
    adapter = found()
    missing = [part for part in _PARTS if not hasattr(adapter, part)]
    if missing:
        raise TypeError(f"it lacks {', '.join(missing)}; see toast_core.models.adapters.base.Adapter")
    return adapter


FAMILIES: "Registry[Adapter]" = Registry(
    "toast_studio.families",
    "model family",
    {
        "vit": "toast_core.models.adapters.vit:VitAdapter", "swin": "toast_core.models.adapters.swin:SwinAdapter",
        "deit_distilled": "toast_core.models.adapters.distilled:DistilledAdapter", "eva": "toast_core.models.adapters.eva:EvaAdapter",
    },
    ModelError,
    _made,
)


def supported() -> str:
    """Return the names that can be asked for, as one line, and what stands in the way of families that are installed but cannot load."""
    adapters, failures = FAMILIES.working()
    return "; ".join([", ".join([*(adapter.names for adapter in adapters.values()), *DEMO_BUILDERS]), *failures])


def timm_modules() -> frozenset[str]:
    """Return the modules of timm, or of packages that register models with it, that an adapter answers for."""
    return frozenset(module for adapter in FAMILIES.working()[0].values() for module in adapter.timm_modules)


def adapter_for(model: nn.Module, name: str = "") -> "Adapter":
    """Return the adapter of this model's class.

    Raises:
        ModelError: no adapter knows the class, or two do, or a part of the model differs from what the adapter handles.
    """
    label = name or type(model).__name__
    found = {family: adapter for family, adapter in FAMILIES.working()[0].items() if type(model) is adapter.model_class}
    if not found:
        raise ModelError(f"{label} is not supported: its class is {type(model).__name__}; supported: {supported()}")
    if len(found) > 1:
        both = " and ".join(f"{family} of {FAMILIES.sources(family)[0]}" for family in found)
        raise ModelError(f"{label} belongs to two families, {both}; uninstall one of the packages")
    (adapter,) = found.values()
    if reason := adapter.refusal(model):
        raise ModelError(f"{label} is not supported: {reason}; supported: {supported()}")
    return adapter
