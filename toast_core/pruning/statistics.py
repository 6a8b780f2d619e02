"""What calibration images say about the feed-forward channels of a baseline model: one streaming pass, float64, mergeable."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from toast_core.cost.shapes import ModelShape
from toast_core.errors import DataError, PlanError
from toast_core.models.adapters import adapter_for
from toast_core.models.adapters.base import BlockParts, TokenLayout
from toast_core.models.info import get_info
from toast_core.pruning.importance.activations import class_attention, token_scores
from toast_core.schedule.sites import CHANNEL_SITES


@dataclass(frozen=True)
class Statistics:
    """Sums over images of each channel's score, by (block, site), and how many images were seen."""

    images: int
    score_sums: dict[tuple[int, str], torch.Tensor]

    @classmethod
    def blank(cls, shape: ModelShape) -> "Statistics":
        """Scores of nothing, in a model's widths: every channel is as good as another, for plans whose choice is made elsewhere."""
        widths = {(index, site): block.site_width(site) for index, block in enumerate(shape.blocks) for site in CHANNEL_SITES}
        return cls(1, {place: torch.zeros(width, dtype=torch.float64) for place, width in widths.items()})

    def importance(self, block: int, site: str, width: int) -> torch.Tensor:
        """The mean score of every channel, float64 (width,).

        Raises:
            PlanError: the statistics were collected without this block and site, or from a model of another width.
        """
        if (block, site) not in self.score_sums:
            raise PlanError(f"the statistics lack block {block} {site}; collect them from the same model")
        total = self.score_sums[block, site]
        if len(total) != width:
            raise PlanError(
                f"the statistics of block {block} {site} have {len(total)} channels, the model {width}; collect them from the same model"
            )
        return total / max(self.images, 1)

    def merge(self, other: "Statistics") -> "Statistics":
        """The statistics of both image sets together."""
        if self.score_sums.keys() != other.score_sums.keys():
            raise PlanError("the two statistics cover different blocks or sites; collect both from the same model")
        sums = {key: value + other.score_sums[key] for key, value in self.score_sums.items()}
        return Statistics(self.images + other.images, sums)


def collect_statistics(model: nn.Module, batches: Iterable[torch.Tensor], class_weight: float = 2.0) -> Statistics:
    """Score every feed-forward channel of a baseline model over image batches (B, C, H, W); labels are not used.

    Every patch token is scored (dynamic selection scores a sample), each image on its own, so batch size and order
    change nothing but the rounding of sums.

    Raises:
        DataError: there are no images.
    """
    adapter = adapter_for(model, get_info(model).name)
    device = next(model.parameters()).device
    sums: dict[tuple[int, str], torch.Tensor] = {}
    handles = []
    for index, block in enumerate(adapter.blocks(model)):
        handles += watch_scores(adapter.parts(block), adapter.layout(model, index), index, class_weight, sums)
    images = 0
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for batch in batches:
                model(batch.to(device))
                images += len(batch)
    finally:
        for handle in handles:
            handle.remove()
        model.train(was_training)
    if not images:
        raise DataError("there are no calibration images; give a data set with at least one readable image")
    return Statistics(images, {key: value.clone() for key, value in sums.items()})


def watch_scores(parts: BlockParts, layout: TokenLayout, index: int, class_weight: float, sums: dict) -> list:
    """Hook the inputs of attention, norm2 and fc2 of one block, add up the channel scores in `sums`, and return the hooks."""
    patch_idx = torch.arange(layout.prefix, layout.prefix + layout.patches)
    seen: dict[str, torch.Tensor] = {}
    rotary = parts.rotary

    def on_attention(_: nn.Module, inputs: tuple) -> None:
        batch, tokens, _ = inputs[0].shape
        q, k = parts.qkv(inputs[0]).reshape(batch, tokens, 3, parts.heads, parts.head_dim).permute(2, 0, 3, 1, 4)[:2]
        q, k = parts.q_norm(q), parts.k_norm(k)
        if rotary is not None:
            q, k = rotary(q), rotary(k)
        seen["alpha"] = class_attention(q, k, parts.scale)

    def add(site: str, x: torch.Tensor) -> None:
        tokens = x.reshape(x.shape[0], -1, x.shape[-1])
        score = token_scores(tokens, patch_idx.to(x.device), seen.get("alpha"), class_weight, layout.patches)
        total = score.cpu().double().sum(dim=0)
        sums[index, site] = sums[index, site] + total if (index, site) in sums else total

    handles = [
        parts.norm2.register_forward_pre_hook(lambda _, inputs: add("fc1", inputs[0])),
        parts.hidden_reader.register_forward_pre_hook(lambda _, inputs: add("fc2", inputs[0])),
    ]
    if layout.has_class_token:
        handles.append(parts.attention.register_forward_pre_hook(on_attention))
    return handles
