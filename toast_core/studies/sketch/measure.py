"""The sketch of a batch: how far every cell moves the output along a few random directions, to first order.

With v the gradient of a direction of the output at a block's output, a small change d of that output moves the model's output by <v, d>
along the direction, and half the mean square of that is the damage (`Task.directions`). One forward and a backward pass a direction give v
at every block, and each cell costs its own part of a block alone:

    fc2, vo    linear in what is dropped: a sum over the dropped channels, whatever the ratio
    qk         attention up to the output projection
    fc1        the feed-forward network up to fc2, and a sum over what leaves the residual stream
    refitted   cells whose plan holds weights, or whose hidden layer is normalised: their half block

Sums of such numbers over blocks predict a whole schedule, with what one block's change does to another's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from toast_core.compensation.sums import watch
from toast_core.data.load import Batch
from toast_core.models.adapters.base import BlockParts
from toast_core.pruning.execution.apply import prune_block
from toast_core.pruning.execution.block import PrunedBlock
from toast_core.pruning.execution.ops import channel_mask
from toast_core.pruning.plan import BlockPlan, FixedKeep, HeadKeep, Plan
from toast_core.schedule.schedule import Schedule
from toast_core.studies.sensitivity.cells import Cell
from toast_core.studies.sensitivity.suffix import Suffix

LINEAR = ("vo", "fc2")
MOST_RUNS = 5


@dataclass(eq=False)
class _Seen:
    """A block of the baseline on a batch: what its layers are given, and every direction's gradient where they give it.

    Gradients are (B, K, N, C) and what they are of (B, N, C), tokens in one row: those of a Swin's windows for attention. `mixed_sums`
    and `hidden_sums` (B, K, C) are their products summed over tokens: what each channel gives along a direction.
    """

    index: int
    x: torch.Tensor
    middle: torch.Tensor
    out: torch.Tensor
    mixed: torch.Tensor
    hidden: torch.Tensor
    at_middle: torch.Tensor
    at_out: torch.Tensor
    at_mixed: torch.Tensor
    at_hidden: torch.Tensor
    mixed_sums: torch.Tensor
    hidden_sums: torch.Tensor


def go_on() -> None:
    """The pause of a sketch that has the model to itself."""


class Sketcher:
    """A baseline model, cells and their plans; sketches any batch.

    Args:
        plan_of: a cell's plan; of a dynamic selection the choice is made from the batch's activations, as in a run.
        draws: how many directions an image.
        seed: of the directions; an image's are drawn by seed and its position in the source, whatever batch it comes in.
        pause: called between blocks and cells, with no hook on the model: another thread may run it until this returns.
    """

    def __init__(
        self, model: nn.Module, cells: Sequence[Cell], plan_of: Callable[[Cell], Plan], draws: int = 4, seed: int = 0,
        pause: Callable[[], object] = go_on,
    ) -> None:
        self.model, self.cells, self.plan_of, self.draws, self.seed = model.eval(), tuple(cells), plan_of, draws, seed
        self.pause = pause
        self.suffix = Suffix(model)
        self.unpruned = Plan(Schedule.uniform(len(self.suffix.blocks)), (BlockPlan(),) * len(self.suffix.blocks))

    def sketch(self, batch: Batch) -> np.ndarray:
        """How far each cell moves the output along each direction: (cells, draws, images) float32, in the order of `cells`."""
        found = np.zeros((len(self.cells), self.draws, len(batch.index)), np.float32)
        places = {cell: place for place, cell in enumerate(self.cells)}
        parameter = next(self.model.parameters())
        inputs, last = self._inputs(batch.images.to(parameter.device, parameter.dtype))
        gradients = self._from_head(last, batch.index)
        for index in reversed(range(len(inputs))):
            self.pause()
            seen, gradients = self._backward(index, inputs.pop(), gradients)
            own = [cell for cell in self.cells if cell.block == index]
            moved = self._moved(seen, supports(own))
            for cell in own:
                found[places[cell]] = (moved[cell] if cell in moved else between(cell, moved)).T.float().cpu().numpy()
        return found

    @torch.no_grad()
    def _inputs(self, images: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        x, inputs = self.suffix.start(images), []
        for index, block in enumerate(self.suffix.blocks):
            self.pause()
            inputs.append(x)
            x = self.suffix.enter(index + 1, block(x))
        return inputs, x

    def _from_head(self, last: torch.Tensor, index: np.ndarray) -> list[torch.Tensor]:
        """Every direction's gradient at the last block's output."""
        task, x = self.suffix.task, last.detach().requires_grad_()
        with torch.enable_grad():
            output = task.head(self.suffix.adapter, self.model, x)
            scores = task.scores(output)
        draws = [np.random.default_rng([self.seed, int(position)]) for position in index]
        with torch.no_grad():
            directions = task.directions(output, draws, self.draws)
        return [torch.autograd.grad(scores, x, one, retain_graph=True)[0] for one in directions]

    def _backward(self, index: int, x: torch.Tensor, gradients: list[torch.Tensor]) -> tuple[_Seen, list[torch.Tensor]]:
        """Run a block again with gradients, from those at what follows it to those at its input; weights get none."""
        block, adapter, x = self.suffix.blocks[index], self.suffix.adapter, x.detach().requires_grad_()
        parts = adapter.parts(block)
        whole = prune_block(block, adapter.layout(self.model, index), BlockPlan(), self.unpruned, adapter, "masked")
        with torch.enable_grad(), watch(parts.proj) as proj:
            middle, alpha = whole.attend(x)
            stream, hidden = whole.expand(middle, alpha)
            out = whole.contract(stream, hidden, alpha)
            following = self.suffix.enter(index + 1, out.reshape(x.shape))
        inner = [x, middle, out, proj["input"], hidden]
        found = [torch.autograd.grad(following, inner, one, retain_graph=True) for one in gradients]
        at_middle, at_out, at_mixed, at_hidden = ([one[part] for one in found] for part in (1, 2, 3, 4))
        with torch.no_grad():
            mixed, hidden = proj["input"].detach().flatten(1, -2), hidden.detach()
            at_mixed = [one.flatten(1, -2) for one in at_mixed]
            seen = _Seen(
                index, x.detach(), middle.detach(), out.detach(), mixed, hidden, torch.stack(at_middle, 1), torch.stack(at_out, 1),
                torch.stack(at_mixed, 1), torch.stack(at_hidden, 1), _by_channel(at_mixed, mixed), _by_channel(at_hidden, hidden),
            )
        return seen, [one[0] for one in found]

    @torch.no_grad()
    def _moved(self, seen: _Seen, cells: list[Cell]) -> dict[Cell, torch.Tensor]:
        """What each of a block's cells moves along each direction, (B, K)."""
        block, adapter = self.suffix.blocks[seen.index], self.suffix.adapter
        parts, layout = adapter.parts(block), adapter.layout(self.model, seen.index)
        found: dict[Cell, torch.Tensor] = {}
        alpha = None
        for cell in cells:
            self.pause()
            plan = self.plan_of(cell)
            own = plan.blocks[seen.index]
            if own.is_baseline:
                found[cell] = seen.x.new_zeros(len(seen.x), self.draws)
                continue
            refitted = own.weights is not None or parts.normalises_hidden
            if own.vo and not own.qk and not refitted:
                found[cell] = -seen.mixed_sums @ _dropped_dimensions(own.vo, parts, seen.mixed)
                continue
            narrow = own.weights is None and (own.qk is None or own.qk.is_coupled) and own.vo is None and not _is_dynamic(own)
            pruned = prune_block(block, layout, own, plan, adapter, "compact" if narrow and not own.fc2 else "masked")
            if pruned.wants_class_row and alpha is None:
                alpha = pruned.attend(seen.x)[1]
            if "fc" in cell.site:
                found[cell] = self._fed_forward(seen, own, pruned, alpha, refitted)
            elif refitted:
                found[cell] = _through(seen.at_middle, pruned.attend(seen.x)[0] - seen.middle)
            else:
                mixed = pruned.attn.mix(pruned.norm1(seen.x))[0].flatten(1, -2)
                if own.vo:  # where the sides keep different dimensions, some leave behind the attention only
                    mixed = mixed * (1 - _dropped_dimensions(own.vo, parts, mixed))
                found[cell] = _through(seen.at_mixed, mixed - seen.mixed)
        return found

    def _fed_forward(
        self, seen: _Seen, own: BlockPlan, pruned: PrunedBlock, alpha: torch.Tensor | None, refitted: bool
    ) -> torch.Tensor:
        if refitted:
            out = pruned.contract(*pruned.expand(seen.middle, alpha), alpha)
            return _through(seen.at_out, out - seen.out)
        hidden, sums, moved = seen.hidden, seen.hidden_sums, seen.x.new_zeros(len(seen.x), self.draws)
        if own.fc1 is not None:
            stream, hidden = pruned.expand(seen.middle, alpha)
            moved = _through(seen.at_out, stream - seen.middle) + _through(seen.at_hidden, hidden - seen.hidden)
            sums = _by_channel(seen.at_hidden.unbind(1), hidden) if pruned.choose_hidden is not None else sums
        if pruned.choose_hidden is not None:
            gone = 1 - channel_mask(pruned.choose_hidden(hidden, alpha), hidden.shape[2], hidden)
            moved = moved - (sums * gone).sum(2)
        return moved


def supports(cells: Sequence[Cell]) -> list[Cell]:
    """The cells that are run: where a site's cost grows with the number of its ratios, `MOST_RUNS` of them, spread, both ends included."""
    found = []
    for site in dict.fromkeys(cell.site for cell in cells):
        own = sorted(cell for cell in cells if cell.site == site)
        if site in LINEAR or len(own) <= MOST_RUNS:
            found += own
        else:
            found += [own[place] for place in np.linspace(0, len(own) - 1, MOST_RUNS).round().astype(int)]
    return found


def between(cell: Cell, moved: Mapping[Cell, torch.Tensor]) -> torch.Tensor:
    """What a cell moves, on the line between those of its site with the next smaller and the next larger ratio."""
    own = sorted(one for one in moved if (one.block, one.site) == (cell.block, cell.site))
    left, right = max(one for one in own if one.ratio < cell.ratio), min(one for one in own if one.ratio > cell.ratio)
    share = (cell.ratio - left.ratio) / (right.ratio - left.ratio)
    return torch.lerp(moved[left], moved[right], share)


def _through(gradient: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    """The inner products of every direction's gradient (B, K, N, C) with a change (B, N, C), an image each: (B, K)."""
    # the change as a row: as a column the product takes nine times as long on a CPU
    return torch.bmm(change.flatten(1).unsqueeze(1), gradient.flatten(2).transpose(1, 2)).squeeze(1)


def _by_channel(gradients: Sequence[torch.Tensor], values: torch.Tensor) -> torch.Tensor:
    """The products of every direction's gradient (B, N, C) with values (B, N, C), summed over tokens: (B, K, C)."""
    return torch.stack([(gradient * values).sum(1) for gradient in gradients], dim=1)


def _dropped_dimensions(keep: HeadKeep, parts: BlockParts, like: torch.Tensor) -> torch.Tensor:
    """Ones (H d,) where a value dimension, or the output column that reads it, is dropped."""
    kept = torch.ones(parts.heads, parts.head_dim, device=like.device, dtype=like.dtype)
    for side in (keep.first, keep.second):
        kept = kept * torch.zeros_like(kept).scatter_(1, side.to(like.device), 1.0)
    return 1 - kept.flatten()


def _is_dynamic(own: BlockPlan) -> bool:
    return any(keep is not None and not isinstance(keep, FixedKeep) for keep in (own.fc1, own.fc2))
