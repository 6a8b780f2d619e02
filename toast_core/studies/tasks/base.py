"""What an outcome of an image is, for whatever measures, stores or shows it. Imports no torch.

A task names its per-image arrays, its figures (the headline first, with unit and direction), and the damage of an image beside the
baseline, which sweeps report and tuning minimises. Studies ask it and assume neither logits nor labels. A model's output is what
`Task.forward` gives: only the task looks into it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy as np

from toast_core.intervals import MOST_DECIMALS, Z95, Estimate, decimals

if TYPE_CHECKING:
    import torch
    from torch import nn

    from toast_core.data.load import Batch
    from toast_core.models.adapters.base import Adapter
    from toast_core.studies.tasks.bank import Bank

Output = Any
"""What a model says of a batch: logits, or whatever else a task reads."""
Forward = Callable[["torch.Tensor"], "torch.Tensor"]
"""A model, or an exported file that was opened as a function of images."""


@dataclass(frozen=True)
class Figure:
    """A figure of a task, and how pages and tables word it.

    key               its name in JSON, in summaries and in rows
    label             for people, in the middle of a line
    unit              empty where it has none
    digits            behind the point at least; more where an interval is narrower than the last of them
    higher_is_better  which way is good
    change_unit       of a difference of two such figures
    """

    key: str
    label: str
    unit: str = ""
    digits: int = 2
    higher_is_better: bool = True
    change_unit: str = ""

    @property
    def heading(self) -> str:
        """Of a column of values without a unit, for example `top-1 %`."""
        return f"{self.label} {self.unit}".rstrip()

    @property
    def title(self) -> str:
        """The label at the beginning of a line, for example `Feature cosine`."""
        return self.label[:1].upper() + self.label[1:]

    def number(self, value: float, sign: str = "") -> str:
        """A value without unit or interval, of three digits that count at least: `0.0312`, `0.000118`. `sign` "+" has it signed."""
        small = 2 - math.floor(math.log10(abs(value))) if value else 0
        return f"{value:{sign}.{max(self.digits, min(MOST_DECIMALS, small))}f}"

    def value(self, estimate: Estimate) -> str:
        """The value without a unit, for example `91.53`."""
        return f"{estimate.value:.{decimals(estimate.ci95, self.digits)}f}"

    def said(self, estimate: Estimate) -> str:
        """The value with its unit, for example `91.53 %`."""
        return f"{self.value(estimate)} {self.unit}".rstrip()

    def in_short(self, estimate: Estimate) -> str:
        """Label, value and interval, for example `top-1 91.2 % (95 %: 90.6 to 91.7 %)`."""
        low, high = estimate.ci95
        digits, unit = decimals(estimate.ci95, self.digits - (self.unit == "%")), f" {self.unit}" if self.unit else ""
        return f"{self.label} {estimate.value:.{digits}f}{unit} (95 %: {low:.{digits}f} to {high:.{digits}f}{unit})"

    def between(self, estimate: Estimate) -> str:
        """The interval without a unit, for example `90.97 to 92.06`."""
        low, high = estimate.ci95
        digits = decimals(estimate.ci95, self.digits)
        return f"{low:.{digits}f} to {high:.{digits}f}"


class ImageOutcomes(Protocol):
    """Outcomes of a whole evaluation, one an image in evaluation order, from which every figure follows.

    FIGURES  the figures that there can be, the headline first
    index    position of the image in the data set, int64
    """

    FIGURES: ClassVar[tuple[Figure, ...]]

    @property
    def index(self) -> np.ndarray: ...
    def estimates(self) -> dict[str, Estimate]:
        """The figures that are known, by key and in the order of FIGURES, each with its 95 % interval."""

    def change(self, baseline: Self) -> Estimate:
        """The headline less the baseline's on the same images, in its `change_unit`, with its paired interval."""

    def hits(self) -> dict[str, int]:
        """How many images are right, by the key of each figure that is a share of images."""

    def same_answers(self, other: Self) -> int | None:
        """How many images are answered alike; None where nothing is answered."""

    def joined(self, *others: Self) -> Self:
        """These images followed by the others'."""

    def arrays(self) -> dict[str, np.ndarray]:
        """Every array by name, as a measurement that is not finished is kept."""

    def stored(self) -> dict[str, np.ndarray]:
        """What is stored of a finished one, by name."""


class CellOutcomes(Protocol):
    """Outcomes of one cell of a sweep or of one candidate, one an image, beside the baseline's."""

    NAMES: ClassVar[tuple[str, ...]]

    def __len__(self) -> int: ...
    def joined(self, *others: Self) -> Self:
        """These images followed by the others'."""

    def first(self, images: int) -> Self:
        """The first images only."""

    def interval(self, baseline: Self, z: float = Z95) -> tuple[float, float]:
        """The interval of the headline's difference to the baseline's, in points (hundredths where the figure has no unit)."""

    def row(self, baseline: Self, z: float = Z95) -> dict[str, Any]:
        """The figures of a row, the mean damage and the number of images among them."""

    def stored(self) -> dict[str, np.ndarray]:
        """What is stored of a cell, by name."""

    def damage(self) -> np.ndarray:
        """What the image lost beside the baseline, at least 0; its mean is what sweeps report and tuning minimises."""

    def margins(self) -> np.ndarray | None:
        """How far each image is from changing between right and wrong; None where the headline loses just the damage, in hundredths."""

    def foretold(self, change: Estimate, damage: float) -> dict[str, Any]:
        """The figures of a row that is predicted, these being the baseline's: the headline after a change, in points as `interval`
        has them, with its interval, and the mean damage.
        """

    def kept(self) -> np.ndarray | None:
        """Whether the baseline's answer stays, where there are answers; whoever asks gave the baseline's as labels."""


class Probe(Protocol):
    """A model whose outcomes are taken, batch by batch."""

    def __call__(self, batch: "Batch") -> ImageOutcomes: ...


class Task(Protocol):
    """What a model is for.

    name          in the registry and in identities
    title         for people: what is measured
    figures       of evaluations, the headline first
    certified     keys of the figures that a certificate states, the headline first; those that are not known are left out
    damage        what sweeps report and tuning minimises
    seeks_neighbours  whether images of known classes are looked at beside those that are measured
    output        what a number of the output is called
    answers       whether a model answers an image with one of several classes
    compares      whether outcomes are taken beside the baseline's output on the same images
    reads_tokens  whether every token after the last block is looked at, so that none may be left out
    details       what identities of cells and reports have beside those of classification
    """

    name: str
    title: str
    figures: tuple[Figure, ...]
    certified: tuple[str, ...]
    damage: Figure
    seeks_neighbours: bool
    output: str
    answers: bool
    compares: bool
    reads_tokens: bool
    details: Mapping[str, str]

    def forward(self, run: Forward, images: "torch.Tensor") -> Output:
        """A whole model's output, (B, C, H, W) in its dtype and on its device."""

    def head(self, adapter: "Adapter", model: "nn.Module", x: "torch.Tensor") -> Output:
        """The output from what the last block gives."""

    def numbers(self, output: Output) -> "torch.Tensor":
        """The numbers (B, C) that two forms of one model must agree in, float32 on the CPU."""

    def probe(self, model: "nn.Module", baseline: "nn.Module | None" = None, bank: "Bank | None" = None) -> Probe:
        """Whatever turns a batch into outcomes of `model`; what lies beside it, a task may need or not."""

    def neighbours(self, run: Forward, bank: "Bank | None", parameter: "torch.Tensor") -> "Callable[[Output], np.ndarray | None]":
        """What gives the classes of a batch's nearest bank images by a form's own outputs, None where no neighbours are sought.

        `parameter` has the dtype and the device that the form takes.
        """

    def outcomes(self, output: Output, reference: Output, batch: "Batch", answers: "np.ndarray | None" = None) -> ImageOutcomes:
        """Outcomes of a batch beside the baseline's output on it, None where that is not known; `answers` are those of `neighbours`."""

    def read(self, arrays: Mapping[str, np.ndarray]) -> ImageOutcomes:
        """What `ImageOutcomes.arrays` gave."""

    def cell(self, output: Output, reference: Output, labels: "torch.Tensor") -> CellOutcomes:
        """Outcomes of a cell on a batch."""

    def read_cell(self, arrays: Mapping[str, np.ndarray]) -> CellOutcomes:
        """The cell of these arrays, by `CellOutcomes.NAMES`."""

    def worded(self, row: Mapping[str, Any]) -> dict[str, str]:
        """The figures of a sweep's row as a table shows them, by column."""

    def judged(self, row: Mapping[str, Any]) -> str:
        """What a tuning's measured candidate says of held-out images, in a few words."""

    def scores(self, output: Output) -> "torch.Tensor":
        """The numbers (B, C) of an output that damage is a function of, in its dtype, so that gradients pass."""

    def directions(self, output: Output, draws: Sequence["np.random.Generator"], count: int) -> "torch.Tensor":
        """Directions g (count, B, C) in the space of `scores`, drawn by a generator an image, so that for a small change d of an image's
        scores the damage is half the mean of (g . d)^2, to second order.
        """

    def labels(self, reference: Output) -> "torch.Tensor":
        """The baseline's answers (B,) as labels, where judging by its own answers needs them; zeros where there are none."""


def as_float16(values: np.ndarray) -> np.ndarray:
    """The values in half precision, those beyond its range at its ends: what is stored of a loss or margin an image."""
    largest = float(np.finfo(np.float16).max)
    return np.clip(values, -largest, largest).astype(np.float16)
