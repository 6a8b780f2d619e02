"""Which models of timm a refused file fits, and where none does, which come closest: patch and window by name, all else by form."""

import difflib
import re
from collections.abc import Mapping
from functools import cache

import timm
import torch

from toast_core.errors import ModelError
from toast_core.models.adapters import adapter_for, timm_modules
from toast_core.models.checkpoint.outline import fitting
from toast_core.models.form import Form, form_of

_SHOWN = 3
_TRIED = 16  # models built for one refusal, a tenth of a second each
_SIZE = re.compile(r"_(tiny|little|small|p?wee|dwee|betwixt|mediumd?|base|large|huge|giant|gigantic|so\d+m\d?|7b|[a-z]+plus)(?=_|$)")


def nearest(state: Mapping[str, torch.Tensor], name: str) -> str:
    """Return which supported models of timm have these tensors, or the closest of them, as half a sentence.

    Args:
        state: in timm's names.
        name: what was asked for; of equals, names like it come first.
    """
    if fits := fitting(state, prefer=name):
        return f"{', '.join(fits)} would fit"
    file = form_of(state)
    names = [one for one in _candidates(file) if one != name]
    if not names:
        return f"no supported model of timm has {file.in_words()}"
    groups: dict[str, list[str]] = {}
    for one in names:
        size = _SIZE.search(one)
        groups.setdefault(size[1] if size else "", []).append(one)
    firsts = {group: min(members, key=len) for group, members in groups.items()}
    near = sorted(groups, key=lambda group: _distance(file, firsts[group]))
    tried = [one for group in near for one in sorted(groups[group], key=lambda one: -_likeness(one, name))][:_TRIED]
    ranked = sorted(tried, key=lambda one: (_distance(file, one), -_likeness(one, name)))
    return f"no supported model of timm has just these tensors; closest: {', '.join(ranked[:_SHOWN])}"


def why_none(state: Mapping[str, torch.Tensor]) -> str:
    """Return as half a sentence that no supported model of timm has these tensors, and in what the closest differs."""
    said, file = nearest(state, ""), form_of(state)
    first = said.rpartition("closest: ")[2].partition(",")[0]
    own = _named(first) if "closest: " in said else None
    differs = [theirs for _, _, theirs in file.differences(own)] if own is not None else []
    return f"{said}; {first} has {', '.join(differs[:3])}" if differs else said


def _candidates(file: Form) -> list[str]:
    """Names of supported modules whose patch and window, as far as they name them, are the file's."""
    modules = sorted(module.rpartition(".")[2] for module in timm_modules() if module.startswith("timm."))
    names = [name for module in modules if ("swin" in module) == (file.windows is not None) for name in timm.list_models(module=module)]
    wanted = {"patch": file.patch and file.patch[0], "window": file.windows and max(file.windows)}
    for word, value in wanted.items():
        if value is not None:
            names = [name for name in names if not (found := re.search(rf"{word}(\d+)", name)) or int(found[1]) == value]
    return names


def _distance(file: Form, name: str) -> tuple[int, int]:
    """How much of what is fixed differs, width and depth before all else; (0, 0) where the file fits."""
    own = _named(name)
    if own is None:
        return 100, 100
    differs = {field for field, _, _ in file.differences(own)}
    return len(differs & {"width", "depth", "patch", "windows"}), len(differs)


def _likeness(name: str, other: str) -> float:
    return difflib.SequenceMatcher(None, name, other).ratio()


@cache
def _named(name: str) -> Form | None:
    """The form of a model of timm; None where it cannot be built or is not supported."""
    try:
        with torch.device("meta"):
            model = timm.create_model(name)
            adapter_for(model, name)
            return form_of(model.state_dict())
    except (ModelError, RuntimeError, AssertionError, TypeError, ValueError):
        return None
