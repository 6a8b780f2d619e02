"""What a sketch is worth: predicted against exact damage of every cell of both demos, and its cost beside running them.

    python benchmarks/sketch.py [--images 64] [--threads 1]

Every block x qk, vo, fc1, fc2 x 9 ratios, channels calibrated on the same calibration images. Order: Spearman's correlation of predicted
and exact KL over cells. Size: the median of predicted over exact, where exact KL lies in each range. Both also where a few cells of every
site calibrate the others, with the share of exact damages inside their band. Cost: process CPU time of the sketch, without what calibrates
it, of the exact sweep of the same cells, and of one forward a cell, in one process; also of a model of DeiT-Ti's size with random weights
whose sizes are spread over blocks and layers, 324 cells of qk, vo and fc2 on 8 random images. Writes benchmarks/results/sketch.json.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import nn

from toast_core import load_model
from toast_core.data.load import Batch, load_data
from toast_core.files import write_text
from toast_core.models.info import get_info
from toast_core.pruning.statistics import collect_statistics
from toast_core.studies.sensitivity.cells import Cell, grid
from toast_core.studies.sensitivity.measure import Sweep
from toast_core.studies.sensitivity.plans import CellPlans, selected
from toast_core.studies.sketch.calibration import MEASURED_IMAGES, telling
from toast_core.studies.sketch.measure import Sketcher
from toast_core.studies.sketch.result import DRAWS, Sketch

RESULTS = Path(__file__).parent / "results"
SITES = ("qk", "vo", "fc1", "fc2")
RANGES = (0.0, 0.001, 0.01, 0.1, 0.5, float("inf"))


def timed(work: Callable[[], object]) -> tuple[float, object]:
    """Process CPU seconds of some work, and what it gives."""
    start = time.process_time()
    found = work()
    return time.process_time() - start, found


def measured(model: nn.Module, batches: list[Batch], sites: tuple[str, ...]) -> tuple[dict, list[Cell], np.ndarray, Sketch]:
    """Costs, the cells, their exact damage an image, and the sketch."""
    statistics = collect_statistics(model, [batch.images for batch in batches])
    cells = grid(len(get_info(model).shape.blocks), sites)
    settings = {"selection": "calibrated"}
    sketcher = Sketcher(model, cells, CellPlans(partial(selected, model, statistics, settings)), DRAWS)
    sweep = Sweep(model, statistics, **settings)
    small = Batch(batches[0].images[:2], batches[0].labels[:2], batches[0].index[:2])
    sketcher.sketch(small), sweep.measure(small, cells)  # plans are made, kernels chosen
    sketch_s, moved = timed(lambda: np.concatenate([sketcher.sketch(batch) for batch in batches], axis=2))
    forward_s, _ = timed(lambda: [forward(model, batch) for batch in batches])
    exact_s, results = timed(lambda: [sweep.measure(batch, cells) for batch in batches])
    exact = np.array([np.concatenate([result.cells[cell].damage() for result in results]) for cell in cells])
    costs = {
        "cells": len(cells), "images": moved.shape[2], "draws": DRAWS, "sketch_cpu_s": sketch_s, "exact_cpu_s": exact_s,
        "forward_cpu_s": forward_s, "times_cheaper_than_exact": exact_s / sketch_s,
        "times_cheaper_than_a_forward_a_cell": len(cells) * forward_s / sketch_s,
    }
    return costs, cells, exact, Sketch(tuple(cells), moved, "kl")


@torch.no_grad()
def spread(model: nn.Module) -> nn.Module:
    """The model with every layer of its blocks scaled by a random factor, and a head whose answers differ, so that cells do."""
    draw = np.random.default_rng(0)
    for block in model.blocks:
        for layer in (block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2):
            layer.weight.mul_(3 * float(np.exp(draw.normal(0, 0.7))))
    model.head.weight.mul_(20)
    return model


def forward(model: nn.Module, batch: Batch) -> torch.Tensor:
    """One batch through the whole baseline."""
    with torch.inference_mode():
        return model(batch.images)


def agreement(cells: list[Cell], exact: np.ndarray, sketch: Sketch) -> dict:
    """How predicted and exact damage agree, with nothing measured and with a few cells that calibrate the others."""
    chosen = telling(cells, np.array([row["kl"] for row in sketch.rows()]))
    run = {cell: exact[cells.index(cell)][:MEASURED_IMAGES] for cell in chosen}
    others = [number for number, cell in enumerate(cells) if cell not in run]
    calibrated = replace(sketch, measured=run)
    bands = np.array([calibrated.rows()[number]["kl95"] for number in others])
    true = exact.mean(axis=1)[others]
    inside = float(np.mean((bands[:, 0] <= true) & (true <= bands[:, 1])))
    return {**order_and_size(cells, exact, sketch), "calibrated": {
        "measured_cells": len(run), "inside_band": inside, **order_and_size(cells, exact, calibrated),
    }}


def order_and_size(cells: list[Cell], exact: np.ndarray, sketch: Sketch) -> dict:
    """Over all cells and by site."""
    true, found = exact.mean(axis=1), np.array([row["kl"] for row in sketch.rows()])
    sites = np.array([cell.site for cell in cells])
    ratios = []
    for low, high in pairwise(RANGES):
        inside = (true >= low) & (true < high)
        if inside.any():
            median = float(np.median((found / true)[inside]))
            ratios.append({"exact_kl_from": low, "cells": int(inside.sum()), "median_predicted_over_exact": median})
    return {
        "spearman": float(spearmanr(found, true).statistic),
        "spearman_of_sites": {
            site: float(spearmanr(found[sites == site], true[sites == site]).statistic) for site in SITES if (sites == site).any()
        },
        "size": ratios,
    }


def main(images: int) -> dict:
    """The whole document."""
    document: dict = {"threads": torch.get_num_threads()}
    for name in ("demo_vit", "demo_swin"):
        model = load_model(name)
        batches = list(load_data("fashion-mnist:calibration", model, images).batches(64))
        costs, cells, exact, sketch = measured(model, batches, SITES)
        document[name] = costs | agreement(cells, exact, sketch)
    model = spread(load_model("deit_tiny_patch16_224", "random", 10))
    batch = Batch(torch.randn(8, 3, 224, 224, generator=torch.Generator().manual_seed(0)), torch.zeros(8, dtype=torch.int64), np.arange(8))
    costs, cells, exact, sketch = measured(model, [batch], ("qk", "vo", "fc2"))
    document["deit_tiny_random"] = costs | agreement(cells, exact, sketch)
    return document


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    result = main(arguments.images)
    print(json.dumps(result, indent=1))
    RESULTS.mkdir(exist_ok=True)
    write_text(RESULTS / "sketch.json", json.dumps(result, indent=1) + "\n")
