"""What stopping early saves: an adaptive sweep of demo_vit against one full masked forward a cell, on real test images.

    python benchmarks/adaptive.py [--images 2000] [--batches 2] [--threads N]

12 blocks x fc1, fc2, fc1+fc2 x 9 ratios. The adaptive sweep runs to its end; the plain way and the exact sweep are timed on a few of
the same batches, in alternation, and scaled to all images. Process CPU time. The exact values that the adaptive intervals must
cover are those of the shipped analysis, on the same images; from its per-image outcomes the stopping rule is also played back in many
other orders, for the rate at which intervals cover. Writes benchmarks/results/adaptive.json.
"""

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np
import torch
from sweep import plain

from analysis_cache.replay import Replay, shipped_bundles
from toast_core import load_model
from toast_core.data.load import load_data
from toast_core.files import write_text
from toast_core.intervals import paired_interval
from toast_core.studies.sensitivity.cells import Cell, CellOutcomes, grid
from toast_core.studies.sensitivity.measure import Sweep
from toast_core.studies.sensitivity.sweep import FIRST_LOOK_IMAGES, Rule, run_sweep

RESULTS = Path(__file__).parent / "results"
SITES = ("fc1", "fc2", "fc1+fc2")
BATCH_SIZE = 64


def shipped_rows(model: str, selection: str) -> tuple[dict[Cell, dict], dict[Cell, np.ndarray], np.ndarray]:
    """Rows and per-image hits of the shipped exact analysis, and the baseline's hits."""
    for path in shipped_bundles():
        replay = Replay.open(path)
        for analysis in replay.analyses():
            asked = analysis.request
            if (asked["model"], asked["metric"], asked.get("settings", {}).get("selection")) == (model, "sensitivity", selection):
                rows = {Cell(row["block"], row["site"], row["ratio"]): row for row in replay.rows(analysis.id)}
                before = replay.outcomes(replay.baseline(analysis.id).key)
                hits = {cell: replay.outcomes(row["key"])["correct"] for cell, row in rows.items() if cell.site in SITES}
                return rows, hits, before["predicted"] == before["label"]
    raise SystemExit(f"no shipped exact sensitivity of {model} with {selection} selection; build the bundle first")


def played_back(hits: dict[Cell, np.ndarray], before: np.ndarray, rule: Rule, orders: int) -> tuple[float, float]:
    """The share of images used and the share of intervals that cover the exact difference, over seeded random orders."""
    rng, total, used, covered = np.random.default_rng(0), len(before), [], []
    blank = np.zeros(total, np.float32)
    for _ in range(orders):
        order = rng.permutation(total)
        first = CellOutcomes(before[order], before[order], blank, blank, blank)
        for correct in hits.values():
            truth, images = 100 * (correct.mean() - before.mean()), FIRST_LOOK_IMAGES
            while True:
                seen = min(images, total)
                now = CellOutcomes(correct[order[:seen]], correct[order[:seen]], blank[:seen], blank[:seen], blank[:seen])
                if seen == total or rule.decided(first, now, total):
                    break
                images *= 2
            low, high = paired_interval(before[order[:seen]], now.correct, rule.z(total))
            used.append(seen / total)
            covered.append(low <= truth <= high)
    return float(np.mean(used)), float(np.mean(covered))


def main(images: int, timed_batches: int, selection: str, orders: int) -> dict:
    rows, hits, before = shipped_rows("demo_vit", selection)
    model = load_model("demo_vit")
    data = load_data("fashion-mnist", model, images)
    cells, rule = grid(len(model.toast_info.shape.blocks), SITES), Rule("adaptive")
    sweep = Sweep(model, selection=selection)
    pruned = {cell: sweep.block_of(cell) for cell in cells}
    times: dict[str, float] = {"plain": 0.0, "exact": 0.0}
    for number, batch in enumerate(data.batches(BATCH_SIZE)):
        if number == timed_batches:
            break
        ways = {"exact": lambda b=batch: sweep.measure(b, cells), "plain": lambda b=batch: plain(sweep, b, pruned)}
        for way in list(ways) if number % 2 else list(ways)[::-1]:
            start = time.process_time()
            ways[way]()
            times[way] += time.process_time() - start
    scaled = {way: seconds * len(data) / (timed_batches * BATCH_SIZE) for way, seconds in times.items()}
    start = time.process_time()
    adaptive = run_sweep(sweep, data, cells, BATCH_SIZE, rule)
    adaptive_s = time.process_time() - start
    exact = [rows[Cell(row["block"], row["site"], row["ratio"])] for row in adaptive]
    same_images = all(row["images"] == len(data) for row in exact)
    inside = [row["ci95"][0] <= true["top1_delta"] <= row["ci95"][1] for row, true in zip(adaptive, exact, strict=True)]
    share, rate = played_back(hits, before, rule, orders)
    return {
        "model": "demo_vit", "selection": selection, "cells": len(cells), "images": len(data), "threads": torch.get_num_threads(),
        "rule": {"width": rule.width, "tolerance": rule.tolerance},
        "plain_cpu_s_scaled": scaled["plain"], "exact_cpu_s_scaled": scaled["exact"], "adaptive_cpu_s": adaptive_s,
        "exact_ratio": scaled["plain"] / scaled["exact"], "adaptive_ratio": scaled["plain"] / adaptive_s,
        "images_used_share": sum(row["images"] for row in adaptive) / (len(cells) * len(data)),
        "exact_values_of_the_same_images": same_images, "intervals_covering": sum(inside), "stated_rate": 0.95,
        "played_back": {"orders": orders, "images_used_share": share, "covering_share": rate},
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--batches", type=int, default=2)
    parser.add_argument("--selection", default="per_image")
    parser.add_argument("--orders", type=int, default=50)
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    result = main(arguments.images, arguments.batches, arguments.selection, arguments.orders)
    print(json.dumps(result, indent=1))
    RESULTS.mkdir(exist_ok=True)
    write_text(RESULTS / "adaptive.json", json.dumps(result, indent=1) + "\n")
