"""Analytic MACs against PyTorch's own counter, run on the calibrated compact model of each of the paper's nine architectures.

    python benchmarks/counts.py

Weights and channel scores are random (neither changes a shape); the last published schedule of each model, calibrated. ViT-H takes
about 8 GB. Prints one line a model: the relative difference, which comes from the patch-embedding slot of the class token.
"""

from dataclasses import replace

import torch

from toast_core import apply_plan, count_macs, load_model, make_plan
from toast_core.models.counting import counted_macs
from toast_core.pruning.statistics import Statistics
from toast_core.schedule.presets import Preset, presets


def difference(preset: Preset) -> float:
    """Return analytic / counted - 1 of the compact model."""
    model, generator = load_model(preset.model, weights="random"), torch.Generator().manual_seed(0)
    blocks = model.toast_info.shape.blocks
    scores = {
        (index, site): torch.rand(block.site_width(site), generator=generator, dtype=torch.float64)
        for index, block in enumerate(blocks)
        for site in ("fc1", "fc2")
    }
    plan = make_plan(model, replace(preset.schedule, selection="calibrated"), Statistics(1, scores))
    compact = apply_plan(model, plan, "compact")
    size = model.toast_info.shape.image_size
    return count_macs(compact) / counted_macs(compact, torch.zeros(1, 3, size, size)) - 1


if __name__ == "__main__":
    for preset in {preset.model: preset for preset in presets().values()}.values():
        print(f"{preset.name:40} {100 * difference(preset):+.5f} %", flush=True)
