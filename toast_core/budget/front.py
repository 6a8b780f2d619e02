"""Other answers to the same problem: the front over many budgets, and the shapes that hand-made schedules have."""

import math
from collections.abc import Callable

from toast_core.budget.problem import Option, Problem
from toast_core.budget.solver import Solution, solve
from toast_core.schedule.sites import HEAD_SITES

STEPS = tuple(round(0.1 * step, 1) for step in range(1, 10))


def front(problem: Problem) -> dict[int, Solution]:
    """Return the least predicted damage at budgets of 90 %, 80 %, ... of the baseline's cost, by budget, as far as they can be met."""
    limits = (int(problem.whole * (1 - step)) for step in STEPS)
    return {limit: solve(problem.under(limit)) for limit in limits if limit >= problem.least}


def _step(site: str, depth: float, block: int) -> float:
    """The published shape: attention alike in every block but the first, feed-forward channels in the deep half."""
    return float(block > 0 if site in HEAD_SITES else depth >= 0.5)


# how much of a schedule's largest ratio a block takes, from its depth in [0, 1]
SHAPES: dict[str, Callable[[str, float, int], float]] = {
    "uniform": lambda site, depth, block: 1.0,
    "linear": lambda site, depth, block: max(depth, 0.05),
    "sigmoid": lambda site, depth, block: 1 / (1 + math.exp(-10 * (depth - 0.5))),
    "step": _step,
}


def shaped(problem: Problem, shape: str) -> Solution | None:
    """Return the schedule of one of SHAPES with the smallest ratios that meet the budget; None where even its largest do not.

    Every site takes the option nearest to its share; locks and ranges hold.
    """
    last = max(1, len(problem.shape.blocks) - 1)

    def at(factor: float) -> tuple[Option, ...]:
        chosen = []
        for group in problem.groups:
            wanted = [factor * SHAPES[shape](site, group.block / last, group.block) for site in group.sites]
            distances = [
                sum(abs(ratio - want) for ratio, want in zip(option.ratios, wanted, strict=True)) for option in group.options
            ]
            chosen.append(group.options[distances.index(min(distances))])
        return tuple(chosen)

    low, high = 0.0, 1.0
    while problem.cost(at(high)) > problem.budget.limit:
        low, high = high, 2 * high
        if high > 1024:  # every share above a thousandth is at its limit
            return None
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if problem.cost(at(middle)) <= problem.budget.limit else (middle, high)
    chosen = at(high)
    return Solution(chosen, problem.schedule(chosen), sum(option.damage for option in chosen), problem.cost(chosen), 0.0)
