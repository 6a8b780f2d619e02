"""What a schedule asks to be done for the channels that it drops, beyond choosing them (method, section 6)."""

from dataclasses import dataclass

from toast_core.errors import ScheduleError

FFN = {
    "none": "dropped hidden units are lost",
    "bias": "the mean of what they added goes into fc2's bias",
    "fold": "what of them follows linearly from the kept units is folded into fc2",
}
ATTENTION = {
    "select": "every head keeps some of its own dimensions",
    "project": "every head keeps the best linear combinations of its dimensions, and the output projection is fitted to them",
}
CALIBRATIONS = {
    "one_shot": "every block is fitted on the baseline's activations",
    "sequential": "every block is fitted on the activations of the model pruned so far",
    "error_correcting": "every block is fitted so that the pruned model returns to the baseline's activations",
}


@dataclass(frozen=True)
class Compensation:
    """One choice of FFN, ATTENTION and CALIBRATIONS each; the default compensates nothing."""

    ffn: str = "none"
    attention: str = "select"
    calibration: str = "one_shot"

    def __post_init__(self) -> None:
        for name, choices in (("ffn", FFN), ("attention", ATTENTION), ("calibration", CALIBRATIONS)):
            value = getattr(self, name)
            if value not in tuple(choices):
                raise ScheduleError(f"unknown {name} compensation {value!r}; choose from {', '.join(choices)}")

    @property
    def is_none(self) -> bool:
        """Whether dropped channels are lost, with nothing done for them."""
        return self.ffn == "none" and self.attention == "select"


NONE = Compensation()
FULL = Compensation("fold", "project", "error_correcting")
