"""Putting a file's tensors into the model that was built for them: strictly, and nothing resampled that was not asked for."""

import inspect
import io
import re
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from toast_core.errors import ModelError
from toast_core.files import first_line
from toast_core.models.checkpoint.numbers import COMPUTED
from toast_core.models.demo import DEMO_BUILDERS
from toast_core.models.form import Form, form_of, square_side, zero_biases
from toast_core.models.info import get_info

_RESAMPLED = {
    "patch": "the patch embedding, in pixels,", "positions": "the position embedding, in patches of a square grid,",
    "windows": "a relative position table, in tokens,",
}
# what conversions drop and nothing is lost by: tables that follow from sizes, and what stands for a hidden patch in pretraining
_NO_LOSS = re.compile(rf"{COMPUTED.pattern}|(.*\.)?(mask_token|rope\.freqs_(cos|sin))")
_CONVERSION_ERRORS = (KeyError, RuntimeError, ValueError, IndexError, AttributeError, TypeError, ZeroDivisionError)


@dataclass(frozen=True)
class Filled:
    """What became of a model: sentences on what was resampled, and whether its classifier is still the random one it was built with."""

    notes: tuple[str, ...]
    random_classifier: bool


def fill(model: nn.Module, state: Mapping[str, torch.Tensor], path: Path, sized: bool = False) -> Filled:
    """Load a state dict strictly, after timm's own conversion of older layouts.

    A classifier stays as it was built where the file has none; one that the model lacks is left out.

    Args:
        model: as `build_baseline` returns it; it is changed.
        path: where the weights came from, for messages.
        sized: an image size was asked for, to which position embeddings may be resampled.

    Raises:
        ModelError: the weights are of another model, or of other sizes.
    """
    name, own = get_info(model).name, model.state_dict()
    converted = _converted(model, name, state, path)
    notes = _resampled(form_of(state), form_of(converted), model, path, sized)
    head = classifier_keys(model)
    notes += _dropped(state, converted, head, name, path)
    if free := sorted(zero_biases(converted) - own.keys()):
        converted = {key: value for key, value in converted.items() if key not in free}
        notes += (f"left {len(free)} biases of q and v aside, first {free[0]}: all are zero, and {name} has none",)
    if not head:
        converted = {key: value for key, value in converted.items() if not key.startswith(("head.", "head_dist."))}
    missing, unexpected = sorted(own.keys() - converted.keys()), sorted(converted.keys() - own.keys())
    is_random = bool(head) and head <= set(missing)
    if is_random:
        missing = [key for key in missing if key not in head]
    if missing or unexpected:
        lacks = f"lacks {missing[0]} and {len(missing) - 1} more" if missing else ""
        has = f"has {unexpected[0]} and {len(unexpected) - 1} more too many" if unexpected else ""
        what = ", and ".join(filter(None, (lacks, has)))
        raise ModelError(f"weights file {path} does not fit {name}: it {what}; check --model")
    for key, value in converted.items():
        if value.shape != own[key].shape:
            raise ModelError(
                f"weights file {path} does not fit {name}: {key} is {tuple(value.shape)}, the model's is "
                f"{tuple(own[key].shape)}; check --model, --num-classes and --img-size"
            )
    model.load_state_dict(converted, strict=False)
    return Filled(notes, is_random)


def classifier_keys(model: nn.Module) -> frozenset[str]:
    """The names of the classifier's tensors; none where the model has no classifier. Attention pooling is no classifier."""
    find: Any = model.get_classifier
    found = find()
    layers = [layer for layer in (found if isinstance(found, tuple) else (found,)) if isinstance(layer, nn.Linear)]
    return frozenset(f"{name}.{key}" for name, module in model.named_modules() if module in layers for key in module.state_dict())


def _converted(model: nn.Module, name: str, state: Mapping[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if name in DEMO_BUILDERS or convert is None:
        return dict(state)
    options = {"adapt_layer_scale": True} if "adapt_layer_scale" in inspect.signature(convert).parameters else {}
    try:
        with redirect_stdout(io.StringIO()):  # one of timm's conversions prints what it tried
            return convert(dict(state), model, **options)
    except _CONVERSION_ERRORS as error:
        raise ModelError(f"weights file {path} is no checkpoint of {name} ({first_line(error)}); check --model") from error


def _dropped(
    state: Mapping[str, torch.Tensor], converted: Mapping[str, torch.Tensor], head: frozenset[str], name: str, path: Path
) -> tuple[str, ...]:
    """Say what timm's conversion left out: neither its name nor its very tensor is in what came of it.

    Raises:
        ModelError: it is a layer that the file's classifier was trained behind.
    """
    kept = {id(value) for value in converted.values()}
    left = [key for key, value in state.items() if key not in converted and id(value) not in kept and not _NO_LOSS.fullmatch(key)]
    layer = next((key for key in left if "pre_logits" in key), None)
    if layer is not None and head and head <= converted.keys():
        raise ModelError(
            f"weights file {path} has the layer {layer} before its classifier, which {name} no longer has in timm; "
            "pass --num-classes 0 to compare the features before it, or use newer weights"
        )
    return (f"timm's conversion left {len(left)} tensors aside, first {left[0]}",) if left else ()


def _resampled(before: Form, after: Form, model: nn.Module, path: Path, sized: bool) -> tuple[str, ...]:
    """Say what timm's conversion resampled.

    Raises:
        ModelError: that was not asked for.
    """
    patches, notes = get_info(model).shape.patches, []
    for field, what in _RESAMPLED.items():
        old, new = getattr(before, field), getattr(after, field)
        if old is None or new is None or old == new:
            continue
        if field == "positions":  # in patches: how many prefix tokens have a position is the model's to know
            old, new = (square_side(rows - after.positions + patches) or rows for rows in (old, new))
        if isinstance(old, tuple):
            old, new = next(pair for pair in zip(old, new, strict=True) if pair[0] != pair[1])
        words = f"{old} x {old} to {new} x {new}"
        if not sized:
            raise ModelError(
                f"weights file {path} does not fit {get_info(model).name}: {what} would be resampled from {words}; "
                "check --model, or pass --img-size to have it so"
            )
        notes.append(f"{what} was resampled from {words}, as --img-size asks")
    return tuple(notes)
