"""What a loaded model is: its name, where its weights came from, what was done to it. Travels on the model as `toast_info`."""

from dataclasses import dataclass

from torch import nn

from toast_core.cost.shapes import ModelShape
from toast_core.errors import PlanError
from toast_core.models.adapters import adapter_for
from toast_core.schedule.schedule import Schedule


@dataclass(frozen=True)
class ModelInfo:
    """name, weights (where they came from), shape of the baseline, and the schedule and execution applied to it, if any.

    weights_file is where the baseline's weights can be looked at again, inside toast_core for the demos; None where there is none.
    random_classifier says that the classifier was drawn, not trained. notes say what loading chose, resampled or guessed.
    """

    name: str
    weights: str
    shape: ModelShape
    execution: str = "baseline"
    schedule: Schedule | None = None
    weights_file: str | None = None
    random_classifier: bool = False
    notes: tuple[str, ...] = ()


def check_baseline(info: ModelInfo, instead: str) -> None:
    """Raise a PlanError unless nothing was pruned yet; `instead` says what to do with the baseline model."""
    if info.execution != "baseline":
        raise PlanError(f"{info.name} is already pruned ({info.execution}); {instead}")


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
