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
from toast_core.intervals import mean_interval, paired_interval, wilson_percent
from toast_core.models.info import check_baseline, get_info
from toast_core.schedule.schedule import Schedule
from toast_core.schedule.sites import SITES
from toast_core.studies.tuning.curves import measure_curves
from toast_core.studies.tuning.images import split
from toast_core.studies.tuning.judging import Judgement, judge, kl_interval
from toast_core.studies.tuning.request import TuningRequest
from toast_core.studies.tuning.store import TuningStore
from toast_core.studies.tuning.trials import Trials

EXPONENTS = {"kl": 1.0, "kl gathered": 0.5, "kl spread": 2.0}
# Candidates predicted to do more than this many times the least damage are not fitted. Measured over predicted damage varied by
# about as much between schedules of one budget on both demo models and random ones; the report's `audit` says how much it does here.
SEPARABLE = 2.5
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Tuned:
    """The schedule that won, and the report as plain JSON values; `analysis` is its id in the store, None without one."""

    schedule: Schedule
    report: dict
    analysis: str | None = None

    def __repr__(self) -> str:
        """For example `Tuned(40.1 % saved, 98.7 % (95 %: 96.2 to 99.6) of 256 held-out images answered as the baseline does)`."""
        row = next(one for one in self.report["candidates"] if one["name"] == self.report["chosen"])
        low, high = row["agreement_ci95"]
        agreed = f"{row['agreement']:.1f} % (95 %: {low:.1f} to {high:.1f}) of {row['images']} held-out images"
        return f"Tuned({100 * self.report['reduction']:.1f} % saved, {agreed} answered as the baseline does)"

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
    parts = split(calibration, request.batch_size, calibration.source.class_to_index is not None)
    with clock("curves"):
        rows = measure_curves(model, request, parts, lambda done, total: progress("curves", done, total), store, executor)
    with clock("solving"):
        curves = read_curves(rows, info.shape, request.multiple_of)
        problem = make_problem(info.shape, curves, request.budget, request.sites, request.locks, request.ranges, **request.settings)
        solutions, unmet = candidates(problem)
        close = close_ones(solutions)
    trials = Trials(model, parts, store)
    with clock("candidates"):

        def measure(name: str, look: int) -> Judgement:
            if not look:
                progress("candidates", close.index(name), len(close))
            return trials.measure(solutions[name].schedule, look)

        judged, winner, decision = judge(close, measure, trials.looks)
        progress("candidates", len(close), len(close))
    chosen = solutions[winner]
    with clock("advice"):
        advice: dict[str, Any] = {
            "shadow_price_per_million": shadow_price(problem, chosen),
            "next_best_edits": {name: [edit.to_dict() for edit in edits] for name, edits in next_edits(problem, chosen).items()},
        }
    measured = [(solutions[name].damage, float(judged[name].kl.mean())) for name in close]
    if with_front:
        with clock("front"):
            points, advice["front"] = front(problem), []
            for number, (limit, solution) in enumerate(points.items()):
                found = trials.whole(solution.schedule)
                measured.append((solution.damage, float(found.kl.mean())))
                shapes = {name: _predicted(shaped(problem.under(limit), name)) for name in SHAPES}
                row = {"limit": limit, **_described(problem, solution), **_measured(found), "predicted_kl_of_shapes": shapes}
                advice["front"].append(row)
                progress("front", number + 1, len(points))
    measured = list(dict.fromkeys(measured))
    learned, (covered, asked) = learn(*zip(*measured, strict=True)), coverage(*zip(*measured, strict=True))
    cost, whole = count_cost(info.shape, chosen.schedule), count_cost(info.shape)
    report = {
        "model": info.name,
        "weights": info.weights,
        "calibration": calibration.source.name,
        "images": parts.images,
        "seed": request.seed,
        "budget": {"unit": request.budget.unit, "limit": request.budget.limit},
        "baseline": {"macs": whole.macs, "params": whole.params},
        "achieved": {"macs": cost.macs, "params": cost.params, "left_over": request.budget.limit - chosen.cost},
        "reduction": 1 - chosen.cost / problem.whole,
        "predicted_kl": chosen.damage,
        "gap": chosen.gap,
        **advice,
        "chosen": winner,
        "decision": decision,
        "candidates": [_candidate(problem, name, solutions[name], judged) for name in solutions],
        "audit": {
            "measured_over_predicted": learned.to_dict() if learned else None, "covered": covered, "asked": asked,
            "schedules": [{"predicted_kl": one, "kl": other} for one, other in measured],
        },
        "notes": [*problem.notes, *unmet, *trials.notes.get(chosen.schedule, [])],
        "curves": rows,
        "schedule": chosen.schedule.to_dict(),
        "schedule_digest": chosen.schedule.digest(),
        "seconds": clock.seconds,
    }
    analysis = store.put_result(report, request.to_dict() | {"front": with_front}, trials.seen)
    return Tuned(chosen.schedule, report, analysis.short_id if analysis else None)


def candidates(problem: Problem) -> tuple[dict[str, Solution], list[str]]:
    """Return the solutions to compare by name, `kl` (least predicted damage) first, and what could not be made; no schedule twice."""
    found = {name: solve(problem, exponent) for name, exponent in EXPONENTS.items()}
    unmet = []
    for shape in SHAPES:
        solution = shaped(problem, shape)
        if solution is None:
            unmet.append(f"the {shape} shape cannot meet the budget within the measured ratios")
        else:
            found[shape] = solution
    schedules = [solution.schedule for solution in found.values()]
    return {name: solution for number, (name, solution) in enumerate(found.items()) if solution.schedule not in schedules[:number]}, unmet


def close_ones(solutions: dict[str, Solution]) -> list[str]:
    """The candidates that the prediction cannot tell from the first, the first included."""
    most = SEPARABLE * next(iter(solutions.values())).damage
    return [name for number, (name, solution) in enumerate(solutions.items()) if not number or solution.damage <= most]


def _described(problem: Problem, solution: Solution) -> dict:
    cost = count_cost(problem.shape, solution.schedule)
    return {"macs": cost.macs, "params": cost.params, "predicted_kl": solution.damage, "schedule": solution.schedule.to_dict()}


def _predicted(solution: Solution | None) -> float | None:
    return None if solution is None else solution.damage


def _measured(judged: Judgement) -> dict:
    agreed, images = int(judged.agrees.sum()), len(judged.agrees)
    return {
        "images": images,
        "kl": float(judged.kl.mean()),
        "kl_ci95": list(mean_interval(judged.kl.astype(np.float64))),
        "agreement": 100 * agreed / images,
        "agreement_ci95": list(wilson_percent(agreed, images)),
    }


def _candidate(problem: Problem, name: str, solution: Solution, judged: dict[str, Judgement]) -> dict:
    """One candidate's row: what was predicted, and what was measured with the paired difference to the first (95 %), if it was."""
    row = {"name": name, **_described(problem, solution)}
    if name not in judged:
        return {**row, "images": 0}
    own = judged[name]
    first = next(iter(judged.values())).first(len(own.kl))
    deltas = {"agreement_delta_ci95": list(paired_interval(first.agrees, own.agrees)), "kl_delta_ci95": list(kl_interval(own, first))}
    return {**row, **_measured(own), **deltas}


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
