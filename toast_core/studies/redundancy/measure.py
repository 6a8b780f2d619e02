"""How redundant the channels of the feed-forward networks are (paper, Fig. 4): measured in one streaming pass a group of blocks."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from toast_core.cost.macs import count_cost
from toast_core.cost.shapes import BlockShape, ModelShape
from toast_core.data.load import ImageData
from toast_core.data.numbered import refuse_skipped
from toast_core.errors import DataError, DeviceError, ModelError
from toast_core.executors.base import Executor
from toast_core.executors.local import LOCAL
from toast_core.machine import RUNTIME_BYTES
from toast_core.models.adapters import adapter_for
from toast_core.models.info import get_info
from toast_core.pruning.statistics import watch_scores
from toast_core.studies.redundancy.moments import BINS, Edge, Moments, SplitMoments, edge_at_or_below
from toast_core.studies.redundancy.reconstruction import r2_curves
from toast_core.studies.redundancy.result import ABSOLUTE_THRESHOLDS, RANK_VARIANTS, REDUNDANCY_SITES, RELATIVE_THRESHOLD, RedundancyRow

FRACTIONS = tuple(step / 20 for step in range(1, 20))
_SCORED_AS = {"hidden": "fc2", "fc1_input": "fc1"}  # the pruning site whose channels these are
_CLASS_WEIGHT = 2.0
_CURVE_MULTIPLES = tuple(10 ** (step / 10 - 3) for step in range(31))
_FINISH_COPIES = 7  # C x C matrices that making a row holds at once; 6.1 were measured at C = 5120
_LIVE_TENSORS = 4  # copies of a block's widest activation that a forward and the accumulators hold at once

Collected = dict[tuple[int, str], SplitMoments]


def redundancy(
    model: nn.Module, data: ImageData, batch_size: int = 64, memory_gb: float = 8.0,
    progress: Callable[[int, int], None] | None = None, fractions: Sequence[float] = FRACTIONS, executor: Executor = LOCAL,
) -> list[RedundancyRow]:
    """Measure every block of a baseline model at `hidden` and `fc1_input`; rows by block, then site.

    Blocks are worked through in groups whose accumulators fit `memory_gb` (1e9 bytes, the process as a whole); each group reads
    the images again and runs the model up to its last block only. Labels are not used. Workers of an `executor` take a shard of the
    images each; sums are merged here as they come, so that the last digits may depend on which shard came first.

    Args:
        progress: called with the images done and the images to do, counted over all groups.
        fractions: the dropped fractions of the R2 curves, in (0, 1).

    Raises:
        DataError: no image could be read.
        DeviceError: the budget is below what one block needs, or the device ran out of memory.
        ModelError: the model is pruned, has no weights, or its activations are not finite.
    """
    info = get_info(model)
    if info.weights == "none":
        raise ModelError(f"{info.name} was loaded without weights, for counting only; load it with weights to analyze it")
    # where shards come from elsewhere, one comes while the others' sum is held
    groups = plan_groups(info.shape, batch_size, memory_gb, copies=1 if executor.in_order else 2)
    rows: list[RedundancyRow] = []
    for number, blocks in enumerate(groups):
        def tell(images: int, before: int = number * len(data)) -> None:
            if progress:
                progress(before + images, len(groups) * len(data))

        work, collected, done = MomentsWork(model, data, batch_size, executor.in_order, tell), {}, 0
        tasks = [(blocks, *shard) for shard in shards(len(data), 2 * batch_size, executor.workers)]
        for (_, start, stop), found in executor.map(work, tasks):
            collected = {key: collected[key].merge(found[key]) for key in collected} if collected else found
            done += stop - start
            if not executor.in_order:
                tell(done)
        while collected:
            block, site = min(collected, key=lambda key: (key[0], REDUNDANCY_SITES.index(key[1])))
            rows.append(redundancy_row(block, site, collected.pop((block, site)), fractions))
    return rows


@dataclass(eq=False)
class MomentsWork:
    """A baseline model and images: a task is blocks, and the positions in the order at which a shard starts and stops.

    `advance` is told the images done within a task, in this process.
    """

    model: nn.Module
    data: ImageData
    batch_size: int
    in_order: bool
    advance: Callable[[int], None] | None

    def __call__(self, task: tuple[range, int, int]) -> Collected:
        """The moments of one shard."""
        blocks, start, stop = task
        shard = self.data.part(start, stop)
        try:
            collected = collect_moments(self.model, self._images(shard), blocks, start, self.advance)
        except torch.OutOfMemoryError as error:
            smaller = max(1, self.batch_size // 2)
            raise DeviceError(f"the device ran out of memory at batch size {self.batch_size}; use --batch-size {smaller}") from error
        return {key: moments.on_cpu() for key, moments in collected.items()}

    def _images(self, shard: ImageData) -> Iterator[torch.Tensor]:
        # a forward takes the images at even or at odd positions, so it sees half of what is read
        for batch in shard.batches(2 * self.batch_size):
            yield batch.images
        if not self.in_order:
            refuse_skipped(shard)

    def __getstate__(self) -> dict[str, object]:
        """What is sent to a worker: nobody to tell."""
        return {**self.__dict__, "advance": None}

    def move(self, device: str) -> None:
        """Move the model to a device."""
        self.model.to(device)


def shards(images: int, unit: int, count: int) -> list[tuple[int, int]]:
    """Cut positions into at most `count` runs of about the same length, (start, stop), each but the last of whole `unit`s."""
    units = math.ceil(images / unit)
    count = max(1, min(count, units))
    return [(units * number // count * unit, min(images, units * (number + 1) // count * unit)) for number in range(count)]


def plan_groups(shape: ModelShape, batch_size: int, memory_gb: float, copies: int = 1) -> list[range]:
    """Cut the blocks, in order, into the fewest groups whose accumulators, so many copies, fit beside weights and activations (float32).

    Raises:
        DeviceError: one block alone needs more; the message says how much.
    """
    widest = max(shape.blocks, key=lambda block: block.tokens * block.hidden)
    fixed = RUNTIME_BYTES + 4 * count_cost(shape).params + 4 * _LIVE_TENSORS * batch_size * widest.tokens * widest.hidden
    fixed += 8 * _FINISH_COPIES * max(max(block.hidden, block.width) ** 2 for block in shape.blocks)
    sizes = [copies * accumulator_bytes(block) for block in shape.blocks]
    needed = fixed + max(sizes)
    if needed > memory_gb * 1e9:
        raise DeviceError(
            f"a memory budget of {memory_gb:g} GB is too small for {shape.name} at batch size {batch_size}; "
            f"give --memory-gb {math.ceil(needed / 1e8) / 10:g} or more, or a smaller batch"
        )
    groups, start, used = [], 0, fixed
    for index, size in enumerate(sizes):
        if used + size > memory_gb * 1e9:
            groups.append(range(start, index))
            start, used = index, fixed
        used += size
    return [*groups, range(start, len(shape.blocks))]


def accumulator_bytes(block: BlockShape) -> int:
    """Bytes that one block's accumulators take: two halves of two sites."""
    return sum(2 * 8 * (width * width + 3 * width + BINS) for width in (block.hidden, block.width))


def collect_moments(
    model: nn.Module, batches: Iterable[torch.Tensor], blocks: Sequence[int], start: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Collected:
    """One pass over image batches (B, C, H, W): the moments of both sites of `blocks`, by (block, site).

    Args:
        start: position of the first image in the data set, for a shard that is not the first: halves go by parity of the position.
        progress: called with the images done after each batch.

    Raises:
        DataError: there are no images.
        ModelError: the model is not a supported baseline.
    """
    adapter, parameter = adapter_for(model, get_info(model).name), next(model.parameters())
    modules, collected, scores, handles = adapter.blocks(model), {}, {}, []
    current = ["even"]

    def feed(moments: SplitMoments) -> Callable:
        return lambda _, inputs: getattr(moments, current[0]).add(inputs[0])

    for index in blocks:
        parts = adapter.parts(modules[index])
        handles += watch_scores(parts, adapter.layout(model, index), index, _CLASS_WEIGHT, scores)
        places = (("hidden", parts.hidden_reader, parts.fc2.in_features), ("fc1_input", parts.norm2, parts.fc1.in_features))
        for site, module, width in places:
            collected[index, site] = SplitMoments.zeros(width, parameter.device)
            handles.append(module.register_forward_pre_hook(feed(collected[index, site])))
    was_training, seen = model.training, 0
    model.eval()
    try:
        with torch.inference_mode():
            for batch in batches:
                for offset in range(min(2, len(batch))):
                    current[0] = "odd" if (start + seen + offset) % 2 else "even"
                    x = adapter.embed(model, batch[offset::2].to(parameter.device, parameter.dtype))
                    for index in range(max(blocks) + 1):
                        x = modules[index](adapter.before_block(model, index, x))
                    for (index, site), moments in collected.items():
                        half = getattr(moments, current[0])
                        half.images += len(batch[offset::2])
                        half.score += scores.pop((index, _SCORED_AS[site]))
                seen += len(batch)
                if progress:
                    progress(seen)
    finally:
        for handle in handles:
            handle.remove()
        model.train(was_training)
    if not seen:
        raise DataError("there are no images to analyze; give a data set with at least one readable image")
    return collected


def redundancy_row(block: int, site: str, moments: SplitMoments, fractions: Sequence[float] = FRACTIONS) -> RedundancyRow:
    """All figures of one site, from its moments alone.

    Raises:
        DataError: fewer than two images, so that one half is empty.
        ModelError: an activation was not finite.
    """
    whole = moments.whole()
    if not (moments.even.tokens and moments.odd.tokens):
        raise DataError(f"{whole.images} image is too few for a held-out half; give at least 2")
    if not whole.finite:
        raise ModelError(f"block {block} {site} has activations that are not finite; the weights or the dtype do not suit this model")
    importance = whole.score / whole.images
    spectrum = eigenvalues(whole)
    figures = _figures(whole, spectrum)
    half = _figures(moments.even, eigenvalues(moments.even))
    curve = [(multiple, edge_at_or_below(multiple * whole.rms)) for multiple in _CURVE_MULTIPLES]
    curves = r2_curves(moments, whole, importance, fractions)
    return RedundancyRow(
        block=block, site=site, images=whole.images, tokens=whole.tokens, rms=whole.rms, **figures,
        sparsity_curve=tuple((multiple, edge.tau, whole.fraction_below(edge)) for multiple, edge in curve),
        r2=curves.full, spectrum=tuple(spectrum.tolist()), importance=tuple(importance.tolist()),
        channel_mean_abs=tuple((whole.abs_total / whole.tokens).tolist()),
        convergence={"images": moments.even.images, "tokens": moments.even.tokens, **half, "r2": curves.half},
    )


def _figures(moments: Moments, spectrum: torch.Tensor) -> dict:
    """The figures that half of the data gives as well as all of it."""
    edge: Edge = edge_at_or_below(0.01 * moments.rms)
    size, mean_abs = moments.tokens * len(moments.total), moments.abs_total / moments.tokens
    sparsity = {RELATIVE_THRESHOLD: moments.fraction_below(edge)}
    sparsity |= {name: count / size for name, count in zip(ABSOLUTE_THRESHOLDS, moments.below.tolist(), strict=True)}
    levels = {RELATIVE_THRESHOLD: edge.tau, **ABSOLUTE_THRESHOLDS}
    ranks = {name: effective_rank(spectrum, name) for name in RANK_VARIANTS}
    return {
        "tau": edge.tau, "sparsity": sparsity, "dead": {name: (mean_abs <= tau).double().mean().item() for name, tau in levels.items()},
        "effective_rank": {name: {"absolute": rank, "relative": rank / len(spectrum)} for name, rank in ranks.items()},
    }


def eigenvalues(moments: Moments) -> torch.Tensor:
    """The covariance's eigenvalues, descending, (C,) float64; those that float64 cannot tell from zero are zero."""
    values = torch.linalg.eigvalsh(moments.covariance()).flip(0)
    # rounding grows with the second moments about zero, from which the mean was subtracted, not with the variances
    scale = values[0].clamp(min=0) + moments.mean.square().sum()
    return values.where(values > scale * torch.finfo(values.dtype).eps * math.sqrt(len(values)), 0.0)


def effective_rank(spectrum: torch.Tensor, variant: str) -> float:
    """exp(entropy of p) (Roy and Vetterli, 2007), p the eigenvalues' shares or, for `singular_values`, their square roots' shares.

    The centred T x C activations have the singular values sqrt(T * eigenvalue); T cancels. No variance at all is rank 0.
    """
    sizes = spectrum.sqrt() if variant == "singular_values" else spectrum
    if not sizes.sum():
        return 0.0
    p = sizes[sizes > 0] / sizes.sum()
    return math.exp(-(p * p.log()).sum().item())
