"""A sketch in the evidence store: a cell a block and site, from parts of a few images, so that a killed one goes on where it stopped."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from torch import nn

from analysis_cache.analysis import Analysis
from analysis_cache.canonical import sha256_hex
from analysis_cache.key import CellIdentity, Scalar, digest_of_subset
from analysis_cache.store import EvidenceStore
from toast_core.compensation.walk import compensate
from toast_core.data.load import Batch, ImageData
from toast_core.data.numbered import NumberedBatches
from toast_core.executors.base import Executor
from toast_core.executors.local import LOCAL
from toast_core.models.info import get_info
from toast_core.pruning.plan import Plan
from toast_core.pruning.planner import make_plan
from toast_core.pruning.statistics import Statistics
from toast_core.schedule.compensation import FULL
from toast_core.schedule.schedule import Schedule
from toast_core.studies.analyses import announce, finish
from toast_core.studies.device_memory import ImageLimit
from toast_core.studies.sensitivity.cells import Cell
from toast_core.studies.sensitivity.measure import Sweep
from toast_core.studies.sensitivity.plans import CellPlans, CompensatedPlans, selected
from toast_core.studies.sketch.calibration import MEASURED, MEASURED_IMAGES, telling
from toast_core.studies.sketch.measure import Sketcher, go_on
from toast_core.studies.sketch.memory import sketch_need
from toast_core.studies.sketch.parts import PIECE_IMAGES, Place, SketchKeys, shared_details
from toast_core.studies.sketch.result import DRAWS, Sketch, Trial
from toast_core.studies.sketch.trials import TRIALS, run_cells, run_schedules, trial_schedules
from toast_core.studies.subject import Subject, statistics_digest


@dataclass(frozen=True, eq=False)
class FitImages:
    """Calibration images to refit on, read when they are first asked for."""

    data: ImageData
    batch_size: int

    @cached_property
    def images(self) -> list[torch.Tensor]:
        """(B, C, H, W) a batch.

        Raises:
            DataError: none of them can be read.
        """
        found = [batch.images for batch in self.data.batches(self.batch_size)]
        if not found:
            raise self.data.unread()
        return found

    @property
    def digest(self) -> str:
        """Which they are, in which order and batches: 16 hex digits."""
        data = self.data
        return sha256_hex(f"{data.source.digest} {digest_of_subset(data.index)} {data.transform.description} {self.batch_size}")[:16]


@dataclass(frozen=True)
class SketchRequest:
    """What is to be sketched.

    cells       in the order of the rows that come out, a block's site together
    draws       random directions an image
    statistics  what calibrated channels are chosen from; None where none are
    settings    fields of every cell's schedule beside its ratios: selection, seed, and compensation, which is one-shot
    measured    so many cells of every site are run on some of the images, and calibrate the others; 0 for none
    trials      so many whole schedules are run, and calibrate the prediction of others; compensated ones as FULL compensation fits them
    fit         images that compensated cells are refitted on
    """

    cells: list[Cell]
    draws: int = DRAWS
    statistics: Statistics | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    measured: int = MEASURED
    trials: int = TRIALS
    fit: FitImages | None = None

    @property
    def plain_settings(self) -> dict[str, Any]:
        """The settings as JSON values, by name."""
        return {name: vars(value) if name == "compensation" else value for name, value in sorted(self.settings.items())}

    @property
    def calibration(self) -> str:
        """What cells are chosen or refitted by, as a digest; empty where they need nothing."""
        return self.fit.digest if self.fit else statistics_digest(self.statistics)

    def plans(self, model: nn.Module) -> Callable[[Cell], Plan]:
        """What gives a cell's plan."""
        if self.fit is not None:
            return CompensatedPlans(model, self.cells, self.settings, self.fit.images)
        return CellPlans(partial(selected, model, self.statistics, self.settings))


    @property
    def whole_settings(self) -> dict[str, Any]:
        """Fields of a whole schedule beside its ratios."""
        return self.settings | ({"compensation": FULL} if self.fit else {})

    def plan(self, model: nn.Module, schedule: Schedule) -> Plan:
        """The plan of a whole schedule."""
        return compensate(model, schedule, self.fit.images) if self.fit else make_plan(model, schedule, self.statistics)


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


def trials_identity(subject: Subject, request: SketchRequest) -> CellIdentity:
    """The identity of the whole schedules that are run."""
    most = {cell.site: max(one.ratio for one in request.cells if one.site == cell.site) for cell in request.cells}
    details = {"trials": request.trials, "ratios": json.dumps(most, sort_keys=True), **_shared(subject, request)}
    return replace(subject.identity, details=details)


def _details(subject: Subject, request: SketchRequest, place: tuple[int, str]) -> dict[str, Scalar]:
    ratios = [cell.ratio for cell in request.cells if (cell.block, cell.site) == place]
    return {"block": place[0], "site": place[1], "ratios": json.dumps(ratios), "measured": request.measured, **_shared(subject, request)}


def _shared(subject: Subject, request: SketchRequest) -> dict[str, Scalar]:
    return shared_details(request.draws, request.calibration, request.plain_settings, subject.task.details)


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
        metric="sketch", settings=request.plain_settings, draws=request.draws, measured=request.measured, trials=request.trials,
        calibration=request.calibration, cells=[[cell.block, cell.site, cell.ratio] for cell in request.cells],
    )
    kept = [*identities.values(), *([trials_identity(subject, request)] if request.trials else [])]
    analysis = announce(store, asked, f"sketch of {subject.identity.model}", kept)
    if len(store.has_many(analysis.cell_keys)) < len(kept):
        whole = request.settings.get("selection") == "per_batch"
        most = sketch_need(shape, request.draws).images_within(memory_gb, subject.batch_size, whole)
        plans = request.plans(subject.model)
        sketcher = Sketcher(subject.model, request.cells, plans, request.draws, subject.data.seed, pause)
        batches = NumberedBatches(subject.data, subject.batch_size, executor.in_order)
        work = SketchWork(sketcher, batches, ImageLimit(most, request.settings.get("selection")))
        moved, parts = _measured(work, subject, store, request, progress, executor)
        sketch = Sketch(tuple(request.cells), moved, subject.task.damage.key)
        sketch = _calibrated(sketch, subject, request, plans, most, executor, pause)
        rows = sketch.rows()
        for place, identity in identities.items():
            own = [number for number, cell in enumerate(request.cells) if (cell.block, cell.site) == place]
            run = [number for number, one in enumerate(own) if request.cells[one] in sketch.measured]
            arrays = {"moved": moved[own], "measured_rows": np.array(run, np.int64)}
            if run:
                arrays["measured"] = np.stack([sketch.measured[request.cells[own[number]]] for number in run])
            store.put(identity, {"rows": [rows[number] for number in own], "unsure": sketch.unsure}, arrays)
        if request.trials:
            store.put(trials_identity(subject, request), {"rows": [], "trials": [trial.to_dict() for trial in sketch.trials]}, {})
        store.remove(parts)
    return finish(store, analysis), read_sketch(store, analysis, subject.task.damage.key)


def read_sketch(store: EvidenceStore, analysis: Analysis, key: str) -> Sketch:
    """The sketch of a finished analysis, from its stored cells; `key` is the task's damage."""
    cells: list[Cell] = []
    moved, measured, trials, unsure = [], dict[Cell, np.ndarray](), [], None
    for cell_key in analysis.cell_keys:
        cell = store.get(cell_key)
        if "trials" in cell.summary:
            trials += [Trial.from_dict(values) for values in cell.summary["trials"]]
            continue
        own = [Cell(row["block"], row["site"], row["ratio"]) for row in cell.summary["rows"]]
        run = cell.arrays["measured_rows"].tolist()
        measured |= {own[number]: damage for number, damage in zip(run, cell.arrays.get("measured", ()), strict=True)}
        cells, unsure = cells + own, cell.summary["unsure"]
        moved.append(cell.arrays["moved"])
    return Sketch(tuple(cells), np.concatenate(moved), key, measured, tuple(trials), unsure)


@dataclass(frozen=True)
class _Paused:
    """Plans of cells, with a pause before each is made."""

    plans: Callable[[Cell], Plan]
    pause: Callable[[], object]

    def __call__(self, cell: Cell) -> Plan:
        self.pause()
        return self.plans(cell)


def _calibrated(
    sketch: Sketch, subject: Subject, request: SketchRequest, plans: Callable[[Cell], Plan], most: int | None, executor: Executor,
    pause: Callable[[], object],
) -> Sketch:
    """The sketch with cells that are run on the first images, whole batches where selection looks at them, and with whole schedules."""
    size, model, seed = subject.batch_size, subject.model, subject.data.seed
    images = -(-MEASURED_IMAGES // size) * size if request.settings.get("selection") == "per_batch" else MEASURED_IMAGES
    predicted = np.array([sketch.damage([cell]).mean() for cell in sketch.cells])
    sweep = Sweep(model, request.statistics, most, _Paused(plans, pause), selection=request.settings.get("selection"))
    chosen = telling(sketch.cells, predicted, request.measured)
    measured = run_cells(sweep, subject.data.part(0, min(images, len(subject.data))), chosen, size, executor) if chosen else {}
    schedules = trial_schedules(get_info(model).shape, request.cells, request.whole_settings, request.trials, seed)
    trials, unsure = run_schedules(model, partial(request.plan, model), schedules, subject.data, most or size, pause)
    return replace(sketch, measured=measured, trials=trials, unsure=unsure)


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
