"""The multiple-choice knapsack over measured curves, its price of a tighter budget, and the best single changes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import reduce
from math import gcd
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from toast_core.budget.problem import Group, Option, Problem
from toast_core.errors import ScheduleError
from toast_core.schedule.schedule import Schedule

RELATIVE_GAP = 1e-3  # less than the curves are known to
MOST_NODES = 20_000  # a limit that gives the same answer on any machine, as a time limit would not
PRICE_STEP = 0.02  # of the baseline's cost: wide enough to see past single options
EDIT_STEP = 0.05  # of a site's channels: a change that a person would make


@dataclass(frozen=True)
class Solution:
    """One option a group: the sum of its damages (nats) as predicted, its cost, and how far from the best it can be at most.

    gap is relative to the damage that was minimised; 0 means proven.
    """

    chosen: tuple[Option, ...]
    schedule: Schedule
    damage: float
    cost: int
    gap: float


def solve(problem: Problem, exponent: float = 1.0) -> Solution:
    """Return the options of least summed damage ** exponent whose cost is within the budget.

    An exponent above 1 spreads damage over many sites, one below 1 gathers it in few: ways in which damages may interact.

    Raises:
        ScheduleError: the budget cannot be met.
    """
    problem.check_feasible()
    options = [option for group in problem.groups for option in group.options]
    saved = np.array([problem.saved(option) for option in options], dtype=np.int64)
    damages = np.array([option.damage for option in options]) ** exponent
    scale = 1e3 / max(damages.max(), 1e-300)
    unit = reduce(gcd, saved.tolist()) or 1  # costs share a large factor: without it they strain the solver's tolerance
    owner = np.repeat(np.arange(len(problem.groups)), [len(group.options) for group in problem.groups])
    one_each = LinearConstraint(csr_array((np.ones(len(options)), (owner, np.arange(len(options))))), 1, 1)
    needed = problem.whole - problem.budget.limit
    while True:
        enough = LinearConstraint((saved / unit).reshape(1, -1), needed / unit, np.inf)
        with _prints_on_stderr():
            result = milp(
                damages * scale, integrality=np.ones(len(options)), bounds=Bounds(0, 1), constraints=[one_each, enough],
                options={"mip_rel_gap": RELATIVE_GAP, "node_limit": MOST_NODES},
            )
        if result.x is None:
            raise ScheduleError(f"the solver found no schedule ({result.message}); give a slightly larger budget")
        picked = _picked(result.x, owner, len(problem.groups))
        chosen = tuple(options[index] for index in picked)
        excess = problem.cost(chosen) - problem.budget.limit
        if excess <= 0:
            reached, bound = float(damages[picked].sum() * scale), float(result.mip_dual_bound or 0.0)
            gap = max(0.0, reached - bound) / reached if reached > 0 else 0.0
            return Solution(chosen, problem.schedule(chosen), sum(option.damage for option in chosen), problem.cost(chosen), gap)
        needed += excess  # the solver's tolerance let it pass; exact arithmetic does not


@contextmanager
def _prints_on_stderr() -> Iterator[None]:
    """HiGHS (in scipy 1.17) now and then prints a debugging line on the process's stdout, where `--json` promises one document."""
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _picked(x: np.ndarray, owner: np.ndarray, groups: int) -> list[int]:
    starts = np.searchsorted(owner, np.arange(groups))
    return [int(start + part.argmax()) for start, part in zip(starts, np.split(x, starts[1:]), strict=True)]


def shadow_price(problem: Problem, solution: Solution) -> float | None:
    """Damage (nats) that each million MACs or parameters less would add, from solving for a tighter budget.

    None where no tighter budget can be met.
    """
    limit = solution.cost - round(PRICE_STEP * problem.whole)
    if limit < problem.least:
        return None
    tighter = solve(problem.under(limit))
    return (tighter.damage - solution.damage) / ((solution.cost - tighter.cost) / 1e6)


@dataclass(frozen=True)
class Edit:
    """One site's change: its ratio before and after, the damage it adds (nats), and what it saves in the budget's unit."""

    block: int
    site: str
    before: float
    after: float
    damage: float
    saved: int

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, with the damage for each million saved."""
        return {**asdict(self), "damage_per_million": self.damage / (self.saved / 1e6)}


def next_edits(problem: Problem, solution: Solution, count: int = 5) -> dict[str, list[Edit]]:
    """Return the best single changes of about `EDIT_STEP`: `drop` saves most for its damage, `restore` mends most for its cost."""
    found: dict[str, list[Edit]] = {"drop": [], "restore": []}
    for group, now in zip(problem.groups, solution.chosen, strict=True):
        for position in range(len(group.sites)):
            for name, step in (("drop", EDIT_STEP), ("restore", -EDIT_STEP)):
                edit = _nearest_edit(problem, group, now, position, step)
                if edit is not None and edit.saved * step > 0:
                    found[name].append(edit)
    return {
        "drop": sorted(found["drop"], key=lambda edit: edit.damage / edit.saved)[:count],
        "restore": sorted(found["restore"], key=lambda edit: edit.damage / edit.saved, reverse=True)[:count],
    }


def _nearest_edit(problem: Problem, group: Group, now: Option, position: int, step: float) -> Edit | None:
    """The change of one site in the direction of `step` that comes nearest to it, the group's other site as it is."""
    before = now.ratios[position]
    rest = [ratio for place, ratio in enumerate(now.ratios) if place != position]
    moved = [
        option
        for option in group.options
        if (option.ratios[position] - before) * step > 0 and [r for place, r in enumerate(option.ratios) if place != position] == rest
    ]
    if not moved:
        return None
    near = min(moved, key=lambda option: abs(option.ratios[position] - before - step))
    saved = problem.saved(near) - problem.saved(now)
    return Edit(group.block, group.sites[position], before, near.ratios[position], near.damage - now.damage, saved)
