"""Cells and analyses for tests. Imports no torch: the crash tests' own processes use it too."""

import numpy as np

from analysis_cache.analysis import Analysis
from analysis_cache.cell import CellHead, CellRecord
from analysis_cache.key import METRIC_VERSIONS, CellIdentity
from analysis_cache.store import EvidenceStore
from analysis_cache.upkeep import everything

TIME = "2026-01-31T12:00:00Z"


def identity(number: int = 0, **changes: object) -> CellIdentity:
    """A cell that differs from that of another number in its ratio and block."""
    values: dict[str, object] = {
        "kind": "sensitivity", "metric_version": METRIC_VERSIONS["sensitivity"],
        "model": "demo_vit", "weights_digest": "a" * 64, "data_digest": "b" * 64, "images": 40,
        "subset_digest": "c" * 64, "transform": "28 x 28, mean 0.286, std 0.353", "schedule_digest": "d" * 64, "selection": "per_image",
        "order": "shuffled", "batch_size": 64, "seed": 0, "dtype": "float32", "device_kind": "cpu",
        "details": {"block": number % 12, "site": "fc1", "ratio": number / 100_000},
    }
    return CellIdentity(**(values | changes))


def summary(number: int = 0) -> dict[str, object]:
    """The figures of a cell."""
    return {"top1": 91.25, "top1_delta": -number / 1000, "ci95": [90.5, 92.0], "kl": 0.0125, "images": 40}


def outcomes(number: int = 0, images: int = 40) -> dict[str, np.ndarray]:
    """Per-image arrays as the engine keeps them."""
    random = np.random.default_rng(number)
    return {
        "correct": random.random(images) < 0.9, "loss": random.random(images).astype(np.float16),
        "margin": random.standard_normal(images).astype(np.float16),
    }


def cells_in(store: EvidenceStore, **wanted: object) -> list[CellHead]:
    """Every sound cell, in the order of keys, whose identity has these values, by field or detail: kind="sensitivity", site="fc1"."""
    keys = sorted(record.key for record, _ in everything(store.database) if isinstance(record, CellRecord))
    return [head for head in store.heads(keys) if wanted.items() <= (vars(head.identity) | head.identity.detail).items()]


def fill(store: EvidenceStore, count: int = 5, images: int = 40, finished: bool = True, **request: object) -> Analysis:
    """Store an analysis and its cells."""
    keys = tuple(identity(number).key for number in range(count))
    analysis = Analysis({"model": "demo_vit", "cells": count} | request, f"{count} cells", keys, TIME, TIME if finished else None)
    store.put_analysis(analysis)
    for number in range(count):
        store.put(identity(number), summary(number), outcomes(number, images))
    return analysis
