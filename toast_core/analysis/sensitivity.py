"""Sensitivity: prune one site of one block, evaluate, for a whole grid of cells (paper, Fig. 5; method, section 4).

Each batch is decoded once and each block's input is computed once. A cell recomputes only its half block and the blocks
after it; cells of one block share its attention half, and cells with the same hidden layer share that.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from toast_core.analysis.cells import Cell, CellOutcomes
from toast_core.analysis.evaluate import join_outcomes, margins, outcomes_of
from toast_core.analysis.suffix import Suffix
from toast_core.data.load import Batch
from toast_core.errors import DeviceError
from toast_core.pruning.execution.apply import prune_block
from toast_core.pruning.execution.block import PrunedBlock
from toast_core.pruning.planner import make_plan
from toast_core.pruning.statistics import Statistics
from toast_core.results import Outcomes

OnPart = Callable[[int, dict[Cell, CellOutcomes]], None]


@dataclass(frozen=True)
class BatchResult:
    """What one batch says: the baseline's outcomes and those of every cell measured on it."""

    baseline: CellOutcomes
    evaluation: Outcomes
    cells: dict[Cell, CellOutcomes]


class Sweep:
    """A baseline model and the settings that its cells share; measures any cells on any batch."""

    def __init__(self, model: nn.Module, statistics: Statistics | None = None, **settings: object) -> None:
        self.model, self.statistics, self.settings = model.eval(), statistics, settings
        self.suffix = Suffix(model)
        self.pruned: dict[Cell, PrunedBlock] = {}

    def block_of(self, cell: Cell) -> PrunedBlock:
        """Return the cell's pruned block (masked), made once."""
        if cell not in self.pruned:
            blocks = len(self.suffix.blocks)
            plan = make_plan(self.model, cell.schedule(blocks, **self.settings), self.statistics)
            layout = self.suffix.adapter.layout(self.model, cell.block)
            self.pruned[cell] = prune_block(
                self.suffix.blocks[cell.block], layout, plan.blocks[cell.block], plan, self.suffix.adapter, "masked"
            )
        return self.pruned[cell]

    def measure(self, batch: Batch, cells: list[Cell], on_part: OnPart = lambda block, found: None) -> BatchResult:
        """Measure cells on one batch, halving it on out-of-memory. `on_part` is told each block's outcomes as they are ready.

        Raises:
            DeviceError: even one image does not fit.
        """
        try:
            with torch.inference_mode():
                return self._measure(batch, cells, on_part)
        except torch.OutOfMemoryError as error:
            if len(batch.index) == 1:
                raise DeviceError(
                    "one image does not fit into the device's memory; use a smaller --img-size or --dtype bfloat16"
                ) from error
            middle = len(batch.index) // 2
            halves = [Batch(batch.images[part], batch.labels[part], batch.index[part]) for part in (slice(middle), slice(middle, None))]
            first, second = (self.measure(half, cells) for half in halves)
            both = {cell: outcomes.joined(second.cells[cell]) for cell, outcomes in first.cells.items()}
            for index in sorted({cell.block for cell in cells}):
                on_part(index, {cell: outcomes for cell, outcomes in both.items() if cell.block == index})
            return BatchResult(first.baseline.joined(second.baseline), join_outcomes([first.evaluation, second.evaluation]), both)

    def _measure(self, batch: Batch, cells: list[Cell], on_part: OnPart) -> BatchResult:
        parameter = next(self.model.parameters())
        x = self.suffix.start(batch.images.to(parameter.device, parameter.dtype))
        inputs = [x]
        for index, block in enumerate(self.suffix.blocks[:-1]):
            x = self.suffix.enter(index + 1, block(x))
            inputs.append(x)
        baseline_logits = self.suffix.logits(x, len(inputs) - 1)
        baseline = cell_outcomes(baseline_logits, baseline_logits, batch.labels)
        found: dict[Cell, CellOutcomes] = {}
        for index in sorted({cell.block for cell in cells}):
            part: dict[Cell, CellOutcomes] = {}
            for cell, out in self._block_outputs(index, inputs[index], [cell for cell in cells if cell.block == index]):
                logits = self.suffix.logits(self.suffix.enter(index + 1, out), index + 1)
                part[cell] = cell_outcomes(logits, baseline_logits, batch.labels)
            on_part(index, part)
            found |= part
            inputs[index] = None
        return BatchResult(baseline, outcomes_of(baseline_logits, batch.labels, batch.index), found)

    def _block_outputs(self, index: int, x: torch.Tensor, cells: list[Cell]) -> Iterator[tuple[Cell, torch.Tensor]]:
        """Yield each cell's block output, sharing what cells have in common: attention half, gated stream and hidden layer."""
        attention = [cell for cell in cells if "fc" not in cell.site]
        for cell in attention:
            yield cell, self.block_of(cell)(x)
        rest = sorted((cell for cell in cells if "fc" in cell.site), key=lambda cell: ("fc1" in cell.site, cell.ratio, cell.site))
        if not rest:
            return
        attended = max((self.block_of(cell) for cell in rest), key=lambda block: block.wants_class_row).attend(x)
        expanded = key = None
        for cell in rest:
            block = self.block_of(cell)
            wanted = ("fc1" in cell.site, cell.ratio if "fc1" in cell.site else 0)
            if wanted != key:
                expanded, key = block.expand(*attended), wanted
            yield cell, block.contract(*expanded, attended[1]).reshape(x.shape)


def cell_outcomes(logits: torch.Tensor, baseline_logits: torch.Tensor, labels: torch.Tensor) -> CellOutcomes:
    """Reduce logits (B, classes) to per-image outcomes."""
    logits, baseline_logits = logits.float(), baseline_logits.float()
    labels = labels.to(logits.device)
    log_p, log_q = F.log_softmax(baseline_logits, 1), F.log_softmax(logits, 1)
    top = logits.topk(min(5, logits.shape[1]), dim=1).indices
    kl = (log_p.exp() * (log_p - log_q)).sum(1).clamp_min(0)
    loss = -log_q.gather(1, labels.unsqueeze(1)).squeeze(1)
    hits = (top == labels.unsqueeze(1)).cpu().numpy()
    numbers = (value.cpu().numpy().astype(np.float32) for value in (loss, kl, margins(logits, labels)))
    return CellOutcomes(hits[:, 0].copy(), hits.any(axis=1), *numbers)
