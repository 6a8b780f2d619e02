"""A sketch in the evidence store: a cell a block and site, from parts of a few images, so that a killed one goes on where it stopped."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from operator import itemgetter
from typing import Any

import numpy as np

from analysis_cache.analysis import Analysis
from analysis_cache.key import CellIdentity, Scalar
from analysis_cache.store import EvidenceStore
from toast_core.data.load import Batch
from toast_core.data.numbered import NumberedBatches
from toast_core.executors.base import Executor
from toast_core.executors.local import LOCAL
from toast_core.models.info import get_info
from toast_core.pruning.statistics import Statistics
from toast_core.studies.analyses import announce, finish
from toast_core.studies.device_memory import ImageLimit
from toast_core.studies.sensitivity.cells import Cell
from toast_core.studies.sensitivity.plans import CellPlans, selected
from toast_core.studies.sketch.measure import Sketcher, go_on
from toast_core.studies.sketch.memory import sketch_need
from toast_core.studies.sketch.parts import PIECE_IMAGES, Place, SketchKeys, shared_details
from toast_core.studies.sketch.result import DRAWS, Sketch
from toast_core.studies.subject import Subject, statistics_digest


@dataclass(frozen=True)
class SketchRequest:
    """What is to be sketched.

    cells       in the order of the rows that come out, a block's site together
    draws       random directions an image
    statistics  what calibrated channels are chosen from; None where none are
    settings    fields of every cell's schedule beside its ratios: selection and seed
    """

    cells: list[Cell]
    draws: int = DRAWS
    statistics: Statistics | None = None
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(eq=False)
class SketchWork:
    """A sketcher and the images that it looks at: a task is a part by its place."""

    sketcher: Sketcher
    batches: NumberedBatches
    limit: ImageLimit

    def __call__(self, place: Place) -> np.ndarray | None:
        """The part, (cells, draws, images); None past the last image."""
        number, piece = place
        batch = self.batches.get(number)
        if batch is not None and piece is not None:
            own = slice(piece * PIECE_IMAGES, (piece + 1) * PIECE_IMAGES)
            batch = Batch(batch.images[own], batch.labels[own], batch.index[own])
        if batch is None or not len(batch.index):
            return None
        return self.limit.run(batch, self._sketch, partial(np.concatenate, axis=2))

    def _sketch(self, batch: Batch) -> np.ndarray:
        return self.sketcher.sketch(batch)

    def move(self, device: str) -> None:
        """Move the model to a device."""
        self.sketcher.model.to(device)


def sketch_identities(subject: Subject, request: SketchRequest) -> dict[tuple[int, str], CellIdentity]:
    """The identity of every block's site, in the order of the cells, without measuring anything."""
    places = dict.fromkeys((cell.block, cell.site) for cell in request.cells)
    return {place: replace(subject.identity, details=_details(subject, request, place)) for place in places}


def _details(subject: Subject, request: SketchRequest, place: tuple[int, str]) -> dict[str, Scalar]:
    ratios = [cell.ratio for cell in request.cells if (cell.block, cell.site) == place]
    return {"block": place[0], "site": place[1], "ratios": json.dumps(ratios), **_shared(subject, request)}


def _shared(subject: Subject, request: SketchRequest) -> dict[str, Scalar]:
    return shared_details(request.draws, statistics_digest(request.statistics), request.settings, subject.task.details)


def analyze_sketch(
    subject: Subject, store: EvidenceStore, request: SketchRequest, progress: Callable[[int, int], None] | None = None,
    memory_gb: float = 8.0, executor: Executor = LOCAL, pause: Callable[[], object] = go_on,
) -> tuple[Analysis, Sketch]:
    """Return the analysis and the sketch, measured within `memory_gb` (1e9 bytes) unless every cell of it is stored.

    `progress` is called after each stored part with the images done and all of them. `pause` is called again and again between two
    steps of the model, which others may use until it returns.

    Raises:
        DataError: no image could be read.
        DeviceError: one image needs more memory, or one batch where selection looks at whole batches.
    """
    identities, shape = sketch_identities(subject, request), get_info(subject.model).shape
    asked = subject.request(
        metric="sketch", settings={name: request.settings[name] for name in sorted(request.settings)}, draws=request.draws,
        calibration=statistics_digest(request.statistics), cells=[[cell.block, cell.site, cell.ratio] for cell in request.cells],
    )
    analysis = announce(store, asked, f"sketch of {subject.identity.model}", identities.values())
    if len(store.has_many(analysis.cell_keys)) < len(identities):
        whole = request.settings.get("selection") == "per_batch"
        most = sketch_need(shape, request.draws).images_within(memory_gb, subject.batch_size, whole)
        plans = CellPlans(partial(selected, subject.model, request.statistics, request.settings))
        sketcher = Sketcher(subject.model, request.cells, plans, request.draws, subject.data.seed, pause)
        batches = NumberedBatches(subject.data, subject.batch_size, executor.in_order)
        work = SketchWork(sketcher, batches, ImageLimit(most, request.settings.get("selection")))
        moved, parts = _measured(work, subject, store, request, progress, executor)
        sketch = Sketch(tuple(request.cells), moved, subject.task.damage.key)
        rows = sketch.rows()
        for place, identity in identities.items():
            own = [number for number, cell in enumerate(request.cells) if (cell.block, cell.site) == place]
            store.put(identity, {"rows": [rows[number] for number in own]}, {"moved": moved[own]})
        store.remove(parts)
    return finish(store, analysis), read_sketch(store, analysis, subject.task.damage.key)


def read_sketch(store: EvidenceStore, analysis: Analysis, key: str) -> Sketch:
    """The sketch of a finished analysis, from its stored cells; `key` is the task's damage."""
    cells, moved = [], []
    for cell_key in analysis.cell_keys:
        cell = store.get(cell_key)
        cells += [Cell(row["block"], row["site"], row["ratio"]) for row in cell.summary["rows"]]
        moved.append(cell.arrays["moved"])
    return Sketch(tuple(cells), np.concatenate(moved), key)


def _measured(
    work: SketchWork, subject: Subject, store: EvidenceStore, request: SketchRequest, progress: Callable[[int, int], None] | None,
    executor: Executor,
) -> tuple[np.ndarray, Sequence[str]]:
    """The parts of all batches joined, and their keys in the store."""
    keys = SketchKeys(subject.identity, tuple(request.cells), _shared(subject, request))
    identities = {place: keys.identity_of(place) for place in keys.places()}
    known = store.has_many([one.key for one in identities.values()])
    found = {place: store.get(one.key).arrays["moved"] for place, one in identities.items() if one.key in known}
    for place, moved in executor.map(work, [place for place in identities if place not in found], group=itemgetter(0)):
        if moved is not None:
            store.put(identities[place], {"images": moved.shape[2]}, {"moved": moved})
            found[place] = moved
            if progress:
                progress(sum(one.shape[2] for one in found.values()), len(subject.data))
    if not found:
        raise subject.data.unread()
    moved = np.concatenate([found[place] for place in identities if place in found], axis=2)
    return moved, [one.key for one in identities.values()]
