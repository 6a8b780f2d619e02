"""What measurements return: frozen, free of torch, ready for JSON."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from toast_core.intervals import mean_interval, wilson_percent

OUTCOME_NAMES = ("index", "label", "predicted", "top5", "loss", "margin")


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % interval."""

    value: float
    ci95: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; an end that is not finite (one image has no spread) is null."""
        return {"value": self.value, "ci95": [end if math.isfinite(end) else None for end in self.ci95]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Estimate":
        """Read `to_dict`'s values back."""
        low, high = values["ci95"]
        return cls(float(values["value"]), (-math.inf if low is None else float(low), math.inf if high is None else float(high)))


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


def _accuracy(hits: np.ndarray) -> Estimate:
    return Estimate(100.0 * float(np.mean(hits)), wilson_percent(int(np.sum(hits)), len(hits)))


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One model on one data set. `macs` counts one image; `skipped` names the files that could not be read, `reasons` why."""

    outcomes: Outcomes
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

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain JSON values, accuracies in percent."""
        return {
            "top1": self.outcomes.top1_estimate.to_dict(),
            "top5": self.outcomes.top5_estimate.to_dict(),
            "loss": self.outcomes.loss_estimate.to_dict(),
            "images": len(self.outcomes.label),
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
        top1 = self.outcomes.top1_estimate
        interval = f"(95 %: {top1.ci95[0]:.2f} to {top1.ci95[1]:.2f})"
        about = f"{len(self.outcomes.label)} images, {self.execution}, {self.macs / 1e9:.4f} GMACs"
        return f"Evaluation(top-1 {top1.value:.2f} % {interval}, {about})"

    def _repr_html_(self) -> str:
        """For a notebook: the three figures with their intervals, and what they are of."""
        rows = [
            f"<tr><th>{label}</th><td>{one.value:.2f}{unit}</td><td>{one.ci95[0]:.2f} to {one.ci95[1]:.2f}</td></tr>"
            for label, one, unit in (
                ("top-1", self.outcomes.top1_estimate, " %"), ("top-5", self.outcomes.top5_estimate, " %"),
                ("loss", self.outcomes.loss_estimate, ""),
            )
        ]
        about = f"{len(self.outcomes.label)} images, {self.execution}, {self.macs / 1e9:.4f} GMACs, {self.dtype} on {self.device}"
        return f"<table><caption>{about}</caption><tr><th></th><th></th><th>95 %</th></tr>{''.join(rows)}</table>"
