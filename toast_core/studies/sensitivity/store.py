"""A sweep in the evidence store: a cell a grid cell, measured part by part, so that a killed one goes on where it stopped."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, cast

from analysis_cache.analysis import Analysis
from analysis_cache.key import CellIdentity, Scalar
from analysis_cache.store import EvidenceStore
from toast_core.executors.base import Executor
from toast_core.executors.local import LOCAL
from toast_core.models.info import get_info
from toast_core.pruning.statistics import Statistics
from toast_core.schedule.schedule import Schedule
from toast_core.studies.analyses import announce, finish, rows_of
from toast_core.studies.evaluation.measure import Beside, evaluate
from toast_core.studies.evaluation.store import evaluation_identity, evaluation_summary
from toast_core.studies.sensitivity.cells import Cell
from toast_core.studies.sensitivity.forecast import FORECAST, forecast_details, predicted_cells
from toast_core.studies.sensitivity.measure import Sweep
from toast_core.studies.sensitivity.memory import sweep_need
from toast_core.studies.sensitivity.parts import PartKeys, StoreParts
from toast_core.studies.sensitivity.sketches import forecast, sketch_part
from toast_core.studies.sensitivity.sweep import Judge, Rule, run_sweep
from toast_core.studies.subject import Subject, statistics_digest
from toast_core.studies.tasks.base import CellOutcomes


@dataclass(frozen=True)
class SweepRequest:
    """What a sweep is to measure.

    cells       in the order of the rows that come out
    rule        when a cell has seen enough images
    statistics  what calibrated channels are chosen from; None where none are
    settings    fields of every cell's schedule beside its ratios, such as selection and seed
    """

    cells: list[Cell]
    rule: Rule = field(default_factory=Rule)
    statistics: Statistics | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def predicted(self) -> list[Cell]:
        """Those that a prediction may decide, see `predicted_cells`."""
        return predicted_cells(self.cells, self.rule, self.settings.get("selection", Schedule.selection))


def sensitivity_identities(subject: Subject, request: SweepRequest) -> dict[Cell, CellIdentity]:
    """The identity of every cell of a sweep, without measuring anything."""
    rule, blocks, calibration = request.rule, len(get_info(subject.model).shape.blocks), statistics_digest(request.statistics)
    predicted = set(request.predicted)

    def identity(cell: Cell) -> CellIdentity:
        schedule = cell.schedule(blocks, **request.settings)
        details: dict[str, Scalar] = {
            "block": cell.block, "site": cell.site, "ratio": cell.ratio, "mode": rule.mode, "calibration": calibration,
            **subject.task.details,
        }
        if rule.mode == "adaptive":
            details |= {"width": rule.width, "tolerance": rule.tolerance}
        if cell in predicted:
            details |= forecast_details(request.cells, cell)
        return replace(subject.identity, schedule_digest=schedule.digest(), selection=schedule.selection, details=details)

    return {cell: identity(cell) for cell in request.cells}


def analyze_sensitivity(
    subject: Subject, store: EvidenceStore, request: SweepRequest, progress: Callable[[int, int], None] | None = None,
    memory_gb: float = 8.0, executor: Executor = LOCAL,
) -> tuple[Analysis, list[dict]]:
    """Return the analysis and its rows (`cells.summarize`), measuring the cells that are not stored, within `memory_gb` (1e9 bytes).

    `progress` is called after each stored part with the cell-images done and all of them, those stored already left out.
    """
    cells, rule, settings, shape = request.cells, request.rule, request.settings, get_info(subject.model).shape
    identities = sensitivity_identities(subject, request)
    baseline = evaluation_identity(subject, Schedule.uniform(len(shape.blocks)), "baseline")
    keys = PartKeys(subject.identity, statistics_digest(request.statistics), settings)
    asked = subject.request(
        metric="sensitivity", mode=rule.mode, width=rule.width, tolerance=rule.tolerance,
        settings={key: settings[key] for key in sorted(settings)}, calibration=keys.calibration,
        cells=[[cell.block, cell.site, cell.ratio] for cell in cells],
        **({"predicted": {"sites": sorted({cell.site for cell in request.predicted}), "how": FORECAST}} if request.predicted else {}),
    )
    label = f"{rule.mode} sensitivity of {subject.identity.model}"
    analysis = announce(store, asked, label, [*identities.values(), *([baseline] if rule.mode == "exact" else [])])
    sketched = sketch_part(subject, request.predicted, keys.calibration, settings)
    known = store.has_many(analysis.cell_keys)
    missing = [cell for cell in cells if identities[cell].key not in known]
    if missing:
        if rule.mode == "exact" and baseline.key not in known:
            # first, so that whoever looks on while the sweep runs can pair the parts with it
            dtype, beside = subject.identity.dtype, Beside(subject.model, subject.bank)
            outcomes = evaluate(subject.model, subject.data, subject.batch_size, dtype, executor=executor, beside=beside).outcomes
            store.put(baseline, evaluation_summary(outcomes), outcomes.stored())
        whole, value_bytes = settings.get("selection") == "per_batch", next(subject.model.parameters()).element_size()
        most_images = sweep_need(shape, value_bytes).images_within(memory_gb, subject.batch_size, whole)
        total = len(missing) * len(subject.data)
        parts = StoreParts(store, keys, subject.task, lambda done: progress and progress(min(done, total), total))

        def store_cell(row: dict, outcomes: CellOutcomes | None) -> None:
            identity = identities[Cell(row["block"], row["site"], row["ratio"])]
            if identity.key not in known:
                store.put(identity, row, outcomes.stored() if outcomes else {})

        sweep, judge, own = Sweep(subject.model, request.statistics, most_images, **settings), cast(Judge, rule), missing
        if request.predicted:
            judge = forecast(sweep, subject, store, sketched, request.predicted, rule, memory_gb, executor)
            # a site's predictions rest on all that is measured of it: where a killed sweep has some of its rows, parts hold the rest
            sites = {cell.site for cell in missing}
            asked_again = {*missing, *(cell for cell in request.predicted if cell.site in sites)}
            own = [cell for cell in cells if cell in asked_again]
        run_sweep(sweep, subject.data, own, subject.batch_size, judge, parts, store_cell, executor)
    # of every block: a run killed while it stored its cells left parts of blocks that lack nothing any more
    store.remove([*keys.of_blocks({cell.block for cell in cells}), sketched.key])
    return finish(store, analysis), rows_of(store, analysis)
