"""Automatic schedules: measure compensated single-site curves, solve for the budget, let held-out images choose among candidates.

Three disjoint parts of the calibration images are used: `fit` for the closed-form fits, `curves` for the damage of cells, `judge` for
the candidates. Labels choose nothing; where the images have the model's classes, curves carry top-1 as well.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from toast_core.budget.audit import coverage, learn
from toast_core.budget.curves import read_curves
from toast_core.budget.front import SHAPES, front, shaped
from toast_core.budget.options import make_problem
from toast_core.budget.problem import Problem
from toast_core.budget.solver import Solution, next_edits, shadow_price, solve
from toast_core.cost.macs import count_cost
from toast_core.data.load import ImageData
from toast_core.executors.base import Executor
from toast_core.executors.local import LOCAL
from toast_core.intervals import mean_interval, wilson_percent
from toast_core.models.info import check_baseline, get_info
from toast_core.schedule.schedule import Schedule
from toast_core.schedule.sites import SITES
from toast_core.studies.sketch.prediction import Predictor
from toast_core.studies.tasks.base import Task
from toast_core.studies.tasks.registry import task_in, task_of
from toast_core.studies.tuning.curves import sketch_curves
from toast_core.studies.tuning.images import split
from toast_core.studies.tuning.judging import Judgement, agreement_interval, damage_interval, judge
from toast_core.studies.tuning.request import TuningRequest
from toast_core.studies.tuning.store import TuningStore
from toast_core.studies.tuning.trials import Trials

EXPONENTS = {"": 1.0, " gathered": 0.5, " spread": 2.0}  # of variants, whose names go on from that of the damage
# Candidates predicted to do more than this many times the least damage are not fitted: measured over predicted damage has a standard
# deviation of about a quarter between schedules, and a candidate must be clearly better to win. The report's `audit` says how much it is.
SEPARABLE = 1.25
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Tuned:
    """The schedule that won, and the report as plain JSON values; `analysis` is its id in the store, None without one."""

    schedule: Schedule
    report: dict
    analysis: str | None = None

    def __repr__(self) -> str:
        """For example `Tuned(40.1 % saved, 98.7 % (95 %: 96.2 to 99.6 %) of held-out images keep the baseline's answer)`."""
        row = next(one for one in self.report["candidates"] if one["name"] == self.report["chosen"])
        return f"Tuned({100 * self.report['reduction']:.1f} % saved, {task_in(self.report).judged(row)})"

    def _repr_html_(self) -> str:
        """For a notebook: the line of `repr`, and the ratios dropped at every site of every block."""
        heads = "".join(f"<th>{index}</th>" for index in range(len(self.schedule.blocks)))
        rows = "".join(
            f"<tr><th>{site}</th>{''.join(f'<td>{ratio:.2f}</td>' for ratio in self.schedule.ratios(site))}</tr>" for site in SITES
        )
        return f"<p>{self!r}</p><table><tr><th></th>{heads}</tr>{rows}</table>"


def tune(
    model: nn.Module,
    calibration: ImageData,
    request: TuningRequest,
    with_front: bool = False,
    progress: Progress = lambda what, done, total: None,
    store: TuningStore = TuningStore(),  # noqa: B008 - frozen, and empty
    executor: Executor = LOCAL,
) -> Tuned:
    """Return the schedule that meets the budget with the least damage on calibration images.

    Args:
        with_front: adds the schedules of many budgets to the report, each measured on the judge images.
        progress: is told what is done ("curves", "candidates", "front"), how much of it, and of how much.
        store: what was measured before on these images, and where what is new goes.
        executor: measures the curves; candidates are fitted and judged in this process.

    Raises:
        PlanError: the model is already pruned.
        DataError: too few images.
        ScheduleError: sites, ratios, locks, ranges or budget that cannot be.
    """
    info = get_info(model)
    check_baseline(info, "tune the baseline model")
    model = model.eval()
    clock = _Clock()
    task = task_of(info.shape)
    key = task.damage.key
    parts = split(calibration, request.batch_size)
    with clock("curves"):
        sketch = sketch_curves(model, request, parts, lambda done, total: progress("curves", done, total), store, executor)
    rows, predictor = sketch.rows(), Predictor(info.shape, sketch, not request.compensation.is_none)
    with clock("solving"):
        curves = read_curves(rows, info.shape, damage=key)
        problem = make_problem(info.shape, curves, request.budget, request.sites, request.locks, request.ranges, **request.settings)
        solutions, unmet = candidates(problem, key)
        foreseen = {name: predicted(predictor, solution) for name, solution in solutions.items()}
        solutions = {name: solutions[name] for name in sorted(solutions, key=foreseen.__getitem__)}
        close = close_ones(solutions, foreseen)
    trials = Trials(model, parts, store)
    with clock("candidates"):

        def measure(name: str, look: int) -> Judgement:
            if not look:
                progress("candidates", close.index(name), len(close))
            return trials.measure(solutions[name].schedule, look)

        judged, winner, decision = judge(close, measure, trials.looks, task.damage.label)
        progress("candidates", len(close), len(close))
    chosen = solutions[winner]
    with clock("advice"):
        advice: dict[str, Any] = {
            "shadow_price_per_million": shadow_price(problem, chosen),
            "next_best_edits": {name: [edit.to_dict() for edit in edits] for name, edits in next_edits(problem, chosen).items()},
        }
    measured = [(foreseen[name], float(judged[name].damage.mean())) for name in close]
    if with_front:
        with clock("front"):
            points, advice["front"] = front(problem), []
            for number, (limit, solution) in enumerate(points.items()):
                found = trials.whole(solution.schedule)
                measured.append((predicted(predictor, solution), float(found.damage.mean())))
                shapes = {name: _predicted(predictor, shaped(problem.under(limit), name)) for name in SHAPES}
                row = {"limit": limit, **_described(problem, solution, measured[-1][0], task), **_measured(found, task)}
                advice["front"].append(row | {f"predicted_{key}_of_shapes": shapes})
                progress("front", number + 1, len(points))
    measured = list(dict.fromkeys(measured))
    learned, (covered, asked) = learn(*zip(*measured, strict=True)), coverage(*zip(*measured, strict=True))
    cost, whole = count_cost(info.shape, chosen.schedule), count_cost(info.shape)
    report = {
        "model": info.name,
        **task.details,
        "weights": info.weights,
        "calibration": calibration.source.name,
        "images": parts.images,
        "seed": request.seed,
        "budget": {"unit": request.budget.unit, "limit": request.budget.limit},
        "baseline": {"macs": whole.macs, "params": whole.params},
        "achieved": {"macs": cost.macs, "params": cost.params, "left_over": request.budget.limit - chosen.cost},
        "reduction": 1 - chosen.cost / problem.whole,
        f"predicted_{key}": foreseen[winner],
        "gap": chosen.gap,
        **advice,
        "chosen": winner,
        "decision": decision,
        "candidates": [_candidate(problem, name, solutions[name], foreseen[name], judged, task) for name in solutions],
        "audit": {
            "measured_over_predicted": learned.to_dict() if learned else None, "covered": covered, "asked": asked,
            "schedules": [{f"predicted_{key}": one, key: other} for one, other in measured],
        },
        "notes": [*problem.notes, *unmet, *trials.notes.get(chosen.schedule, [])],
        "curves": rows,
        "schedule": chosen.schedule.to_dict(),
        "schedule_digest": chosen.schedule.digest(),
        "seconds": clock.seconds,
    }
    analysis = store.put_result(report, request.to_dict() | {"front": with_front}, trials.seen)
    return Tuned(chosen.schedule, report, analysis.short_id if analysis else None)


def candidates(problem: Problem, damage: str = "kl") -> tuple[dict[str, Solution], list[str]]:
    """Return the solutions to compare by name, and what could not be made; no schedule twice.

    The first has the least sum of its cells' damages, and its name is that of the damage.
    """
    found = {f"{damage}{variant}": solve(problem, exponent) for variant, exponent in EXPONENTS.items()}
    unmet = []
    for shape in SHAPES:
        solution = shaped(problem, shape)
        if solution is None:
            unmet.append(f"the {shape} shape cannot meet the budget within the measured ratios")
        else:
            found[shape] = solution
    schedules = [solution.schedule for solution in found.values()]
    return {name: solution for number, (name, solution) in enumerate(found.items()) if solution.schedule not in schedules[:number]}, unmet


def predicted(predictor: Predictor, solution: Solution) -> float:
    """The damage that the sketch predicts of the schedule as a whole; the sum of its cells' where a lock lies beyond what is sketched."""
    found = predictor.damage(solution.schedule).damage
    return solution.damage if found is None else found.value


def close_ones(solutions: dict[str, Solution], foreseen: dict[str, float]) -> list[str]:
    """The candidates that the prediction cannot tell from the first, which has the least predicted damage, the first included."""
    most = SEPARABLE * foreseen[next(iter(solutions))]
    return [name for number, name in enumerate(solutions) if not number or foreseen[name] <= most]


def _described(problem: Problem, solution: Solution, foreseen: float, task: Task) -> dict:
    cost = count_cost(problem.shape, solution.schedule)
    return {"macs": cost.macs, "params": cost.params, f"predicted_{task.damage.key}": foreseen, "schedule": solution.schedule.to_dict()}


def _predicted(predictor: Predictor, solution: Solution | None) -> float | None:
    return None if solution is None else predicted(predictor, solution)


def _measured(judged: Judgement, task: Task) -> dict:
    images, key = len(judged.damage), task.damage.key
    found = {
        "images": images,
        key: float(judged.damage.mean()),
        f"{key}_ci95": list(mean_interval(judged.damage.astype(np.float64))),
    }
    if judged.agrees is not None:
        agreed = int(judged.agrees.sum())
        found |= {"agreement": 100 * agreed / images, "agreement_ci95": list(wilson_percent(agreed, images))}
    return found


def _candidate(problem: Problem, name: str, solution: Solution, foreseen: float, judged: dict[str, Judgement], task: Task) -> dict:
    """One candidate's row: what was predicted, and what was measured with the paired difference to the first (95 %), if it was."""
    row = {"name": name, **_described(problem, solution, foreseen, task)}
    if name not in judged:
        return {**row, "images": 0}
    own = judged[name]
    first = next(iter(judged.values())).first(len(own.damage))
    kept = agreement_interval(own, first)
    deltas = {} if kept is None else {"agreement_delta_ci95": list(kept)}
    return {**row, **_measured(own, task), **deltas, f"{task.damage.key}_delta_ci95": list(damage_interval(own, first))}


class _Clock:
    """Wall and process CPU seconds of each part."""

    def __init__(self) -> None:
        self.seconds: dict[str, dict[str, float]] = {}

    def __call__(self, what: str) -> "_Clock":
        self.what = what
        return self

    def __enter__(self) -> None:
        self.started = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        wall, cpu = (now - then for now, then in zip((time.perf_counter(), time.process_time()), self.started, strict=True))
        self.seconds[self.what] = {"wall": round(wall, 3), "cpu": round(cpu, 3)}
