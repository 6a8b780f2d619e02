"""What recovery minimises: distance to the baseline's logits and block outputs, and to the labels where they are used."""

from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from toast_core.models.adapters import adapter_for
from toast_core.models.info import get_info
from toast_core.studies.recovery.recipe import Recipe


@dataclass
class BlockOutputs:
    """The outputs of the blocks of the watched model that ran last, in order."""

    values: list[torch.Tensor] = field(default_factory=list)
    handles: list[RemovableHandle] = field(default_factory=list)

    def watch(self, model: nn.Module, blocks: list[nn.Module]) -> None:
        """Collect what these blocks of the model give, until `forget`."""
        self.handles.append(model.register_forward_pre_hook(lambda *_: self.values.clear()))
        for block in blocks:
            self.handles.append(block.register_forward_hook(lambda module, inputs, output: self.values.append(output)))

    def forget(self) -> None:
        """Remove the hooks from all watched models, and drop their outputs."""
        for handle in self.handles:
            handle.remove()
        self.values.clear()


class Objective:
    """The loss of a student against the baseline, which is left as it is."""

    def __init__(self, recipe: Recipe, baseline: nn.Module) -> None:
        self.recipe, self.baseline = recipe, baseline.eval()
        self.adapter = adapter_for(baseline, get_info(baseline).name)
        self.own, self.goals = BlockOutputs(), BlockOutputs()
        if recipe.distill_blocks:
            self.goals.watch(baseline, self.adapter.blocks(baseline))

    def watch(self, student: nn.Module) -> None:
        """Collect a student's block outputs too, where the recipe distils blocks."""
        if self.recipe.distill_blocks:
            self.own.watch(student, self.adapter.blocks(student))

    def forget(self) -> None:
        """Remove the hooks from baseline and students, and drop their outputs."""
        self.own.forget()
        self.goals.forget()

    def goal(self, images: torch.Tensor) -> torch.Tensor:
        """The baseline's logits (B, classes)."""
        with torch.no_grad():
            return self.baseline(images)

    def loss(self, logits: torch.Tensor, labels: torch.Tensor, goal: torch.Tensor | None) -> torch.Tensor:
        """The loss of one batch, right after the student's forward.

        Args:
            logits: (B, classes) of the student.
            labels: (B,) classes, or (B, classes) after mixing.
            goal: the baseline's logits on the same images; None where nothing is distilled.
        """
        recipe, parts = self.recipe, []
        logits = logits.float()
        if recipe.distill:
            parts.append(logit_distance(logits, goal.float(), recipe.temperature))
        if recipe.labels:
            smoothing = recipe.smoothing if labels.ndim == 1 else 0.0  # mixed labels are smoothed already
            parts.append(F.cross_entropy(logits, labels, label_smoothing=smoothing))
        loss = torch.stack(parts).mean() if parts else logits.new_zeros(())
        return loss + block_distance(self.own.values, self.goals.values) if recipe.distill_blocks else loss

    @property
    def needs_goal(self) -> bool:
        """Whether the loss needs the baseline's logits or block outputs."""
        return self.recipe.distill or self.recipe.distill_blocks


def logit_distance(logits: torch.Tensor, goal: torch.Tensor, temperature: float) -> torch.Tensor:
    """KL divergence from the baseline's softened answers to the student's, times the temperature squared; mean over images."""
    ours, theirs = (F.log_softmax(values / temperature, 1) for values in (logits, goal))
    return temperature**2 * F.kl_div(ours, theirs, log_target=True, reduction="batchmean")


def block_distance(own: list[torch.Tensor], goals: list[torch.Tensor]) -> torch.Tensor:
    """Squared distance of an image's block outputs over the baseline's own squared size; mean over blocks and images."""

    def size(values: torch.Tensor) -> torch.Tensor:
        return values.float().flatten(1).square().mean(1)

    # an image's own share: the mean over a batch is then the mean over its parts
    shares = [(size(ours - goal) / size(goal)).mean() for ours, goal in zip(own, goals, strict=True)]
    return torch.stack(shares).mean()
