"""Made-up analyses of demo_vit in a store, as the engine leaves them: finished, or with the parts of a sweep that still runs."""

from dataclasses import replace
from pathlib import Path

import numpy as np

import toast_core
from analysis_cache.analysis import Analysis
from analysis_cache.key import METRIC_VERSIONS, CellIdentity
from analysis_cache.staleness import digest_of_weights
from analysis_cache.store import EvidenceStore
from tests.support.chart_rows import redundancy_row
from toast_core.studies.sensitivity.cells import Cell, CellOutcomes, summarize
from toast_core.studies.tasks.registry import TASKS

TIME = "2026-01-31T12:00:00Z"
WEIGHTS = "assets/fashion_mnist/demo_vit.safetensors"
BLOCKS, SITES, RATIOS, IMAGES, BATCH = 12, ("qk", "fc2"), (0.1, 0.5, 0.9), 400, 100
CELLS = [Cell(block, site, ratio) for block in range(BLOCKS) for site in SITES for ratio in RATIOS]
SETTINGS = {"seed": 0, "selection": "per_image"}
_RANDOM = np.random.default_rng(5)
BASELINE = CellOutcomes(
    _RANDOM.random(IMAGES) < 0.9, _RANDOM.random(IMAGES) < 0.99, _RANDOM.random(IMAGES).astype(np.float32), np.zeros(IMAGES, np.float32),
    np.zeros(IMAGES, np.float32),
)


def outcomes(cell: Cell, images: int = IMAGES) -> CellOutcomes:
    """Block 0 loses 40 % of its images at 0.9; elsewhere nothing changes but the loss."""
    worse = np.arange(IMAGES) % 10 < (4 if cell.block == 0 and cell.ratio == 0.9 else 0)
    found = replace(BASELINE, correct=BASELINE.correct & ~worse, loss=BASELINE.loss + 0.25 * cell.ratio, kl=BASELINE.kl + cell.ratio)
    return CellOutcomes(*(getattr(found, name)[:images] for name in ("correct", "top5", "loss", "kl", "margin")))


def _identity(kind: str, **details: object) -> CellIdentity:
    weights = Path(toast_core.__file__).parent / WEIGHTS
    digest, _ = digest_of_weights(weights, weights.stat().st_mtime_ns)
    return CellIdentity(
        kind, METRIC_VERSIONS[kind], "demo_vit", digest, "b" * 64, IMAGES, "c" * 64, "made up", None, None, "shuffled", BATCH, 0, "float32",
        "cpu", details,
    )


def _cell_identity(cell: Cell) -> CellIdentity:
    details = {"block": cell.block, "site": cell.site, "ratio": cell.ratio, "mode": "exact", "calibration": "none"}
    return replace(_identity("sensitivity", **details), schedule_digest="d" * 64, selection="per_image")


def _baseline_identity() -> CellIdentity:
    return replace(_identity("evaluation", execution="baseline"), schedule_digest="e" * 64)


def sweep(finished: bool = True) -> Analysis:
    """The sweep of CELLS."""
    request = {
        **_identity("sensitivity").to_dict(), "weights_file": WEIGHTS, "metric": "sensitivity", "mode": "exact", "width": 1.0,
        "tolerance": 2.0, "settings": SETTINGS, "calibration": "none", "cells": [[cell.block, cell.site, cell.ratio] for cell in CELLS],
    }
    keys = (*(_cell_identity(cell).key for cell in CELLS), _baseline_identity().key)
    return Analysis(request, "exact sensitivity of demo_vit", keys, TIME, TIME if finished else None)


def put_baseline(store: EvidenceStore) -> None:
    """Store the baseline's outcomes on the sweep's images."""
    label = np.zeros(IMAGES, np.int32)
    arrays = {"index": np.arange(IMAGES, dtype=np.int32), "label": label, "predicted": np.where(BASELINE.correct, 0, 1).astype(np.int32)}
    store.put(_baseline_identity(), {"images": IMAGES}, arrays | {"top5": BASELINE.top5, "loss": BASELINE.loss.astype(np.float16)})


def put_sweep(store: EvidenceStore) -> Analysis:
    """Store the finished sweep and its baseline."""
    store.put_analysis(sweep())
    put_baseline(store)
    for cell in CELLS:
        found = outcomes(cell)
        arrays = {"correct": found.correct, "top5": found.top5, "loss": found.loss.astype(np.float16)}
        store.put(_cell_identity(cell), summarize(cell, BASELINE, found), arrays)
    return sweep()


def put_running_sweep(store: EvidenceStore, batches: int) -> Analysis:
    """Announce the sweep and store the parts of its first batches, and of one block on the next, as the engine does."""
    from toast_core.studies.sensitivity.parts import PartKeys, StoreParts

    store.put_analysis(sweep(finished=False))
    put_baseline(store)
    parts = StoreParts(store, PartKeys(_identity("sensitivity"), "none", SETTINGS), TASKS["classification"])
    for batch in range(batches + 1):
        for block in range(BLOCKS if batch < batches else 1):
            taken = slice(batch * BATCH, (batch + 1) * BATCH)
            names = ("correct", "top5", "loss", "kl", "margin")
            found = {
                cell: CellOutcomes(*(getattr(outcomes(cell), name)[taken] for name in names)) for cell in CELLS if cell.block == block
            }
            parts.save(batch, block, found)
    return sweep(finished=False)


def put_redundancy(store: EvidenceStore) -> Analysis:
    """Store a finished redundancy analysis of all blocks at both sites."""
    identities = {
        (block, site): _identity("redundancy", block=block, site=site) for block in range(BLOCKS) for site in ("hidden", "fc1_input")
    }
    request = {**_identity("redundancy").to_dict(), "weights_file": WEIGHTS, "metric": "redundancy"}
    analysis = Analysis(request, "redundancy of demo_vit", tuple(one.key for one in identities.values()), TIME, TIME)
    store.put_analysis(analysis)
    for (block, site), identity in identities.items():
        store.put(identity, redundancy_row(block, site, 0.7 if block == 3 else 0.5).to_dict(), {})
    return analysis
