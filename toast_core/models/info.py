"""What a loaded model is: its name, where its weights came from, what was done to it. Travels on the model as `toast_info`."""

from dataclasses import dataclass

from torch import nn

from toast_core.cost.shapes import ModelShape
from toast_core.errors import PlanError
from toast_core.models.adapters import adapter_for
from toast_core.preprocessing import OWN, Preprocessing
from toast_core.schedule.schedule import Schedule


@dataclass(frozen=True)
class ModelInfo:
    """name, weights (where they came from), shape of the baseline, and the schedule and execution applied to it, if any.

    weights_file       where the baseline's weights can be looked at again, inside toast_core for the demos; None where there is none
    preprocessing      what replaces timm's preprocessing of the name: a file's own, and what was chosen over it
    classes            names by output, where the weights or a class map say them: one for each
    class_order        in which class folders are numbered for this model, where its file says it
    random_classifier  whether the weights leave the classifier random
    projection         whether the head is CLIP's projection to the space that texts share: its outputs are no classes
    in_chans           channels of the input, where they are not the name's own
    notes              what loading took away, chose, resampled or guessed, a line each
    """

    name: str
    weights: str
    shape: ModelShape
    execution: str = "baseline"
    schedule: Schedule | None = None
    weights_file: str | None = None
    preprocessing: Preprocessing = OWN
    classes: tuple[str, ...] | None = None
    class_order: str | None = None
    random_classifier: bool = False
    projection: bool = False
    in_chans: int | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.classes is not None and len(self.classes) != self.shape.num_classes:
            raise ValueError(f"{len(self.classes)} class names for {self.shape.num_classes} outputs of {self.name}; one is needed for each")

    @property
    def told(self) -> tuple[str, ...]:
        """What whoever loads the model has to be told, a line each: the notes, and that the classifier is random where it is."""
        random = (f"the classifier of {self.name} is random: its answers say nothing",) if self.random_classifier else ()
        return (*self.notes, *random)


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
