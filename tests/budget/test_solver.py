"""The knapsack against brute force, its price against re-solving, and its edits against every single change."""

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.problems import thinned, tiny_problem, tiny_shape
from toast_core.budget.front import SHAPES, front, shaped
from toast_core.budget.problem import Problem
from toast_core.budget.solver import PRICE_STEP, RELATIVE_GAP, next_edits, shadow_price, solve
from toast_core.cost.macs import count_cost
from toast_core.errors import ScheduleError
from toast_core.schedule.compensation import FULL
from toast_core.schedule.schedule import Schedule


def best_by_force(problem: Problem, exponent: float = 1.0) -> float:
    """The least summed damage ** exponent of all choices within the budget."""
    choices = product(*(group.options for group in problem.groups))
    return min(sum(option.damage**exponent for option in chosen) for chosen in choices if problem.cost(chosen) <= problem.budget.limit)


@settings(max_examples=40)
@given(st.floats(0.3, 0.95), st.integers(0, 10_000), st.sampled_from(["macs", "params"]), st.sampled_from([0.5, 1.0, 2.0]))
def test_no_choice_beats_the_solution(share: float, seed: int, unit: str, exponent: float) -> None:
    problem = thinned(tiny_problem(0.95, seed, unit, shape=tiny_shape(2)), 4)
    problem = problem.under(max(problem.least, int(share * problem.whole)))
    solution = solve(problem, exponent)
    assert solution.cost <= problem.budget.limit
    assert sum(option.damage**exponent for option in solution.chosen) <= best_by_force(problem, exponent) * (1 + RELATIVE_GAP) + 1e-9
    assert 0 <= solution.gap <= RELATIVE_GAP


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_fc1_and_fc2_are_chosen_together(seed: int) -> None:
    problem = thinned(tiny_problem(0.6, seed, sites=("qk", "fc1", "fc2"), shape=tiny_shape(2)), 6)
    problem = problem.under(max(problem.least, problem.budget.limit))
    solution = solve(problem)
    assert solution.damage <= best_by_force(problem) * (1 + RELATIVE_GAP) + 1e-9
    assert solution.cost == count_cost(problem.shape, solution.schedule).macs


def test_the_schedule_says_what_was_chosen() -> None:
    problem = tiny_problem(0.5, multiple_of=2, seed=3, compensation=FULL)
    solution = solve(problem)
    schedule = solution.schedule
    assert (schedule.selection, schedule.multiple_of, schedule.compensation) == ("calibrated", 2, FULL)
    assert count_cost(problem.shape, schedule).macs == solution.cost <= problem.budget.limit
    assert Schedule.from_json(schedule.to_json()) == schedule
    assert solution.damage == pytest.approx(sum(option.damage for option in solution.chosen))


def test_a_tighter_budget_never_does_less_damage() -> None:
    damages = [solve(tiny_problem(share)).damage for share in (0.95, 0.8, 0.6, 0.4)]
    assert damages == sorted(damages)


def test_an_exponent_spreads_or_gathers() -> None:
    problem = tiny_problem(0.5, seed=5, shape=tiny_shape(4, 8, 32))
    largest = {exponent: max(option.damage for option in solve(problem, exponent).chosen) for exponent in (0.5, 1.0, 2.0)}
    assert largest[2.0] <= largest[1.0] <= largest[0.5]
    assert largest[2.0] < largest[0.5]


def test_the_solver_says_nothing_on_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    solve(tiny_problem(0.5))
    assert capfd.readouterr().out == ""


def test_an_infeasible_budget_is_refused_by_the_solver_too() -> None:
    problem = tiny_problem(0.9)
    with pytest.raises(ScheduleError, match="the least that locks, ranges and measured ratios allow"):
        solve(problem.under(problem.least - 1))


class TestPrice:
    def test_it_is_what_a_tighter_budget_costs(self) -> None:
        problem = tiny_problem(0.6, shape=tiny_shape(4, 8, 32))
        solution = solve(problem)
        tighter = solve(problem.under(solution.cost - round(PRICE_STEP * problem.whole)))
        assert shadow_price(problem, solution) == pytest.approx((tighter.damage - solution.damage) / (solution.cost - tighter.cost) * 1e6)
        assert shadow_price(problem, solution) > 0

    def test_at_the_least_there_is_none(self) -> None:
        problem = tiny_problem(0.9)
        problem = problem.under(problem.least)
        assert shadow_price(problem, solve(problem)) is None


class TestEdits:
    def test_they_are_single_changes_with_the_best_rates(self) -> None:
        problem = tiny_problem(0.6, shape=tiny_shape(3, 20, 40))
        solution = solve(problem)
        edits = next_edits(problem, solution, count=4)
        assert [len(edits[name]) for name in ("drop", "restore")] == [4, 4]
        for edit in (*edits["drop"], *edits["restore"]):
            changed = solution.schedule.with_ratio(edit.block, edit.site, edit.after)
            assert getattr(solution.schedule.blocks[edit.block], edit.site) == edit.before
            assert solution.cost - count_cost(problem.shape, changed).macs == edit.saved
            assert edit.to_dict()["damage_per_million"] == pytest.approx(edit.damage / edit.saved * 1e6)
        assert all(edit.saved > 0 and edit.damage >= 0 and edit.after > edit.before for edit in edits["drop"])
        assert all(edit.saved < 0 and edit.damage <= 0 and edit.after < edit.before for edit in edits["restore"])
        rates = [edit.damage / edit.saved for edit in edits["drop"]]
        assert rates == sorted(rates)
        mends = [edit.damage / edit.saved for edit in edits["restore"]]
        assert mends == sorted(mends, reverse=True)

    def test_a_locked_site_has_no_edit(self) -> None:
        problem = tiny_problem(0.6, locks={(0, "fc2"): 0.5})
        edits = next_edits(problem, solve(problem), count=99)
        assert (0, "fc2") not in {(edit.block, edit.site) for edit in (*edits["drop"], *edits["restore"])}


class TestShapes:
    @pytest.mark.parametrize("shape", SHAPES)
    def test_each_meets_the_budget_closely(self, shape: str) -> None:
        problem = tiny_problem(0.8, shape=tiny_shape(6, 32, 96))
        found = shaped(problem, shape)
        assert 0.97 * problem.budget.limit <= found.cost <= problem.budget.limit
        assert found.cost == count_cost(problem.shape, found.schedule).macs
        assert found.damage >= solve(problem).damage * (1 - RELATIVE_GAP) - 1e-12

    def test_they_have_their_shapes(self) -> None:
        problem = tiny_problem(0.8, shape=tiny_shape(6, 32, 96))
        uniform, linear, step = (shaped(problem, name).schedule for name in ("uniform", "linear", "step"))
        assert max(uniform.ratios("fc2")) - min(uniform.ratios("fc2")) < 0.02
        assert list(linear.ratios("fc2")) == sorted(linear.ratios("fc2"))
        assert linear.blocks[-1].fc2 > linear.blocks[0].fc2
        assert step.blocks[0].is_baseline
        assert step.ratios("fc2")[:3] == (0, 0, 0)
        assert min(step.ratios("fc2")[3:]) > 0

    def test_what_cannot_reach_the_budget_is_none(self) -> None:
        problem = tiny_problem(0.9)
        assert shaped(problem.under(problem.least), "step") is None
        assert shaped(problem.under(problem.least), "uniform").cost == problem.least


def test_the_front_falls_in_cost_and_rises_in_damage() -> None:
    problem = tiny_problem(0.9)
    found = list(front(problem).values())
    assert len(found) > 5
    costs, damages = [point.cost for point in found], [point.damage for point in found]
    assert costs == sorted(costs, reverse=True)
    assert damages == sorted(damages)
    assert all(point.cost >= problem.least for point in found)
    assert next(iter(front(replace(problem, budget=replace(problem.budget, limit=problem.least))).values())).cost == costs[0]
