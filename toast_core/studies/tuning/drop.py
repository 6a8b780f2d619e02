"""The cheapest schedule of which no more than so many answers change: budgets are tried, and each answer judged on held-out images."""

from collections.abc import Callable
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import numpy as np
from torch import nn

from toast_core.budget.curves import read_curves
from toast_core.budget.options import make_problem
from toast_core.budget.problem import Budget
from toast_core.budget.solver import solve
from toast_core.cost.macs import count_cost
from toast_core.data.load import ImageData
from toast_core.errors import DataError, ScheduleError
from toast_core.executors.base import Executor
from toast_core.executors.local import LOCAL
from toast_core.intervals import wilson_percent
from toast_core.models.info import get_info
from toast_core.studies.evaluation.measure import outputs_of
from toast_core.studies.sketch.prediction import Predictor, predicted_change
from toast_core.studies.sketch.trials import answer_margins
from toast_core.studies.tasks.registry import task_of
from toast_core.studies.tuning.curves import sketch_curves
from toast_core.studies.tuning.images import SHARES, CalibrationParts, split
from toast_core.studies.tuning.measure import Progress, Tuned, tune
from toast_core.studies.tuning.request import TuningRequest
from toast_core.studies.tuning.store import TuningStore

LOOKS = 4  # budgets that are tried; the bounds of all of them hold together
_STEP = 1.2  # from one budget to the next
_REDUCTIONS = np.arange(0.05, 0.96, 0.05)


def tune_within_drop(
    model: nn.Module,
    calibration: ImageData,
    request: TuningRequest,
    most: float,
    progress: Progress = lambda what, done, total: None,
    store: TuningStore = TuningStore(),  # noqa: B008 - frozen, and empty
    executor: Executor = LOCAL,
) -> Tuned:
    """Return the tuned schedule of fewest MACs of which at most `most` percent of the answers can be shown to change.

    An image whose answer stays loses nothing, so that accuracy falls by no more than that many points, whatever the labels are. A first
    budget is chosen where half of `most` is predicted; from there budgets are raised or lowered until LOOKS are tried. Each is tuned, and
    the share of held-out images whose answer changes gets an upper bound; together the bounds hold with 95 %.

    Args:
        request: its budget is not looked at.
        most: in points, above 0.

    Raises:
        ScheduleError: no schedule that was tried stays within it, or the held-out images are too few to show it.
        DataError: too few images, or a model without answers.
    """
    model, parts = model.eval(), split(calibration, request.batch_size)
    _check_images(len(parts.judge), most)
    whole, looks, best = count_cost(get_info(model).shape).macs, [], None
    reduction, least = _first_reduction(model, request, parts, most, progress, store, executor)
    for _ in range(LOOKS):
        limit = max(least, int(whole * (1 - reduction)))
        tuned = tune(model, calibration, replace(request, budget=Budget("macs", limit)), progress=progress, store=store, executor=executor)
        row = next(one for one in tuned.report["candidates"] if one["name"] == tuned.report["chosen"])
        bound = changed_bound(round(row["agreement"] * row["images"] / 100), row["images"])
        looks.append({"reduction": tuned.report["reduction"], "changed": 100 - row["agreement"], "at_most": bound})
        if bound <= most and (best is None or tuned.report["reduction"] > best.report["reduction"]):
            best = tuned
        tried = [(look["reduction"], look["at_most"] <= most) for look in looks]
        reduction = _next_reduction(reduction, tried)
    if best is None:
        nearest = min(looks, key=lambda look: look["reduction"])
        raise ScheduleError(
            f"with {100 * nearest['reduction']:.3g} % saved up to {nearest['at_most']:.2f} % of the answers may change, more than "
            f"{most:g}; allow more, or give more than {len(calibration)} calibration images"
        )
    return replace(best, report=best.report | {"max_drop": {"asked": most, "looks": looks}})


def changed_bound(kept: int, images: int) -> float:
    """Upper bound in percent of the answers that change, where so many of the images keep theirs; those of LOOKS hold together (95 %)."""
    return 100 - wilson_percent(kept, images, _z())[0]


def _z() -> float:
    return NormalDist().inv_cdf(1 - 0.05 / LOOKS)


def _check_images(judged: int, most: float) -> None:
    if not 0 < most < 100:
        raise ScheduleError(f"a drop of {most:g} points is no goal; allow more than 0 and less than 100")
    if changed_bound(judged, judged) > most:
        needed = next(count for count in range(judged, 10**7) if changed_bound(count, count) <= most / 2)
        images = -(-needed * sum(SHARES) // SHARES[2])
        raise ScheduleError(
            f"{judged} held-out images cannot show that fewer than {changed_bound(judged, judged):.2f} % of the answers change; allow more "
            f"than {most:g} points, or give about {images} calibration images"
        )


def _first_reduction(
    model: nn.Module, request: TuningRequest, parts: CalibrationParts, most: float, progress: Progress, store: TuningStore,
    executor: Executor,
) -> tuple[float, int]:
    """The largest fraction of MACs saved at which half of what is allowed is predicted to change, and the fewest MACs that can be."""
    shape = get_info(model).shape
    task = task_of(shape)
    batches = parts.judged()
    outputs = outputs_of(model, batches)
    if task.cell(outputs[0], outputs[0], task.labels(outputs[0])).kept() is None:
        raise DataError("a drop is told in answers that change, and the model has none; give a budget instead")
    margin = np.concatenate([answer_margins(output, task) for output in outputs])
    report: Callable[[int, int], None] = lambda done, total: progress("curves", done, total)  # noqa: E731
    sketch = sketch_curves(model, request, parts, report, store, executor)
    predictor, curves = Predictor(shape, sketch, not request.compensation.is_none), read_curves(sketch.rows(), shape, damage=sketch.key)
    settings: dict[str, Any] = request.settings
    whole = count_cost(shape).macs
    problem = make_problem(shape, curves, Budget("macs", whole), request.sites, request.locks, request.ranges, **settings)
    found = float(_REDUCTIONS[0])
    for reduction in map(float, _REDUCTIONS):
        if whole * (1 - reduction) < problem.least:
            break
        damage = predictor.damage(solve(problem.under(int(whole * (1 - reduction)))).schedule, margin).damage
        change = predicted_change(damage, margin) if damage else None
        if change is None or change.value < -most / 2:
            break
        found = reduction
    return found, problem.least


def _next_reduction(last: float, tried: list[tuple[float, bool]]) -> float:
    """Between the largest that stays within the drop and the smallest that does not; a step beyond where only one of them is known."""
    within, beyond = [one for one, fits in tried if fits], [one for one, fits in tried if not fits]
    if within and beyond:
        return (max(within) + min(beyond)) / 2
    return min(0.95, last * _STEP) if within else last / _STEP
