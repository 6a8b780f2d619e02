"""What a loaded model is: its name, where its weights came from, what was done to it. Travels on the model as `toast_info`."""

from dataclasses import dataclass

from torch import nn

from toast_core.models.adapters import adapter_for
from toast_core.schedule.schedule import Schedule
from toast_core.schedule.shapes import ModelShape


@dataclass(frozen=True)
class ModelInfo:
    """name, weights (where they came from), shape of the baseline, and the schedule and execution applied to it, if any."""

    name: str
    weights: str
    shape: ModelShape
    execution: str = "baseline"
    schedule: Schedule | None = None


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
