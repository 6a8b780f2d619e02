"""Sensitivity: prune one site of one block, evaluate, for a whole grid of cells (paper, Fig. 5; method, section 4).

Each batch is decoded once and each block's input is computed once. A cell recomputes only its half block and the blocks
after it; cells of one block share its attention half, and cells with the same hidden layer share that.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from toast_core.data.load import Batch
from toast_core.pruning.execution.apply import prune_block
from toast_core.pruning.execution.block import PrunedBlock
from toast_core.pruning.execution.ops import MaskedExit
from toast_core.pruning.plan import Plan
from toast_core.pruning.statistics import Statistics
from toast_core.studies.device_memory import ImageLimit
from toast_core.studies.evaluation.measure import margins
from toast_core.studies.sensitivity.cells import Cell, CellOutcomes
from toast_core.studies.sensitivity.plans import CellPlans, selected
from toast_core.studies.sensitivity.suffix import Suffix
from toast_core.studies.tasks.base import CellOutcomes as AnyCellOutcomes
from toast_core.studies.tasks.base import ImageOutcomes, Output
from toast_core.studies.tasks.finiteness import check_finite


@dataclass(frozen=True)
class BatchResult:
    """What one batch says: the baseline's outcomes and those of every cell measured on it."""

    baseline: AnyCellOutcomes
    evaluation: ImageOutcomes
    cells: dict[Cell, AnyCellOutcomes]

    def joined(self, other: "BatchResult") -> "BatchResult":
        """These images followed by the other's."""
        cells = {cell: outcomes.joined(other.cells[cell]) for cell, outcomes in self.cells.items()}
        return BatchResult(self.baseline.joined(other.baseline), self.evaluation.joined(other.evaluation), cells)


@dataclass(eq=False)
class _Prefix:
    """What the cells of a batch share: every block's input, and the baseline's outcomes."""

    batch: Batch
    inputs: list[torch.Tensor]
    output: Output
    baseline: AnyCellOutcomes
    evaluation: ImageOutcomes


class Sweep:
    """A baseline model and the settings that its cells share; measures any cells on any batch.

    The last batch's block inputs are held, so that its cells may be asked for in several calls.
    `most_images` limits how many images run at once, None for whole batches; the limit shrinks when the device runs out of memory.
    `planner` gives a cell's plan where `plans.selected` is not what is to be measured, as with compensated cells.
    """

    def __init__(
        self,
        model: nn.Module,
        statistics: Statistics | None = None,
        most_images: int | None = None,
        planner: Callable[[Cell], Plan] | None = None,
        **settings: Any,
    ) -> None:
        self.model = model.eval()
        self.limit = ImageLimit(most_images, settings.get("selection"))
        self.plan_of = CellPlans(planner or partial(selected, model, statistics, settings))
        self.suffix = Suffix(model)
        self._held: _Prefix | None = None

    def __getstate__(self) -> dict[str, object]:
        """What is sent to a worker: not what is held of a batch."""
        return {**self.__dict__, "_held": None}

    def block_of(self, cell: Cell) -> PrunedBlock:
        """Return the cell's pruned block (masked). Only its plan is held: pruned attention copies weights."""
        plan, layout = self.plan_of(cell), self.suffix.adapter.layout(self.model, cell.block)
        return prune_block(self.suffix.blocks[cell.block], layout, plan.blocks[cell.block], plan, self.suffix.adapter, "masked")

    def measure(self, batch: Batch, cells: Sequence[Cell]) -> BatchResult:
        """Measure cells on one batch, in pieces where it does not fit whole; see `ImageLimit`.

        Raises:
            DeviceError: even one image does not fit, or the batch does not and selection looks at the whole batch.
        """
        with torch.inference_mode():
            return self.limit.run(batch, lambda piece: self._measure(piece, cells), partial(reduce, BatchResult.joined))

    def _measure(self, batch: Batch, cells: Sequence[Cell]) -> BatchResult:
        if self._held is None or self._held.batch is not batch:
            self._held = None  # two batches' need not fit at once
            self._held = self._prefix(batch)
        prefix = self._held
        found: dict[Cell, AnyCellOutcomes] = {}
        for index in sorted({cell.block for cell in cells}):
            for cell, out in self._block_outputs(index, prefix.inputs[index], [cell for cell in cells if cell.block == index]):
                output = self.suffix.output(self.suffix.enter(index + 1, out), index + 1)
                found[cell] = self.suffix.task.cell(output, prefix.output, batch.labels)
        return BatchResult(prefix.baseline, prefix.evaluation, found)

    def _prefix(self, batch: Batch) -> _Prefix:
        parameter = next(self.model.parameters())
        x = self.suffix.start(batch.images.to(parameter.device, parameter.dtype))
        inputs = [x]
        for index, block in enumerate(self.suffix.blocks[:-1]):
            x = self.suffix.enter(index + 1, block(x))
            inputs.append(x)
        output, task = self.suffix.output(x, len(inputs) - 1), self.suffix.task
        baseline = task.cell(output, output, batch.labels)
        return _Prefix(batch, inputs, output, baseline, task.outcomes(output, output, batch))

    def _block_outputs(self, index: int, x: torch.Tensor, cells: list[Cell]) -> Iterator[tuple[Cell, torch.Tensor]]:
        """Yield each cell's block output, sharing what cells have in common: attention half, gated stream and hidden layer."""
        attention = [cell for cell in cells if "fc" not in cell.site]
        for cell in attention:
            yield cell, self.block_of(cell)(x)
        rest = sorted((cell for cell in cells if "fc" in cell.site), key=lambda cell: ("fc1" in cell.site, cell.ratio, cell.site))
        if not rest:
            return
        blocks = {cell: self.block_of(cell) for cell in rest}
        stream, alpha = max(blocks.values(), key=lambda block: block.wants_class_row).attend(x)
        shape = x.shape
        fixed = not any(block.selects_by_input for block in blocks.values())
        same_weights = all(self.plan_of(cell).blocks[index].weights is None for cell in rest)
        if fixed and self.suffix.class_token_only and index == len(self.suffix.blocks) - 1:
            stream = stream[:, :1]
            shape = stream.shape
        for (has_fc1, _), group in groupby(rest, key=lambda cell: ("fc1" in cell.site, cell.ratio if "fc1" in cell.site else 0)):
            same = list(group)
            gated, hidden = blocks[same[0]].expand(stream, alpha)
            if fixed and same_weights and not has_fc1 and isinstance(blocks[same[0]].leave, MaskedExit):
                outputs = nested_outputs([blocks[cell] for cell in reversed(same)], gated, hidden)
                same.reverse()
            else:
                outputs = (blocks[cell].contract(gated, hidden, alpha) for cell in same)
            yield from ((cell, out.reshape(shape)) for cell, out in zip(same, outputs, strict=True))


def nested_outputs(blocks: list[PrunedBlock], stream: torch.Tensor, hidden: torch.Tensor) -> Iterator[torch.Tensor]:
    """Block outputs (B, N, D) of one hidden layer (B, N, M) under fixed choices that keep ever more of the same ranking.

    Each adds to fc2's sum what the one before left out, so that all of them cost about one fc2; another ranking starts anew.
    """
    total, kept = 0.0, torch.zeros(hidden.shape[2], dtype=torch.bool)
    for block in blocks:
        chosen, fc2 = block.choose_hidden, block.leave.fc2
        now = torch.ones_like(kept) if chosen is None else torch.zeros_like(kept).index_fill_(0, chosen.idx.cpu(), True)
        if bool((kept & ~now).any()):
            total, kept = 0.0, torch.zeros_like(kept)
        new = torch.nonzero(now & ~kept).squeeze(1).to(hidden.device)
        total = total + F.linear(hidden.index_select(2, new), fc2.weight.index_select(1, new))
        kept = now
        yield stream + block.ls2(total if fc2.bias is None else total + fc2.bias)


def cell_outcomes(logits: torch.Tensor, baseline_logits: torch.Tensor, labels: torch.Tensor) -> CellOutcomes:
    """Reduce a cell's and the baseline's logits (B, classes) to per-image outcomes of the cell.

    Raises:
        PlanError: a logit is not a finite number.
    """
    for one in (baseline_logits, logits):
        check_finite(one, "logits")
    logits, baseline_logits = logits.float(), baseline_logits.float()
    labels = labels.to(logits.device)
    log_p, log_q = F.log_softmax(baseline_logits, 1), F.log_softmax(logits, 1)
    top = logits.topk(min(5, logits.shape[1]), dim=1).indices
    kl = (log_p.exp() * (log_p - log_q)).sum(1).clamp_min(0)
    loss = -log_q.gather(1, labels.unsqueeze(1)).squeeze(1)
    hits = (top == labels.unsqueeze(1)).cpu().numpy()
    numbers = (value.cpu().numpy().astype(np.float32) for value in (loss, kl, margins(logits, labels)))
    return CellOutcomes(hits[:, 0].copy(), hits.any(axis=1), *numbers)
