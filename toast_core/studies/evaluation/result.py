"""What measurements return: frozen, free of torch, ready for JSON."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from toast_core.errors import DataError
from toast_core.intervals import Estimate as Estimate  # whoever reads results reads it from here
from toast_core.intervals import mean_interval, paired_interval, wilson_percent
from toast_core.studies.tasks.base import Figure, ImageOutcomes, as_float16

OUTCOME_NAMES = ("index", "label", "predicted", "top5", "loss", "margin")


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Per-image outcomes in evaluation order, from which every aggregate follows.

    index     position of the image in the data set, int64
    label     its class, int64
    predicted the class with the largest logit, int64
    top5      whether the label is among the five largest logits (fewer where there are fewer classes)
    loss      cross entropy in nats, float64
    margin    the label's logit less the largest other logit, float64
    """

    FIGURES: ClassVar[tuple[Figure, ...]] = (
        Figure("top1", "top-1", "%", change_unit="points"), Figure("top5", "top-5", "%", change_unit="points"),
        Figure("loss", "loss", higher_is_better=False),
    )
    index: np.ndarray
    label: np.ndarray
    predicted: np.ndarray
    top5: np.ndarray
    loss: np.ndarray
    margin: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        """Whether the label has the largest logit."""
        correct: np.ndarray = self.predicted == self.label
        return correct

    @property
    def top1_estimate(self) -> Estimate:
        """Top-1 accuracy in percent with its Wilson interval."""
        return _accuracy(self.correct)

    @property
    def top5_estimate(self) -> Estimate:
        """Top-5 accuracy in percent with its Wilson interval."""
        return _accuracy(self.top5)

    @property
    def loss_estimate(self) -> Estimate:
        """Mean cross entropy with its normal interval."""
        return Estimate(float(np.mean(self.loss)), mean_interval(self.loss))

    def estimates(self) -> dict[str, Estimate]:
        """Top-1, top-5 and loss, by the keys of FIGURES."""
        return {"top1": self.top1_estimate, "top5": self.top5_estimate, "loss": self.loss_estimate}

    def change(self, baseline: "Outcomes") -> Estimate:
        """Top-1 less the baseline's on the same images, in points, with its paired interval."""
        before, after = baseline.correct, self.correct
        return Estimate(100.0 * (int(after.sum()) - int(before.sum())) / len(after), paired_interval(before, after))

    def hits(self) -> dict[str, int]:
        """How many images have the label as the largest logit, and among the five largest."""
        return {"top1": int(self.correct.sum()), "top5": int(self.top5.sum())}

    def same_answers(self, other: "Outcomes") -> int:
        """How many images get the same class."""
        return int((self.predicted == other.predicted).sum())

    def joined(self, *others: "Outcomes") -> "Outcomes":
        """These images followed by the others'."""
        return Outcomes(*(np.concatenate([getattr(one, name) for one in (self, *others)]) for name in OUTCOME_NAMES))

    def arrays(self) -> dict[str, np.ndarray]:
        """Every array by name, as a measurement that is not finished is kept."""
        return {name: np.ascontiguousarray(getattr(self, name)) for name in OUTCOME_NAMES}

    def stored(self) -> dict[str, np.ndarray]:
        """What is stored of an evaluation: position, class and prediction of every image, top-5 hit, loss and margin."""
        whole = {name: getattr(self, name).astype(np.int32) for name in ("index", "label", "predicted")}
        return whole | {"top5": self.top5, "loss": as_float16(self.loss), "margin": as_float16(self.margin)}


def _accuracy(hits: np.ndarray) -> Estimate:
    return Estimate(100.0 * float(np.mean(hits)), wilson_percent(int(np.sum(hits)), len(hits)))


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One model on one data set. `macs` counts one image; `skipped` names the files that could not be read, `reasons` why."""

    outcomes: ImageOutcomes
    order: str
    batch_size: int
    selection: str | None
    execution: str
    seed: int
    dtype: str
    device: str
    macs: int
    skipped: tuple[str, ...] = field(default=())
    reasons: tuple[str, ...] = field(default=())

    @property
    def answers(self) -> Outcomes:
        """The outcomes of a classifier.

        Raises:
            DataError: the model has none.
        """
        if not isinstance(self.outcomes, Outcomes):
            raise DataError("the model has no classifier, so that no image has an answer; look at its features")
        return self.outcomes

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain JSON values, accuracies in percent."""
        return {
            **{key: estimate.to_dict() for key, estimate in self.outcomes.estimates().items()},
            "images": len(self.outcomes.index),
            "skipped": len(self.skipped),
            "skipped_files": list(self.skipped),
            "skipped_reasons": list(self.reasons),
            "order": self.order,
            "batch_size": self.batch_size,
            "selection": self.selection,
            "execution": self.execution,
            "seed": self.seed,
            "dtype": self.dtype,
            "device": self.device,
            "macs": self.macs,
        }

    def __repr__(self) -> str:
        """For example `Evaluation(top-1 91.53 % (95 %: 90.97 to 92.06), 10000 images, compact, 0.0512 GMACs)`."""
        (figure, first), *_ = self.rows()
        about = f"{len(self.outcomes.index)} images, {self.execution}, {self.macs / 1e9:.4f} GMACs"
        return f"Evaluation({figure.label} {figure.said(first)} (95 %: {figure.between(first)}), {about})"

    def _repr_html_(self) -> str:
        """For a notebook: the figures with their intervals, and what they are of."""
        rows = [
            f"<tr><th>{figure.label}</th><td>{figure.said(one)}</td><td>{figure.between(one)}</td></tr>"
            for figure, one in self.rows()
        ]
        about = f"{len(self.outcomes.index)} images, {self.execution}, {self.macs / 1e9:.4f} GMACs, {self.dtype} on {self.device}"
        return f"<table><caption>{about}</caption><tr><th></th><th></th><th>95 %</th></tr>{''.join(rows)}</table>"

    def rows(self) -> list[tuple[Figure, Estimate]]:
        """The figures that are known, the headline first."""
        found = self.outcomes.estimates()
        return [(figure, found[figure.key]) for figure in self.outcomes.FIGURES if figure.key in found]
