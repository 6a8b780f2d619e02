"""A backbone without a classifier: its output is what it says of an image to whoever builds on it. Imports torch where it measures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from toast_core.intervals import Z95, Estimate, mean_interval, wilson_percent
from toast_core.studies.tasks.base import Figure, Forward

if TYPE_CHECKING:
    import torch
    from torch import nn

    from toast_core.data.load import Batch
    from toast_core.models.adapters.base import Adapter
    from toast_core.studies.tasks.backbone import BackboneOutput
    from toast_core.studies.tasks.bank import Bank
    from toast_core.studies.tasks.base import Probe

_NOT_KNOWN = -1


@dataclass(frozen=True, eq=False)
class FeatureOutcomes:
    """Per-image outcomes in evaluation order.

    index      position of the image in the data set, int64
    label      its class, int64; without labels nothing looks at it
    cosine     similarity of the pooled features to the baseline's, float32; NaN where the baseline is not known
    tokens     the same of every patch token, its mean over the tokens, float32; NaN where tokens are not known
    neighbour  the class by k-NN (see `neighbours.nearest_classes`), int64; -1 without labelled images to compare with
    """

    FIGURES: ClassVar[tuple[Figure, ...]] = (
        Figure("cosine", "feature cosine", digits=4), Figure("tokens", "token cosine", digits=4),
        Figure("knn", "k-NN top-1", "%", change_unit="points"),
    )
    NAMES: ClassVar[tuple[str, ...]] = ("index", "label", "cosine", "tokens", "neighbour")
    index: np.ndarray
    label: np.ndarray
    cosine: np.ndarray
    tokens: np.ndarray
    neighbour: np.ndarray

    def estimates(self) -> dict[str, Estimate]:
        """The mean cosines with normal intervals, and the share whose neighbours have its class, in percent, with Wilson's."""
        found = {name: _mean(getattr(self, name)) for name in ("cosine", "tokens") if not np.isnan(getattr(self, name)).any()}
        shares = {key: Estimate(100.0 * hits / len(self.label), wilson_percent(hits, len(self.label))) for key, hits in self.hits().items()}
        return found | shares

    def change(self, baseline: "FeatureOutcomes") -> Estimate:
        """The mean cosine less the baseline's on the same images, which is 1."""
        return _mean(self.cosine.astype(np.float64) - baseline.cosine, -2.0, 2.0)

    def hits(self) -> dict[str, int]:
        """How many images have neighbours of their class, where neighbours are known."""
        return {"knn": int((self.neighbour == self.label).sum())} if self._is_answered else {}

    def same_answers(self, other: "FeatureOutcomes") -> int | None:
        """How many images have neighbours of the same class; None where they are not known."""
        return int((self.neighbour == other.neighbour).sum()) if self._is_answered and other._is_answered else None

    @property
    def _is_answered(self) -> bool:
        return bool((self.neighbour != _NOT_KNOWN).all())

    def joined(self, *others: "FeatureOutcomes") -> "FeatureOutcomes":
        """These images followed by the others'."""
        return FeatureOutcomes(*(np.concatenate([getattr(one, name) for one in (self, *others)]) for name in self.NAMES))

    def arrays(self) -> dict[str, np.ndarray]:
        """Every array by name."""
        return {name: np.ascontiguousarray(getattr(self, name)) for name in self.NAMES}

    def stored(self) -> dict[str, np.ndarray]:
        """Every array by name, whole numbers in 32 bits."""
        return {name: values.astype(np.int32 if values.dtype == np.int64 else values.dtype) for name, values in self.arrays().items()}


@dataclass(frozen=True, eq=False)
class FeatureCells:
    """Outcomes of one cell an image: `cosine` and `tokens` as in `FeatureOutcomes`."""

    NAMES: ClassVar[tuple[str, ...]] = ("cosine", "tokens")
    cosine: np.ndarray
    tokens: np.ndarray

    def __len__(self) -> int:
        return len(self.cosine)

    def joined(self, *others: "FeatureCells") -> "FeatureCells":
        """These images followed by the others'."""
        return FeatureCells(*(np.concatenate([getattr(one, name) for one in (self, *others)]) for name in self.NAMES))

    def first(self, images: int) -> "FeatureCells":
        """The first images only."""
        return FeatureCells(self.cosine[:images], self.tokens[:images])

    def interval(self, baseline: "FeatureCells", z: float = Z95) -> tuple[float, float]:
        """The interval of the mean cosine less 1, in hundredths."""
        low, high = mean_interval(-100.0 * self.damage().astype(np.float64), z)
        return low, high

    def row(self, baseline: "FeatureCells", z: float = Z95) -> dict[str, Any]:
        """Mean cosines, their differences to the baseline's 1 with the intervals of those, and the distance 1 - cosine."""
        pooled, tokens = (_mean(values - np.float32(1), -2.0, 0.0, z) for values in (self.cosine, self.tokens))
        return {
            "cosine": pooled.value + 1,
            "cosine_delta": pooled.value,
            "ci95": list(pooled.ci95),
            "tokens": tokens.value + 1,
            "tokens_delta": tokens.value,
            "tokens_ci95": list(tokens.ci95),
            "distance": float(np.mean(self.damage(), dtype=np.float64)),
            "images": len(self),
        }

    def stored(self) -> dict[str, np.ndarray]:
        """Both arrays by name."""
        return {name: getattr(self, name) for name in self.NAMES}

    def damage(self) -> np.ndarray:
        """The cosine distance to the baseline's pooled features, 1 - cosine, float32."""
        distance: np.ndarray = np.float32(1) - self.cosine
        return distance

    def margins(self) -> None:
        """None: the cosine loses the damage, whatever the image."""

    def foretold(self, change: Estimate, damage: float) -> dict[str, Any]:
        """The mean pooled cosine after a change in hundredths, with the change and its interval, and the distance 1 - cosine."""
        low, high = (max(end / 100, -2.0) for end in change.ci95)
        return {"cosine": 1 + change.value / 100, "cosine_delta": change.value / 100, "ci95": [low, high], "distance": damage}

    def kept(self) -> None:
        """A backbone answers nothing, so no answer stays."""


class Features:
    """Likeness to the baseline's features, and k-NN accuracy where there are labels; damage is the cosine distance of pooled features."""

    name = "features"
    title = "Feature similarity"
    figures = FeatureOutcomes.FIGURES
    certified = ("cosine", "tokens", "knn")
    damage = Figure("distance", "feature distance", digits=5, higher_is_better=False)
    seeks_neighbours = True
    output = "feature"
    answers = False
    compares = True
    reads_tokens = True
    details: Mapping[str, str] = {"task": "features"}

    def forward(self, run: Forward, images: "torch.Tensor") -> "BackboneOutput":
        """Pooled features and patch tokens; pooled ones alone of a file that was opened as a function."""
        from toast_core.studies.tasks.backbone import output_of

        return output_of(run, images)

    def head(self, adapter: "Adapter", model: "nn.Module", x: "torch.Tensor") -> "BackboneOutput":
        """Pooled features and patch tokens."""
        from toast_core.studies.tasks.backbone import output_from

        return output_from(adapter, model, x)

    def numbers(self, output: "BackboneOutput") -> "torch.Tensor":
        """The pooled features."""
        return output.pooled.float().cpu()

    def probe(self, model: "nn.Module", baseline: "nn.Module | None" = None, bank: "Bank | None" = None) -> "Probe":
        """The model beside its baseline, with the bank's features where there is one."""
        from toast_core.studies.tasks.feature_probe import FeatureProbe

        return FeatureProbe(model, baseline, bank)

    def neighbours(
        self, run: Forward, bank: "Bank | None", parameter: "torch.Tensor"
    ) -> "Callable[[BackboneOutput], np.ndarray | None]":
        """The classes of the nearest bank images by this form's pooled features."""
        from toast_core.studies.tasks.feature_probe import Neighbours

        return Neighbours(run, bank, parameter)

    def outcomes(
        self, output: "BackboneOutput", reference: "BackboneOutput | None", batch: "Batch", answers: np.ndarray | None = None
    ) -> FeatureOutcomes:
        """Cosines an image, with the classes that its neighbours have where they were looked up."""
        from toast_core.studies.tasks.backbone import likeness

        images = len(batch.index)
        unknown = np.full(images, np.nan, np.float32)
        cosine, tokens = (unknown, unknown) if reference is None else likeness(output, reference)
        neighbour = np.full(images, _NOT_KNOWN, np.int64) if answers is None else answers
        return FeatureOutcomes(np.asarray(batch.index), batch.labels.numpy(), cosine, tokens, neighbour)

    def read(self, arrays: Mapping[str, np.ndarray]) -> FeatureOutcomes:
        """What `FeatureOutcomes.arrays` gave."""
        return FeatureOutcomes(*(arrays[name] for name in FeatureOutcomes.NAMES))

    def cell(self, output: "BackboneOutput", reference: "BackboneOutput", labels: "torch.Tensor") -> FeatureCells:
        """Cosines an image."""
        from toast_core.studies.tasks.backbone import likeness

        return FeatureCells(*likeness(output, reference))

    def read_cell(self, arrays: Mapping[str, np.ndarray]) -> FeatureCells:
        """The cell of these arrays."""
        return FeatureCells(*(arrays[name] for name in FeatureCells.NAMES))

    def worded(self, row: Mapping[str, Any]) -> dict[str, str]:
        """The cosines, and the interval of what pooled features lose; nothing is predicted of tokens."""
        low, high = row["ci95"]
        return {
            "cosine": f"{row['cosine']:.4f}", "difference": f"{row['cosine_delta']:+.4f}", "95 %": f"{low:+.4f} to {high:+.4f}",
            "tokens": f"{row['tokens']:.4f}" if "tokens" in row else "",
        }

    def judged(self, row: Mapping[str, Any]) -> str:
        """How alike the pooled features stay."""
        low, high = row["distance_ci95"]
        return f"feature cosine {1 - row['distance']:.4f} (95 %: {1 - high:.4f} to {1 - low:.4f}) on held-out images"

    def scores(self, output: "BackboneOutput") -> "torch.Tensor":
        """The pooled features."""
        return output.pooled

    def directions(self, output: "BackboneOutput", draws: Sequence[np.random.Generator], count: int) -> "torch.Tensor":
        """Gaussian directions across the features over their length: what the cosine loses is half the square of the angle."""
        from toast_core.studies.tasks.directions import turning_directions

        return turning_directions(output.pooled, draws, count)

    def labels(self, reference: "BackboneOutput") -> "torch.Tensor":
        """Zeros: there are no answers."""
        return reference.pooled.new_zeros(len(reference.pooled)).long()


def _mean(values: np.ndarray, lowest: float = -1.0, highest: float = 1.0, z: float = Z95) -> Estimate:
    """The mean with its normal interval, which ends where such values do: of one image it is all that there can be."""
    wide = values.astype(np.float64)
    low, high = mean_interval(wide, z)
    return Estimate(float(np.mean(wide)), (max(low, lowest), min(high, highest)))
