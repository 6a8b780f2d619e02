"""What an adaptive sweep measures before its first cell: a sketch of them on the first images, and the baseline on some more."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from operator import itemgetter
from typing import Any

import numpy as np

from analysis_cache.canonical import sha256_hex
from analysis_cache.key import CellIdentity, Scalar
from analysis_cache.store import EvidenceStore
from toast_core.data.numbered import NumberedBatches
from toast_core.executors.base import Executor
from toast_core.models.info import get_info
from toast_core.studies.device_memory import ImageLimit
from toast_core.studies.sensitivity.cells import Cell
from toast_core.studies.sensitivity.forecast import BASELINE_IMAGES, Forecast
from toast_core.studies.sensitivity.measure import Sweep
from toast_core.studies.sensitivity.sweep import Rule, SweepWork
from toast_core.studies.sketch.measure import Sketcher
from toast_core.studies.sketch.memory import sketch_need
from toast_core.studies.sketch.result import DRAWS, IMAGES
from toast_core.studies.sketch.store import SketchWork
from toast_core.studies.subject import Subject


def sketch_part(subject: Subject, cells: Sequence[Cell], calibration: str, settings: Mapping[str, Any]) -> CellIdentity:
    """The cell of the store that holds the sketch of these cells while the sweep runs."""
    listed = sha256_hex(json.dumps([[cell.block, cell.site, cell.ratio] for cell in cells]))
    details: dict[str, Scalar] = {
        "part": "forecast", "calibration": calibration, "settings": json.dumps(dict(settings), sort_keys=True), "cells": listed,
        "draws": DRAWS, "sketched": IMAGES,
    }
    return replace(subject.identity, details=details)


def forecast(
    sweep: Sweep, subject: Subject, store: EvidenceStore, part: CellIdentity, cells: Sequence[Cell], rule: Rule, memory_gb: float,
    executor: Executor,
) -> Forecast:
    """What decides these cells: their sketch is taken from `part` of the store, or measured and put there.

    Raises:
        DataError: no image could be read.
        DeviceError: one image needs more memory than `memory_gb` (1e9 bytes).
    """
    data, size = subject.data, subject.batch_size
    if store.has_many([part.key]):
        damage = store.get(part.key).arrays["damage"]
    else:
        most = sketch_need(get_info(subject.model).shape, DRAWS).images_within(memory_gb, size, False)
        sketcher = Sketcher(subject.model, cells, sweep.plan_of, DRAWS, data.seed)
        batches = NumberedBatches(data.part(0, min(IMAGES, len(data))), min(size, IMAGES), executor.in_order)
        work = SketchWork(sketcher, batches, ImageLimit(most))
        ended = dict(executor.map(work, [(number, None) for number in range(len(batches))]))
        moved = [ended[place] for place in sorted(ended, key=itemgetter(0)) if ended[place] is not None]
        if not moved:
            raise data.unread()
        damage = 0.5 * np.square(np.concatenate(moved, axis=2), dtype=np.float64).mean(axis=1)
        store.put(part, {"images": damage.shape[1]}, {"damage": damage})
    batches = NumberedBatches(data.part(0, min(BASELINE_IMAGES, len(data))), size, executor.in_order)
    found = dict(executor.map(SweepWork(sweep, batches), [(number, ()) for number in range(len(batches))]))
    baselines = [found[task].baseline for task in sorted(found) if found[task] is not None]
    if not baselines:
        raise data.unread()
    return Forecast(rule, cells, damage, reduce(lambda first, second: first.joined(second), baselines))
