"""Weights: put into a model, and told apart by their digest. `toast_core.models.checkpoint` reads them."""

import hashlib
import sys
from pathlib import Path

import torch
from torch import nn

from toast_core.errors import ModelError
from toast_core.files import first_line
from toast_core.models.demo import DEMO_BUILDERS
from toast_core.models.info import get_info

OFFLINE_HINT = "pass --weights FILE (a local checkpoint), --weights random, or use demo_vit or demo_swin"


def fill(model: nn.Module, state: dict[str, torch.Tensor], path: Path) -> None:
    """Load a state dict strictly, after timm's own conversion of older layouts and of other image sizes.

    Args:
        model: as `build_baseline` returns it; it is changed.
        path: where the weights came from, for messages.

    Raises:
        ModelError: the weights are of another model, or of other sizes.
    """
    name = get_info(model).name
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if name not in DEMO_BUILDERS and convert is not None:
        try:
            state = convert(state, model)
        except (KeyError, RuntimeError, ValueError, IndexError, AttributeError, TypeError, ZeroDivisionError) as error:
            raise ModelError(
                f"weights file {path} is no checkpoint of {name} ({first_line(error)}); check --model"
            ) from error
    own = model.state_dict()
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or unexpected:
        what = (
            f"lacks {missing[0]} and {len(missing) - 1} more" if missing else f"has {unexpected[0]} and {len(unexpected) - 1} more too many"
        )
        raise ModelError(f"weights file {path} does not fit {name}: it {what}; check --model")
    for key, value in own.items():
        if state[key].shape != value.shape:
            raise ModelError(
                f"weights file {path} does not fit {name}: {key} is {tuple(state[key].shape)}, the model's is "
                f"{tuple(value.shape)}; check --model, --num-classes and --img-size"
            )
    model.load_state_dict(state)


def weights_digest(model: nn.Module) -> str:
    """Return the sha256 of every tensor that the model would save, by name: equal for equal weights, whatever file they came from."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
