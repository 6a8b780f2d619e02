"""Which model names are taken, and why another is not: unknown, retired by timm, without such a weights tag, or of a stranger's family."""

import difflib

import timm

from toast_core.errors import ModelError
from toast_core.models.adapters import supported, timm_modules
from toast_core.models.demo import DEMO_BUILDERS

_BEHIND = "whose norms stand behind attention and feed-forward network, so that fc1 and fc2 are not what pruning takes them for"
_BECAUSE = {
    "beit": "whose attention adds a relative position bias over all tokens, which the pruned attention has not",
    "swin_transformer_v2": _BEHIND,
    "swin_transformer_v2_cr": _BEHIND,
}
"""Why families that people ask for are not supported."""


def check_name(name: str) -> None:
    """Raise a ModelError unless the name is one that an adapter may support; the model itself is checked once built."""
    base, _, tag = name.partition(".")
    if name in DEMO_BUILDERS:
        return
    modules = timm_modules()  # asked for first: a family of another package registers its models with timm when it is imported
    if "." in name and (base in DEMO_BUILDERS or (timm.is_model(base) and not _has_tag(name))):
        raise ModelError(f"{base} has no weights tag {tag!r}; leave the tag out, or choose one that timm lists for it")
    if not timm.is_model(base):
        near = difflib.get_close_matches(base, [*timm.list_models(), *DEMO_BUILDERS], n=3)
        raise ModelError(f"unknown model {name!r}; {'did you mean ' + ', '.join(near) + '? ' if near else ''}supported: {supported()}")
    module = timm.models.model_entrypoint(base).__module__
    if module == timm.is_model.__module__:  # a retired name: the registry itself stands in for it
        near = difflib.get_close_matches(base, timm.list_models(), n=1)
        raise ModelError(
            f"{name} is a name that timm has retired; use its present one{', perhaps ' + near[0] if near else ''}; supported: {supported()}"
        )
    if module not in modules:
        family = module.rpartition(".")[2]
        because = f", {_BECAUSE[family]}" if family in _BECAUSE else ""
        raise ModelError(f"{name} is not supported: it belongs to {family}{because}; supported: {supported()}")


def _has_tag(name: str) -> bool:
    try:
        return bool(name.partition(".")[2]) and timm.get_pretrained_cfg(name) is not None
    except RuntimeError:
        return False
