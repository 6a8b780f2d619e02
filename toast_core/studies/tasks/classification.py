"""Images have one class each, and a model's output is a logit a class. Imports torch where something is measured."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from toast_core.studies.evaluation.result import OUTCOME_NAMES, Outcomes
from toast_core.studies.sensitivity.cells import CellOutcomes
from toast_core.studies.tasks.base import Figure, Forward

if TYPE_CHECKING:
    import torch
    from torch import nn

    from toast_core.data.load import Batch
    from toast_core.models.adapters.base import Adapter
    from toast_core.studies.tasks.bank import Bank
    from toast_core.studies.tasks.base import Probe


class Classification:
    """Accuracy and loss; damage is the divergence of the baseline's probabilities, KL(baseline || pruned), and needs no labels."""

    name = "classification"
    title = "Accuracy"
    figures = Outcomes.FIGURES
    certified = ("top1", "top5")
    damage = Figure("kl", "KL", "nats", 4, higher_is_better=False)
    seeks_neighbours = False
    output = "logit"
    answers = True
    compares = False
    reads_tokens = False
    details: Mapping[str, str] = {}

    def forward(self, run: Forward, images: "torch.Tensor") -> "torch.Tensor":
        """Logits (B, classes)."""
        return run(images)

    def head(self, adapter: "Adapter", model: "nn.Module", x: "torch.Tensor") -> "torch.Tensor":
        """Logits (B, classes)."""
        return adapter.head(model, x)

    def numbers(self, output: "torch.Tensor") -> "torch.Tensor":
        """The logits."""
        return output.float().cpu()

    def probe(self, model: "nn.Module", baseline: "nn.Module | None" = None, bank: "Bank | None" = None) -> "Probe":
        """The model alone: labels say what is right."""
        from functools import partial

        from toast_core.studies.evaluation.measure import run_batch

        return partial(run_batch, model)

    def neighbours(self, run: Forward, bank: "Bank | None", parameter: "torch.Tensor") -> "Callable[[torch.Tensor], None]":
        """Nothing: labels say what is right."""
        return lambda output: None

    def outcomes(
        self, output: "torch.Tensor", reference: "torch.Tensor | None", batch: "Batch", answers: np.ndarray | None = None
    ) -> Outcomes:
        """Hit, loss and margin an image."""
        from toast_core.studies.evaluation.measure import outcomes_of

        return outcomes_of(output, batch.labels, batch.index)

    def read(self, arrays: Mapping[str, np.ndarray]) -> Outcomes:
        """What `Outcomes.arrays` gave."""
        return Outcomes(*(arrays[name] for name in OUTCOME_NAMES))

    def cell(self, output: "torch.Tensor", reference: "torch.Tensor", labels: "torch.Tensor") -> CellOutcomes:
        """Hit, loss, margin and divergence an image."""
        from toast_core.studies.sensitivity.measure import cell_outcomes

        return cell_outcomes(output, reference, labels)

    def read_cell(self, arrays: Mapping[str, np.ndarray]) -> CellOutcomes:
        """The cell of these arrays."""
        return CellOutcomes(*(arrays[name] for name in CellOutcomes.NAMES))

    def worded(self, row: Mapping[str, Any]) -> dict[str, str]:
        """Top-1 with its difference to the baseline, and the divergence."""
        low, high = row["ci95"]
        return {
            "top-1 %": f"{row['top1']:.2f}", "difference": f"{row['top1_delta']:+.2f}", "95 %": f"{low:+.2f} to {high:+.2f}",
            "KL": f"{row['kl']:.4f}",
        }

    def judged(self, row: Mapping[str, Any]) -> str:
        """How many images keep the baseline's answer."""
        low, high = row["agreement_ci95"]
        return f"{row['agreement']:.1f} % (95 %: {low:.1f} to {high:.1f} %) of held-out images keep the baseline's answer"

    def scores(self, output: "torch.Tensor") -> "torch.Tensor":
        """The logits."""
        return output

    def directions(self, output: "torch.Tensor", draws: Sequence[np.random.Generator], count: int) -> "torch.Tensor":
        """Random sums over the classes by the baseline's own probabilities: their covariance is what KL bends by."""
        from toast_core.studies.tasks.directions import signed_directions

        return signed_directions(output, draws, count)

    def labels(self, reference: "torch.Tensor") -> "torch.Tensor":
        """The class of each image's largest logit."""
        return reference.argmax(1)
