"""How a pruned model is fine-tuned: one frozen value, checked when it is made."""

import math
from dataclasses import dataclass, replace

from toast_core.errors import DataError, PlanError
from toast_core.schedule.execution import check_execution

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
# field: (lowest, highest, what to write); both ends are allowed
_LIMITS = {
    "epochs": (1, math.inf, "a whole number of at least 1"),
    "batch_size": (1, math.inf, "a whole number of at least 1"),
    "accumulate": (1, math.inf, "a whole number of at least 1"),
    "patience": (0, math.inf, "a whole number of epochs, or 0 to never stop early"),
    "lr": (1e-12, math.inf, "a number above 0, for example 5e-4"),
    "weight_decay": (0, math.inf, "a number of at least 0"),
    "warmup_epochs": (0, math.inf, "a number of epochs of at least 0"),
    "clip_norm": (0, math.inf, "a number above 0, or 0 to clip nothing"),
    "temperature": (1e-3, math.inf, "a number above 0, for example 2"),
    "mixup": (0, math.inf, "timm's alpha, for example 0.8, or 0 for none"),
    "cutmix": (0, math.inf, "timm's alpha, for example 1.0, or 0 for none"),
    "smoothing": (0, 0.99, "a fraction of the label to spread over all classes, below 1"),
    "ema": (0, 0.999999, "a decay below 1, for example 0.999, or 0 for none"),
    "validation_share": (1e-6, 0.9, "a fraction of the training images, for example 0.1"),
    "seed": (0, 2**63 - 1, "a whole number of at least 0"),
}
# The learning rate where none is given. Adam's first steps change every weight by about the rate, whatever the gradient: a few steps
# at a rate made for many throw a model away, and a step of fewer images goes a noisier way.
_PEAK, _PEAK_IMAGES, _PEAK_STEPS = 5e-4, 128, 100
_LEAST_HELD, _LEAST_STEPS = 30, 20  # validation images and steps below which a recovery says little
_DIGITS = 2  # of a rate, for people to read
_WHOLE = ("epochs", "batch_size", "accumulate", "patience", "seed")


@dataclass(frozen=True)
class Recipe:
    """How a pruned model is fine-tuned.

    epochs            passes over the training images
    batch_size        images of one forward of one process
    accumulate        forwards of every process before an optimizer step; images of a step = batch_size * accumulate * processes
    optimizer         timm's name
    lr                peak, reached after `warmup_epochs`, then along a cosine to a hundredth; None: see `settled`
    clip_norm         the gradient's largest norm; 0: not clipped
    distill           learn the baseline's logits, at `temperature`
    distill_blocks    learn its block outputs too
    labels            learn the labels; with `distill`, both count half
    mixup, cutmix     timm's alphas; the baseline sees the mixed images too
    smoothing         of the labels
    augment           crop, mirror and, for colour pictures, timm's training transform
    ema               decay of the averaged weights, which are then the ones validated and returned; 0: none
    patience          epochs without a lower validation loss before it stops; 0: never
    validation_share  fraction of the training images held out, class-balanced, to choose the epoch by
    precision         of forwards under autocast: auto is bfloat16 or float16 on a GPU, float32 elsewhere
    execution         compact, or masked: dynamic selection per image gathers weights for every image, which masked does not
    seed              of split, data order, augmentation, mixing and dropped paths
    """

    epochs: int = 10
    batch_size: int = 128
    accumulate: int = 1
    optimizer: str = "adamw"
    lr: float | None = None
    weight_decay: float = 0.05
    warmup_epochs: float = 0.5
    clip_norm: float = 1.0
    distill: bool = True
    distill_blocks: bool = False
    temperature: float = 2.0
    labels: bool = True
    mixup: float = 0.0
    cutmix: float = 0.0
    smoothing: float = 0.1
    augment: bool = True
    ema: float = 0.998
    patience: int = 10
    validation_share: float = 0.1
    precision: str = "auto"
    execution: str = "compact"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, (lowest, highest, hint) in _LIMITS.items():
            value = getattr(self, name)
            if name == "lr" and value is None:
                continue
            number = isinstance(value, int if name in _WHOLE else int | float) and not isinstance(value, bool)
            if not number or not math.isfinite(value) or not lowest <= value <= highest:
                raise DataError(f"{name.replace('_', '-')} is {value!r:.80}; write {hint}")
        if self.precision not in PRECISIONS:
            raise DataError(f"unknown precision {self.precision!r:.80}; choose from {', '.join(PRECISIONS)}")
        check_execution(self.execution)
        if not (self.distill or self.distill_blocks or self.labels):
            raise PlanError("there is nothing to learn from: no labels and no distillation; leave one of them on")
        if (self.mixup or self.cutmix) and self.batch_size % 2:
            raise DataError(f"batch-size is {self.batch_size}; mixup and cutmix pair images, so write an even number")

    def steps(self, images: int, processes: int = 1) -> int:
        """How many optimizer steps all epochs take on so many images, those held out included; at least one, as fewer are refused."""
        learned = images - held_out(images, self.validation_share)
        return self.epochs * max(1, learned // (self.batch_size * self.accumulate * processes))

    def settled(self, images: int, processes: int = 1) -> "Recipe":
        """Return the recipe with its learning rate as a number.

        Where none was given it is 5e-4 for 128 images a step or more and 100 steps or more in all; it falls with the root of the images
        of a step, and in proportion to the steps. So it is the same for a command, a job and a notebook that ask the same.

        Args:
            images: training images, those that will be held out included.
        """
        if self.lr is not None:
            return self
        together = self.batch_size * self.accumulate * processes
        rate = _PEAK * min(1.0, math.sqrt(together / _PEAK_IMAGES)) * min(1.0, self.steps(images, processes) / _PEAK_STEPS)
        return replace(self, lr=float(f"{rate:.{_DIGITS}g}"))

    def cautions(self, images: int, processes: int = 1) -> list[str]:
        """What speaks against learning from so many images, a line each: what is measured of them cannot be trusted, or hardly moves."""
        held, steps = held_out(images, self.validation_share), self.steps(images, processes)
        said = []
        if held < _LEAST_HELD:
            said.append(
                f"{held} validation images cannot tell epochs apart: what is kept is left to chance; use at least "
                f"{math.ceil(_LEAST_HELD / self.validation_share)} training images, or raise --validation-share"
            )
        if steps < _LEAST_STEPS:
            said.append(
                f"{steps} optimizer step{'s' if steps > 1 else ''} in all, too few to learn much: use more images or --epochs, or lower "
                "--batch-size"
            )
        return said


def held_out(images: int, share: float) -> int:
    """How many of the training images choose the epoch."""
    return round(share * images)
