"""What predicting and stopping early save: adaptive sweeps of the demo models against one full masked forward a cell, on test images.

    python benchmarks/adaptive.py MODEL [--images 2000] [--batches 2] [--recorded 960] [--orders 20] [--threads 1] [--keep FOLDER]

12 blocks x fc1, fc2, fc1+fc2 x 9 ratios. Process CPU time, all in one process: the plain way and the exact sweep are timed on a few of the
same batches, in alternation, and scaled to all images; between them come whole adaptive sweeps, one that decides by measured images
alone and one that predicts, through the evidence store. What their intervals must cover are the values of the shipped exact sweep of the
same images. On the first --recorded images every cell is then measured and sketched (kept in the folder --keep, if given, and read from
there again), and both ways are played back on these in other orders: the rates at which intervals of measured and of predicted cells
cover what all of these images say, and decisions against the tolerance that are wrong. Writes benchmarks/results/adaptive_MODEL.json.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sweep import plain

from analysis_cache.replay import Replay, shipped_bundles
from analysis_cache.store import EvidenceStore
from toast_core import load_model
from toast_core.data.load import Batch, ImageData, load_data
from toast_core.files import write_text
from toast_core.studies.sensitivity.cells import Cell, CellOutcomes, grid
from toast_core.studies.sensitivity.forecast import BASELINE_IMAGES, Forecast
from toast_core.studies.sensitivity.measure import Sweep
from toast_core.studies.sensitivity.store import SweepRequest, analyze_sensitivity
from toast_core.studies.sensitivity.sweep import FIRST_LOOK_IMAGES, Judge, Known, Rule, run_sweep
from toast_core.studies.sketch.measure import Sketcher
from toast_core.studies.sketch.result import DRAWS, IMAGES
from toast_core.studies.subject import Subject

RESULTS = Path(__file__).parent / "results"
SITES = ("fc1", "fc2", "fc1+fc2")
BATCH_SIZE = 64
SELECTION = "per_image"
Recorded = dict[str, np.ndarray]


def shipped_values(model: str, cells: list[Cell]) -> np.ndarray:
    """What the shipped exact analysis says each cell changes in points of top-1, (cells,).

    Raises:
        SystemExit: none is shipped.
    """
    for path in shipped_bundles():
        replay = Replay.open(path)
        for analysis in replay.analyses():
            asked = analysis.request
            if (asked["model"], asked["metric"], asked.get("settings", {}).get("selection")) == (model, "sensitivity", SELECTION):
                found = {Cell(row["block"], row["site"], row["ratio"]): row["top1_delta"] for row in replay.rows(analysis.id)}
                return np.array([found[cell] for cell in cells])
    raise SystemExit(f"no shipped exact sensitivity of {model} with {SELECTION} selection; build the bundle first")


def recorded(sweep: Sweep, data: ImageData, cells: list[Cell], kept: Path | None) -> Recorded:
    """Margins (images,) of the baseline, margins and KL (cells, images) of every cell, and its sketched damage of every image."""
    if kept is not None and kept.exists():
        return dict(np.load(kept))
    sketcher, parts = Sketcher(sweep.model, cells, sweep.plan_of, DRAWS, data.seed), []
    for batch in data.batches(BATCH_SIZE):
        result = sweep.measure(batch, cells)
        damage = 0.5 * np.square(sketcher.sketch(batch), dtype=np.float64).mean(axis=1)
        own = [result.cells[cell] for cell in cells]
        parts.append((result.baseline.margin, np.array([one.margin for one in own]), np.array([one.kl for one in own]), damage))
    names = ("before", "margin", "kl", "sketched")
    found = {name: np.concatenate(values, axis=-1) for name, values in zip(names, zip(*parts, strict=True), strict=True)}
    if kept is not None:
        np.savez(kept, **found)
    return found


def outcomes(margin: np.ndarray, kl: np.ndarray) -> CellOutcomes:
    """Outcomes of these margins and KL; top-5 and loss, which decide nothing, are left blank."""
    return CellOutcomes(margin > 0, margin > 0, kl, kl, margin)


def played(known: Recorded, cells: list[Cell], judge: Callable[[CellOutcomes, np.ndarray], Judge], order: np.ndarray) -> list[dict]:
    """The rows of a sweep of the images in this order, decided as `run_sweep` does."""
    before, total = outcomes(known["before"][order], np.zeros(len(order))), len(order)
    whole = {cell: outcomes(known["margin"][place][order], known["kl"][place][order]) for place, cell in enumerate(cells)}
    by = judge(before, order)
    finished: dict[Cell, dict] = {}
    seen: dict[Cell, CellOutcomes] = {}
    images, begun = FIRST_LOOK_IMAGES, by.first(cells)
    while len(finished) < len(cells):
        images = min(images, total)
        for own in (begun, []) if begun and images == FIRST_LOOK_IMAGES else ([],):
            active = [cell for cell in cells if cell not in finished]
            seen |= {cell: whole[cell].first(images) for cell in own or active}
            finished |= by.rows(active, Known(before.first(images), seen), total)
        if images == total:
            finished |= {
                cell: {**whole[cell].row(before, by.z(total)), "block": cell.block, "site": cell.site, "ratio": cell.ratio}
                for cell in cells if cell not in finished
            }
        images *= 2
    return [finished[cell] for cell in cells]


def audit(rows: list[list[dict]], truth: np.ndarray, rule: Rule) -> dict:
    """How often intervals of sweeps cover the truth (cells,), apart for measured and predicted cells, and which decisions are wrong."""
    kinds: dict[str, list[tuple[bool, bool]]] = {"measured": [], "predicted_beside_own_images": [], "predicted_alone": []}
    for one in rows:
        for row, true in zip(one, truth, strict=True):
            low, high = row["ci95"]
            kind = "measured" if not row.get("predicted") else "predicted_beside_own_images" if row["images"] else "predicted_alone"
            wrong = bool(high < -rule.tolerance <= true or low > -rule.tolerance >= true)
            kinds[kind].append((low <= true <= high, wrong))
    whole = [bool(np.mean([low <= true <= high for (low, high), true in zip([row["ci95"] for row in one], truth, strict=True)]) >= 0.95)
             for one in rows]
    images = [[row["images"] for row in one] for one in rows]
    return {
        "orders": len(rows), "image_cells_measured": float(np.sum(images) / len(rows)),
        "covering_share": float(np.mean([inside for found in kinds.values() for inside, _ in found])), "orders_at_95": sum(whole),
        **{
            kind: {
                "cells": len(found) / len(rows), "covering_share": float(np.mean([inside for inside, _ in found])),
                "wrong_decisions": sum(wrong for _, wrong in found) / len(rows),
            }
            for kind, found in kinds.items() if found
        },
    }


def timed(work: Callable[[], object]) -> tuple[float, object]:
    """The CPU seconds of this process that it takes, and what it gives."""
    start = time.process_time()
    found = work()
    return time.process_time() - start, found


def main(name: str, images: int, timed_batches: int, played_on: int, orders: int, kept: Path | None) -> dict:
    model = load_model(name)
    data = load_data("fashion-mnist", model, images)
    cells, rule = grid(len(model.toast_info.shape.blocks), SITES), Rule("adaptive")
    sweep = Sweep(model, selection=SELECTION)
    pruned = {cell: sweep.block_of(cell) for cell in cells}
    seconds: dict[str, list[float]] = {"plain": [], "exact": []}

    def alternate(batch: Batch, first: str) -> None:
        ways = {"plain": lambda: plain(sweep, batch, pruned), "exact": lambda: sweep.measure(batch, cells)}
        for way in sorted(ways, key=lambda one: one != first):
            seconds[way].append(timed(ways[way])[0])

    def predicting() -> list[dict]:
        with tempfile.TemporaryDirectory() as folder, EvidenceStore.open(Path(folder) / "store.sqlite") as store:
            request = SweepRequest(cells, rule, None, {"selection": SELECTION, "seed": 0})
            return analyze_sensitivity(Subject.of(model, data, BATCH_SIZE, "sensitivity"), store, request)[1]

    batches = [batch for _, batch in zip(range(timed_batches), data.batches(BATCH_SIZE), strict=False)]
    for number, batch in enumerate(batches[::2]):
        alternate(batch, "exact" if number % 2 else "plain")
    adaptive_s, adaptive = timed(lambda: run_sweep(Sweep(model, selection=SELECTION), data, cells, BATCH_SIZE, rule))
    predicting_s, rows = timed(predicting)
    for number, batch in enumerate(batches[1::2]):
        alternate(batch, "plain" if number % 2 else "exact")
    scaled = {way: sum(found) * len(data) / sum(len(batch.index) for batch in batches) for way, found in seconds.items()}

    whole = shipped_values(name, cells)
    known = recorded(sweep, data.part(0, played_on), cells, kept and kept / f"{name}.npz")
    truth = 100 * ((known["margin"] > 0).mean(axis=1) - (known["before"] > 0).mean())
    drawn = [np.random.default_rng(order).permutation(len(known["before"])) for order in range(orders)]

    def forecast(before: CellOutcomes, order: np.ndarray) -> Forecast:
        return Forecast(rule, cells, known["sketched"][:, order[:IMAGES]], before.first(BASELINE_IMAGES))

    ways = {"by_images": lambda before, order: rule, "predicting": forecast}
    return {
        "model": name, "selection": SELECTION, "cells": len(cells), "images": len(data), "threads": torch.get_num_threads(),
        "rule": {"width": rule.width, "tolerance": rule.tolerance}, "stated_rate": 0.95,
        "cpu_s": {
            "plain_scaled": scaled["plain"], "exact_scaled": scaled["exact"], "adaptive_by_images": adaptive_s,
            "adaptive_predicting": predicting_s,
        },
        "plain_over": {
            "exact": scaled["plain"] / scaled["exact"], "adaptive_by_images": scaled["plain"] / adaptive_s,
            "adaptive_predicting": scaled["plain"] / predicting_s,
        },
        "as_run": {"by_images": audit([adaptive], whole, rule), "predicting": audit([rows], whole, rule)},
        "played_back_on": len(known["before"]),
        "played_back": {way: audit([played(known, cells, judge, order) for order in drawn], truth, rule) for way, judge in ways.items()},
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--batches", type=int, default=2)
    parser.add_argument("--recorded", type=int, default=960)
    parser.add_argument("--orders", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--keep", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    result = main(arguments.model, arguments.images, arguments.batches, arguments.recorded, arguments.orders, arguments.keep)
    print(json.dumps(result, indent=1))
    RESULTS.mkdir(exist_ok=True)
    write_text(RESULTS / f"adaptive_{arguments.model}.json", json.dumps(result, indent=1) + "\n")
