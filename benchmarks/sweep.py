"""What prefix reuse saves: the same sensitivity grid by the sweep and by one full masked forward a cell, paired in one process.

    python benchmarks/sweep.py [--images 16] [--batch-size 8] [--threads N] [--model deit_tiny_patch16_224]

12 blocks x fc1, fc2, fc1+fc2 x 9 ratios, in exact mode; adaptive.py measures the adaptive mode. Images are random and in memory and
weights are random: only the cost counts. Process CPU time, batch by batch in alternation, so that a drift of the machine falls on
both. Both ways' outcomes are compared. The plain way prepares its pruned models beforehand, untimed. Writes
benchmarks/results/sweep.json.
"""

import argparse
import json
import platform
import resource
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from toast_core import collect_statistics, load_model
from toast_core.data.load import Batch
from toast_core.files import write_text
from toast_core.studies.sensitivity.cells import Cell, grid
from toast_core.studies.sensitivity.measure import Sweep, cell_outcomes

RESULTS = Path(__file__).parent / "results"


def plain(sweep: Sweep, batch: Batch, pruned: dict[Cell, nn.Module]) -> dict[Cell, np.ndarray]:
    """One full forward of the masked model for each cell; returns the losses."""
    adapter, found = sweep.suffix.adapter, {}
    with torch.inference_mode():
        baseline = sweep.model(batch.images)
        for cell, block in pruned.items():
            original: nn.Module = sweep.suffix.blocks[cell.block]
            adapter.replace_block(sweep.model, cell.block, block)
            try:
                found[cell] = cell_outcomes(sweep.model(batch.images), baseline, batch.labels).loss
            finally:
                adapter.replace_block(sweep.model, cell.block, original)
    return found


def main(name: str, images: int, batch_size: int, selection: str) -> dict:
    model = load_model(name, weights="random")
    generator = torch.Generator().manual_seed(0)
    size, channels = model.toast_info.shape.image_size, model.patch_embed.proj.in_channels
    batches = [
        Batch(
            torch.randn(batch_size, channels, size, size, generator=generator),
            torch.zeros(batch_size, dtype=torch.long),
            np.arange(batch_size),
        )
        for _ in range(max(1, images // batch_size))
    ]
    sweep = Sweep(model, collect_statistics(model, [batches[0].images]), selection=selection)
    cells = grid(len(sweep.suffix.blocks), ("fc1", "fc2", "fc1+fc2"))
    pruned = {cell: sweep.block_of(cell) for cell in cells}
    sweep.measure(batches[0], cells[:3])
    rows, worst = [], 0.0
    for number, batch in enumerate(batches):
        times, losses = {}, {}
        ways = {
            "reuse": lambda b=batch: {c: o.loss for c, o in sweep.measure(b, cells).cells.items()},
            "plain": lambda b=batch: plain(sweep, b, pruned),
        }
        for way in list(ways) if number % 2 == 0 else list(ways)[::-1]:
            start = time.process_time()
            losses[way] = ways[way]()
            times[way] = time.process_time() - start
        worst = max(worst, *(float(np.abs(losses["plain"][cell] - losses["reuse"][cell]).max()) for cell in cells))
        rows.append(times)
        print(
            json.dumps({key: round(value, 2) for key, value in times.items()} | {"ratio": round(times["plain"] / times["reuse"], 3)}),
            flush=True,
        )
    return {
        "model": name,
        "weights": "random",
        "selection": selection,
        "cells": len(cells),
        "images": len(batches) * batch_size,
        "batch_size": batch_size,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "torch": torch.__version__,
        "plain_cpu_s": sum(row["plain"] for row in rows),
        "reuse_cpu_s": sum(row["reuse"] for row in rows),
        "ratio_median": statistics.median(row["plain"] / row["reuse"] for row in rows),
        "largest_loss_difference": worst,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="deit_tiny_patch16_224")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--selection", default="calibrated")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    result = main(arguments.model, arguments.images, arguments.batch_size, arguments.selection)
    print(json.dumps(result, indent=1))
    RESULTS.mkdir(exist_ok=True)
    write_text(RESULTS / "sweep.json", json.dumps(result, indent=1) + "\n")
