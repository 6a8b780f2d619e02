"""A made-up sensitivity analysis of demo_vit in a store, as the engine would leave it: what dropping costs follows one formula."""

import random
from pathlib import Path

import toast_core
from analysis_cache.analysis import Analysis
from analysis_cache.key import METRIC_VERSIONS, CellIdentity
from analysis_cache.staleness import digest_of_weights
from analysis_cache.store import EvidenceStore
from toast_core.cost.latency import BlockTimes, LatencyTable, Line, Sheet
from toast_core.cost.shapes import ModelShape

TIME = "2026-01-31T12:00:00Z"
RATIOS = tuple(round(0.1 * step, 1) for step in range(1, 10))
WEIGHTS = "assets/fashion_mnist/demo_vit.safetensors"
STRENGTH = {"qk": 2.0, "vo": 6.0, "fc1": 9.0, "fc2": 4.0}


def row(block: int, site: str, ratio: float) -> dict:
    """One cell: later blocks cost less, and small ratios cannot be told apart from the baseline."""
    delta = -round(STRENGTH[site] * (1.6 - block / 10) * ratio**2.5 - 0.05, 3)
    half = round(0.2 + abs(delta) / 12, 3)
    return {
        "block": block, "site": site, "ratio": ratio, "top1": 91.5 + delta, "top1_delta": delta, "ci95": [delta - half, delta + half],
        "kl": 0.01, "images": 2000,
    }


def rows(blocks: int = 12) -> list[dict]:
    """All cells of the four sites."""
    return [row(block, site, ratio) for block in range(blocks) for site in STRENGTH for ratio in RATIOS]


def store_curves(path: Path) -> None:
    """Write them into a store, for the embedded weights of demo_vit."""
    weights = Path(toast_core.__file__).parent / WEIGHTS
    digest, _ = digest_of_weights(weights, weights.stat().st_mtime_ns)
    identities = {
        (cell["block"], cell["site"], cell["ratio"]): CellIdentity(
            "sensitivity", METRIC_VERSIONS["sensitivity"], "demo_vit", digest, "b" * 64, 2000, "c" * 64, "made up", "d" * 64, "calibrated",
            "shuffled", 64, 0, "float32", "cpu", {name: cell[name] for name in ("block", "site", "ratio")},
        )
        for cell in rows()
    }
    request = {
        "metric": "sensitivity", "mode": "exact", "model": "demo_vit", "weights_file": WEIGHTS, "weights_digest": digest,
        "dtype": "float32", "images": 2000, "batch_size": 64, "seed": 0, "settings": {"selection": "calibrated"},
    }
    keys = tuple(identity.key for identity in identities.values())
    with EvidenceStore.open(path) as store:
        store.put_analysis(Analysis(request, "exact sensitivity of demo_vit", keys, TIME, TIME))
        for place, identity in identities.items():
            store.put(identity, row(*place), {})


def latency_table(shape: ModelShape, seed: int = 0) -> LatencyTable:
    """A table of random times of every part of every kind of block."""
    draw, kinds = random.Random(seed), list(dict.fromkeys(shape.blocks))

    def counts(width: int) -> tuple[int, ...]:
        aligned = (8 * step for step in range(1, width // 8, max(1, width // 40)))
        return tuple(sorted({1, width, *aligned, *draw.sample(range(1, width), 3)}))

    def line(width: int) -> Line:
        kept = counts(width)
        return Line(kept, tuple(draw.random() for _ in kept))

    def sheet(first: int, second: int) -> Sheet:
        one, other = counts(first), counts(second)
        return Sheet(one, other, tuple(tuple(draw.random() for _ in other) for _ in one))

    return LatencyTable(
        shape, 1, "float32", "cpu", "made up", 2, "2", 5, 0.25, 3.0,
        tuple(
            BlockTimes(line(kind.head_dim), sheet(kind.head_dim, kind.head_dim), line(kind.hidden), sheet(kind.width, kind.hidden))
            for kind in kinds
        ),
        tuple(kinds.index(block) for block in shape.blocks),
    )
