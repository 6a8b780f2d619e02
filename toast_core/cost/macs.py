"""What a schedule costs: multiply-accumulates, parameters and activation memory, from shapes alone. Imports no torch.

MACs count matrix products and convolutions for one image (method: the field's convention, equation in docs/numbers.md): projections,
both attention products, feed-forward, patch embedding, patch merging, attention pooling, classifier. Norms, softmax,
activations, biases and the channel scores of dynamic selection are not counted.

Dynamic selection (per_batch, per_image) drops fc1's input channels and fc2's input channels separately, and is counted as the
published budgets are: by the fraction kept, 1 - ratio, before rounding to whole channels, and with a patch-embedding slot for
every token. Calibrated selection also removes the rows of fc1 that produce dropped hidden units, so the same ratios cost
less; it is counted from the kept channels, as the compact model runs.
"""

from dataclasses import dataclass

from toast_core.cost.shapes import BlockShape, ModelShape
from toast_core.schedule.rounding import keep_count
from toast_core.schedule.schedule import Schedule
from toast_core.schedule.sites import SITES


@dataclass(frozen=True)
class BlockCost:
    """One block of one image: MACs by part, parameters, and the most activation values alive at once."""

    attention_macs: int
    ffn_macs: int
    params: int
    activation_values: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates of attention and feed-forward network together."""
        return self.attention_macs + self.ffn_macs


@dataclass(frozen=True)
class Cost:
    """A whole model under a schedule, for one image."""

    blocks: tuple[BlockCost, ...]
    embed_macs: int
    merge_macs: int
    head_macs: int
    params: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the whole model."""
        return sum(block.macs for block in self.blocks) + self.embed_macs + self.merge_macs + self.head_macs

    def peak_activation_bytes(self, value_bytes: int = 4, batch_size: int = 1) -> int:
        """The largest block's live activations: its residual stream with qkv and attention output, or with the hidden layer twice."""
        return max(block.activation_values for block in self.blocks) * value_bytes * batch_size

    def __repr__(self) -> str:
        """For example `Cost(0.0510 GMACs, 1.356 M parameters, 0.38 MB of activations at the most)`."""
        return (
            f"Cost({self.macs / 1e9:.4f} GMACs, {self.params / 1e6:.3f} M parameters, "
            f"{self.peak_activation_bytes() / 1e6:.2f} MB of activations at the most)"
        )


def kept_counts(shape: BlockShape, schedule: Schedule, block: int) -> dict[str, int]:
    """Return how many channels each site of a block keeps under the schedule."""
    entry = schedule.blocks[block]
    return {site: keep_count(shape.site_width(site), getattr(entry, site), schedule.multiple_of) for site in SITES}


def count_cost(shape: ModelShape, schedule: Schedule | None = None) -> Cost:
    """Return the cost of the compact model that `schedule` makes (None: the baseline).

    Raises:
        ScheduleError: the schedule has another number of blocks.
    """
    schedule = schedule or Schedule.uniform(len(shape.blocks))
    schedule.check_length(len(shape.blocks), shape.name)
    blocks = tuple(
        _block_cost(block, kept_counts(block, schedule, index), schedule.selection == "calibrated", _dynamic_shares(schedule, index))
        for index, block in enumerate(shape.blocks)
    )
    params = shape.other_params + sum(block.params for block in blocks)
    return Cost(blocks, shape.embed_macs, shape.merge_macs, shape.head_macs, params)


def _dynamic_shares(schedule: Schedule, block: int) -> tuple[float, float] | None:
    """The fractions of fc1 and fc2 that dynamic selection is counted with; None where kept counts are what runs."""
    if schedule.selection == "calibrated" or schedule.multiple_of > 1:
        return None
    return 1.0 - schedule.blocks[block].fc1, 1.0 - schedule.blocks[block].fc2


def _block_cost(shape: BlockShape, kept: dict[str, int], calibrated: bool, shares: tuple[float, float] | None) -> BlockCost:
    width, qk, vo = shape.width, shape.heads * kept["qk"] * shape.qk_tied, shape.heads * kept["vo"]
    attention = shape.attention_tokens * (2 * qk * width + 2 * vo * width + shape.keys * (qk + vo))
    rows = kept["fc2"] if calibrated else shape.hidden
    if shares is None:
        ffn = shape.tokens * (kept["fc1"] * rows * shape.fc1_rows + kept["fc2"] * width)
    else:
        ffn = round(shape.tokens * width * shape.hidden * (shape.fc1_rows * shares[0] + shares[1]))
    stream = shape.tokens * width
    inside = max(shape.attention_tokens * (2 * qk + 2 * vo), shape.tokens * (1 + shape.fc1_rows) * rows)
    return BlockCost(attention, ffn, _block_params(shape, kept, calibrated), stream + inside)


def _block_params(shape: BlockShape, kept: dict[str, int], calibrated: bool) -> int:
    """Parameters of the compact block; dynamic selection keeps the whole feed-forward network."""
    width, qk, vo = shape.width, shape.heads * kept["qk"] * shape.qk_tied, shape.heads * kept["vo"]
    pruned = any(count < shape.site_width(site) for site, count in kept.items())
    attention = (2 * qk + vo) * (width + shape.qkv_bias) + vo * width
    if shape.qkv_bias and not (shape.key_bias or pruned):  # a pruned block has a bias of zeros there
        attention -= qk
    if shape.qk_norm:
        attention += 4 * (qk if kept["qk"] < shape.site_width("qk") else shape.head_dim)
    inputs, rows = (kept["fc1"], kept["fc2"]) if calibrated else (width, shape.hidden)
    narrowed = inputs < width
    ffn = 2 * inputs + shape.fc1_rows * rows * (inputs + (shape.fc1_bias or narrowed) + narrowed) + rows * width
    if shape.hidden_norm:
        ffn += 2 * rows + (width if rows < shape.hidden else 0)
    return attention + ffn + shape.fixed_params
