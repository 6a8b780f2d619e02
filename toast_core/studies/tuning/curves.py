"""Damage of cells, predicted on images that no fit has seen: compensated ones have their block refitted in one shot."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from torch import nn

from analysis_cache.store import EvidenceStore
from toast_core.compensation.walk import score_channels
from toast_core.executors.base import Executor
from toast_core.executors.local import LOCAL
from toast_core.models.info import get_info
from toast_core.studies.sensitivity.cells import grid
from toast_core.studies.sketch.result import DRAWS, Sketch
from toast_core.studies.sketch.store import SketchRequest, analyze_sketch
from toast_core.studies.subject import Subject
from toast_core.studies.tuning.images import CalibrationParts
from toast_core.studies.tuning.request import TuningRequest
from toast_core.studies.tuning.store import TuningStore


def sketch_curves(
    model: nn.Module,
    request: TuningRequest,
    parts: CalibrationParts,
    progress: Callable[[int, int], None] = lambda done, total: None,
    store: TuningStore = TuningStore(),  # noqa: B008 - frozen, and empty
    executor: Executor = LOCAL,
) -> Sketch:
    """Return the sketch of every cell that the request names, calibrated by a few that are run; what is stored is not sketched again.

    `progress` is told of the images done and all of them.
    """
    if store.store is not None:
        return _sketch(model, request, parts, progress, store.store, executor)
    with tempfile.TemporaryDirectory() as folder, EvidenceStore.open(Path(folder) / "sketch.sqlite") as kept:
        return _sketch(model, request, parts, progress, kept, executor)


def sketch_subject(model: nn.Module, request: TuningRequest, parts: CalibrationParts, executor: Executor = LOCAL) -> Subject:
    """The model on the images that curves are measured on."""
    return Subject.of(model, parts.curves, request.batch_size, "sketch", executor)


def sketch_request(model: nn.Module, request: TuningRequest, parts: CalibrationParts) -> SketchRequest:
    """What is sketched for a tuning: without rounding up, since curves are read by kept counts."""
    cells = grid(len(get_info(model).shape.blocks), request.sites, request.ratios)
    settings = request.cell_settings
    if not request.compensation.is_none:
        return SketchRequest(cells, DRAWS, None, settings, trials=0, fit=parts.fit)
    statistics = score_channels(model, cells[0].schedule(len(get_info(model).shape.blocks), **settings), parts.fit.images)
    return SketchRequest(cells, DRAWS, statistics, settings, trials=0)


def _sketch(
    model: nn.Module, request: TuningRequest, parts: CalibrationParts, progress: Callable[[int, int], None], store: EvidenceStore,
    executor: Executor,
) -> Sketch:
    subject = sketch_subject(model, request, parts, executor)
    return analyze_sketch(subject, store, sketch_request(model, request, parts), progress, executor=executor)[1]
