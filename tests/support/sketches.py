"""Made-up sketches of demo_vit in a store, as an engine leaves them: finished, or as far as the parts that are there."""

from pathlib import Path

import numpy as np

import toast_core
from analysis_cache.analysis import Analysis
from analysis_cache.key import METRIC_VERSIONS, CellIdentity
from analysis_cache.staleness import digest_of_weights
from analysis_cache.store import EvidenceStore
from dashboard.evidence.sketch import DamageMap, read_map
from toast_core.schedule.compensation import FULL
from toast_core.schedule.sites import SITES
from toast_core.studies.sensitivity.cells import DEFAULT_RATIOS, Cell, grid
from toast_core.studies.sketch.parts import SketchKeys, shared_details
from toast_core.studies.sketch.result import Sketch

TIME = "2026-01-31T12:00:00Z"
WEIGHTS = "assets/fashion_mnist/demo_vit.safetensors"
BLOCKS, IMAGES, DRAWS = 12, 24, 2
CELLS = tuple(grid(BLOCKS, SITES, DEFAULT_RATIOS))
STRENGTH = {"qk": 0.02, "vo": 0.1, "fc1": 0.5, "fc2": 0.2}


def moved(cells: tuple[Cell, ...] = CELLS, images: int = IMAGES) -> np.ndarray:
    """Later blocks and smaller ratios move the output less; at 0.1 of qk one image alone does, which cannot be told from none."""
    signs = np.where(np.arange(DRAWS * images).reshape(DRAWS, images) % 2, 1.0, -1.1)
    found = np.stack([STRENGTH[cell.site] * (1.6 - cell.block / 10) * cell.ratio * signs for cell in cells])
    for place, cell in enumerate(cells):
        if (cell.site, cell.ratio) == ("qk", 0.1):
            found[place, :, 1:] = 0
    return found.astype(np.float32)


def request(selection: str, cells: tuple[Cell, ...] = CELLS, **settings: object) -> dict:
    """What its analysis asks for."""
    weights = Path(toast_core.__file__).parent / WEIGHTS
    weights_digest, _ = digest_of_weights(weights, weights.stat().st_mtime_ns)
    identity = CellIdentity(
        "sketch", METRIC_VERSIONS["sketch"], "demo_vit", weights_digest, "f" * 64, IMAGES, "c" * 64, "made up", None, None, "shuffled",
        16, 0, "float32", "cpu", {},
    )
    return {
        **identity.to_dict(), "weights_file": WEIGHTS, "metric": "sketch", "settings": {"selection": selection, "seed": 0, **settings},
        "draws": DRAWS,
        "measured": 0, "calibration": "none", "cells": [[cell.block, cell.site, cell.ratio] for cell in cells],
    }


def put_sketch(
    path: Path, selection: str = "calibrated", cells: tuple[Cell, ...] = CELLS, parts: int | None = None, **settings: object
) -> Analysis:
    """Leave a finished sketch in a store; with `parts`, the first so many parts of one that still runs."""
    asked = request(selection, cells, **settings)
    keys, found = SketchKeys.of_request(asked, {}), moved(cells)
    rows, places = Sketch(cells, found, "kl").rows(), list(dict.fromkeys((cell.block, cell.site) for cell in cells))
    shared = shared_details(DRAWS, "none", asked["settings"], {})
    identities = {
        (block, site): CellIdentity(
            **{name: getattr(keys.identity, name) for name in keys.identity.__dataclass_fields__ if name != "details"},
            details={"block": block, "site": site, "ratios": "made up", **shared},
        )
        for block, site in places
    }
    analysis = Analysis(asked, "sketch", tuple(one.key for one in identities.values()), TIME, None if parts is not None else TIME)
    with EvidenceStore.open(path) as store:
        store.put_analysis(analysis)
        if parts is None:
            for place, identity in identities.items():
                own = [number for number, cell in enumerate(cells) if (cell.block, cell.site) == place]
                store.put(identity, {"rows": [rows[number] for number in own]}, {"moved": found[own]})
        for number, place in enumerate(list(keys.places())[: parts or 0]):
            store.put(keys.identity_of(place), {"images": 8}, {"moved": found[:, :, 8 * number : 8 * number + 8]})
    return analysis


def damage_map(selection: str = "calibrated", compensated: bool = False, **changes: object) -> DamageMap:
    """The finished one as pages read it; `changes` are fields of its rows."""
    settings = {"compensation": vars(FULL)} if compensated else {}
    rows = [row | changes for row in Sketch(CELLS, moved(), "kl").rows()]
    found = read_map(rows, request(selection, **settings), True)
    assert found is not None
    return found
