"""What bfloat16 does to a sensitivity sweep: its cost, and how far its figures move.

    python benchmarks/dtype_effect.py [--images 1000] [--threads N]

Figures: demo_vit on real test images, four sites x four ratios, the same images in both dtypes. Cost: process CPU time of the same
sweep of demo_vit, and of DeiT-Ti with random weights on random images. Writes benchmarks/results/dtype_effect.json.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from toast_core import load_model
from toast_core.data.load import Batch, load_data
from toast_core.files import write_text
from toast_core.machine import cast
from toast_core.studies.sensitivity.cells import grid
from toast_core.studies.sensitivity.measure import Sweep
from toast_core.studies.sensitivity.sweep import run_sweep

RESULTS = Path(__file__).parent / "results"
DTYPES = ("float32", "bfloat16")


def figures(images: int) -> dict:
    """How far the rows of demo_vit move, and the CPU time of both sweeps."""
    model, rows, seconds = load_model("demo_vit"), {}, {}
    cells = grid(len(model.toast_info.shape.blocks), ("qk", "vo", "fc1", "fc2"), (0.3, 0.5, 0.7, 0.9))
    for dtype in DTYPES:
        sweep, start = Sweep(cast(model, dtype), selection="per_image"), time.process_time()
        rows[dtype] = run_sweep(sweep, load_data("fashion-mnist", model, images), cells, 125)
        seconds[dtype] = time.process_time() - start
    pairs = list(zip(*rows.values(), strict=True))
    moved = [abs(low["top1_delta"] - full["top1_delta"]) for full, low in pairs]
    return {
        "model": "demo_vit", "images": images, "cells": len(cells), "cpu_ratio": seconds["float32"] / seconds["bfloat16"],
        "top1_delta_moved_points": {"median": statistics.median(moved), "largest": max(moved)},
        "inside_the_float32_interval": sum(full["ci95"][0] <= low["top1_delta"] <= full["ci95"][1] for full, low in pairs) / len(pairs),
        "kl_relative_median": statistics.median(abs(low["kl"] - full["kl"]) / full["kl"] for full, low in pairs if full["kl"] > 0),
        "kl_smallest": {dtype: min(row["kl"] for row in rows[dtype]) for dtype in DTYPES},
    }


def cost(name: str, images: int) -> dict:
    """The CPU time of one batch's cells, medians of three alternating pairs."""
    model, times = load_model(name, weights="random"), {dtype: [] for dtype in DTYPES}
    size = model.toast_info.shape.image_size
    batch = Batch(torch.randn(images, 3, size, size), torch.zeros(images, dtype=torch.long), np.arange(images))
    cells = grid(len(model.toast_info.shape.blocks), ("fc2",), (0.5,))
    sweeps = {dtype: Sweep(cast(model, dtype), selection="per_image") for dtype in DTYPES}
    for _ in range(3):
        for dtype, sweep in sweeps.items():
            start = time.process_time()
            sweep.measure(batch, cells)
            times[dtype].append(time.process_time() - start)
    return {"model": name, "weights": "random", "cpu_ratio": statistics.median(times["float32"]) / statistics.median(times["bfloat16"])}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    result = {"threads": torch.get_num_threads(), "figures": figures(arguments.images), "cost": cost("deit_tiny_patch16_224", 8)}
    print(json.dumps(result, indent=1))
    RESULTS.mkdir(exist_ok=True)
    write_text(RESULTS / "dtype_effect.json", json.dumps(result, indent=1) + "\n")
