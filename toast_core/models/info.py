"""What a loaded model is: its name, where its weights came from, what was done to it. Travels on the model as `toast_info`."""

import hashlib
from dataclasses import dataclass

import torch
from torch import nn

from toast_core.cost.shapes import ModelShape
from toast_core.models.adapters import adapter_for
from toast_core.schedule.schedule import Schedule


@dataclass(frozen=True)
class ModelInfo:
    """name, weights (where they came from), shape of the baseline, and the schedule and execution applied to it, if any.

    weights_file is where the baseline's weights can be looked at again, inside toast_core for the demos; None where there is none.
    """

    name: str
    weights: str
    shape: ModelShape
    execution: str = "baseline"
    schedule: Schedule | None = None
    weights_file: str | None = None


def get_info(model: nn.Module) -> ModelInfo:
    """Return the model's info; a plain timm model is described on the spot.

    Raises:
        ModelError: the model is not supported.
    """
    info = getattr(model, "toast_info", None)
    if info is None:
        config = getattr(model, "pretrained_cfg", None) or {}
        name = config.get("architecture") or type(model).__name__
        info = ModelInfo(name, "as given", adapter_for(model, name).shape(model, name))
    return info


def weights_digest(model: nn.Module) -> str:
    """Return the sha256 of every tensor that the model would save, by name: equal for equal weights, whatever file they came from."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
