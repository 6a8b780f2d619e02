"""Budgets, locks and ranges: what is asked is what is solved, costs are exact, and what cannot be is said in one line."""

import re
from itertools import product

import pytest

from tests.support.problems import SITES, made_up_rows, thinned, tiny_problem, tiny_shape, tiny_table
from toast_core.budget.curves import read_curves
from toast_core.budget.options import MOST_OPTIONS, MOST_PAIRED, make_problem
from toast_core.budget.problem import Budget
from toast_core.budget.solver import solve
from toast_core.budget.words import read_budget, read_locks, read_ranges
from toast_core.cost.macs import count_cost
from toast_core.errors import ScheduleError


class TestBudget:
    def test_each_way_to_give_it(self) -> None:
        shape = tiny_shape()
        whole = count_cost(shape)
        assert read_budget(shape, reduction=0.25) == Budget("macs", int(whole.macs * 0.75))
        assert read_budget(shape, gmacs=4e-6) == Budget("macs", 4000)
        assert read_budget(shape, params=900.0) == Budget("params", 900)

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({}, "no budget is given; give one of --reduction, --gmacs, --params, --latency-ms"),
            ({"reduction": 0.4, "gmacs": 1.0}, "the budgets --reduction and --gmacs are given together; give one of --reduction"),
            ({"reduction": 0.0}, "reduction 0 asks for nothing; write the fraction of MACs to save, for example 0.4"),
            ({"reduction": 40.0}, "reduction is 40, not below 1; ratios are fractions dropped, in [0, 1): write 0.4 for 40 %"),
            ({"gmacs": 5.0}, "a budget of 5 GMACs is not between 0 and the baseline's"),
            ({"gmacs": 0.0}, "a budget of 0 GMACs is not between 0 and the baseline's"),
            ({"params": -3.0}, "a budget of -3e-06 M parameters is not between 0 and the baseline's"),
            ({"gmacs": float("nan")}, "a budget of nan is no number; --gmacs takes one below what the baseline needs"),
            ({"latency_ms": 5.0}, "a latency of 5 ms needs a latency table; measure one with toast bench --table"),
            ({"latency_ms": float("inf")}, "a budget of inf is no number; --latency-ms takes one below what the baseline needs"),
        ],
    )
    def test_what_is_no_budget_is_refused(self, given: dict, message: str) -> None:
        with pytest.raises(ScheduleError, match=re.escape(message)):
            read_budget(tiny_shape(), **given)


class TestLocksAndRanges:
    def test_they_are_read(self) -> None:
        assert read_locks(("3.fc2=0.5", "0.qk=0", "3.fc2=0.5")) == {(3, "fc2"): 0.5, (0, "qk"): 0.0}
        assert read_ranges(("1.vo=0.2:0.6",)) == {(1, "vo"): (0.2, 0.6)}

    @pytest.mark.parametrize(
        ("texts", "message"),
        [
            (("fc2=0.5",), "'fc2=0.5' is not BLOCK.SITE=RATIO with a site of qk, vo, fc1, fc2; write for example 3.fc2=0.5"),
            (("-1.fc2=0.5",), "'-1.fc2=0.5' is not BLOCK.SITE=RATIO"),
            (("1.fc3=0.5",), "'1.fc3=0.5' is not BLOCK.SITE=RATIO"),
            (("1.fc2=",), "'1.fc2=' is not BLOCK.SITE=RATIO"),
            (("1.fc2=half",), "'half' in '1.fc2=half' is no number; ratios are fractions dropped, in [0, 1)"),
            (("1.fc2=50",), "the ratio in '1.fc2=50' is 50, not below 1; ratios are fractions dropped, in [0, 1): write 0.5 for 50 %"),
            (("1.fc2=0.5", "1.fc2=0.6"), "block 1 fc2 is locked to 0.5 and to 0.6; keep one of them"),
        ],
    )
    def test_what_is_no_lock_is_refused(self, texts: tuple[str, ...], message: str) -> None:
        with pytest.raises(ScheduleError, match=re.escape(message)):
            read_locks(texts)

    @pytest.mark.parametrize(
        ("texts", "message"),
        [
            (("1.fc2=0.5",), "'1.fc2=0.5' gives one ratio; write LOW:HIGH, or use --lock for a single one"),
            (("1.fc2=0.6:0.2",), "'1.fc2=0.6:0.2' runs from 0.6 down to 0.2; write the lower ratio first"),
            (("1.fc2=0.1:0.2", "1.fc2=0.1:0.3"), "block 1 fc2 has two ranges; keep one of them"),
            (("1.fc2",), "'1.fc2' is not BLOCK.SITE=LOW:HIGH with a site of qk, vo, fc1, fc2; write for example 3.fc2=0.2:0.6"),
        ],
    )
    def test_what_is_no_range_is_refused(self, texts: tuple[str, ...], message: str) -> None:
        with pytest.raises(ScheduleError, match=re.escape(message)):
            read_ranges(texts)

    def test_locks_hold_and_ranges_hold(self) -> None:
        problem = tiny_problem(0.5, locks={(0, "fc2"): 0.25, (1, "qk"): 0.0}, ranges={(2, "vo"): (0.4, 0.8), (2, "fc2"): (0.0, 0.3)})
        schedule = solve(problem).schedule
        assert (schedule.blocks[0].fc2, schedule.blocks[1].qk) == (0.25, 0.0)
        assert 0.4 <= schedule.blocks[2].vo <= 0.8
        assert schedule.blocks[2].fc2 <= 0.3

    @pytest.mark.parametrize(
        ("asked", "message"),
        [
            ({"locks": {(3, "qk"): 0.5}}, "block 3 does not exist; tiny has blocks 0 to 2"),
            (
                {"locks": {(1, "qk"): 0.5}, "ranges": {(1, "qk"): (0.6, 0.8)}},
                "block 1 qk is locked to 0.5, outside its range 0.6:0.8; drop the lock or the range",
            ),
            ({"ranges": {(1, "fc1"): (0.1, 0.5)}}, "block 1 fc1 has a range but fc1 is not tuned; add it to --sites"),
            ({"ranges": {(1, "qk"): (0.95, 0.99)}}, "block 1 qk keeps no measured count between the ratios 0.95 and 0.99; widen its range"),
        ],
    )
    def test_what_contradicts_itself_is_refused(self, asked: dict, message: str) -> None:
        with pytest.raises(ScheduleError, match=re.escape(message)):
            tiny_problem(**asked)

    def test_a_lock_beyond_the_curves_is_taken_and_said(self) -> None:
        problem = tiny_problem(0.8, locks={(1, "fc1"): 0.5, (0, "qk"): 0.3})
        assert problem.notes == ("block 1 fc1 is locked to 0.5, where no damage was measured: it counts as none",)
        assert solve(problem).schedule.blocks[1].fc1 == 0.5

    def test_a_site_without_a_curve_is_refused_unless_locked(self) -> None:
        shape = tiny_shape()
        curves = {place: curve for place, curve in read_curves(made_up_rows(shape), shape).items() if place != (1, "vo")}
        budget = read_budget(shape, reduction=0.3)
        with pytest.raises(ScheduleError, match=r"block 1 vo has no measured curve; measure it, or fix it with --lock 1\.vo=RATIO"):
            make_problem(shape, curves, budget, SITES)
        assert make_problem(shape, curves, budget, SITES, {(1, "vo"): 0.0}).groups[4].options[0].ratios == (0.0,)


class TestCosts:
    @pytest.mark.parametrize("unit", ["macs", "params"])
    @pytest.mark.parametrize("sites", [SITES, ("fc1", "fc2"), ("qk", "vo", "fc1", "fc2")])
    @pytest.mark.parametrize("multiple_of", [1, 2])
    def test_a_choice_costs_what_its_schedule_costs(self, unit: str, sites: tuple[str, ...], multiple_of: int) -> None:
        problem = tiny_problem(0.9, unit=unit, sites=sites, multiple_of=multiple_of)
        for position in (0, 1, -1):
            chosen = tuple(group.options[min(position, len(group.options) - 1)] for group in problem.groups)
            assert problem.cost(chosen) == Budget(unit, 0).of(count_cost(problem.shape, problem.schedule(chosen)))
        assert problem.cost(tuple(group.options[0] for group in problem.groups)) == problem.whole

    def test_a_budget_below_the_least_names_the_least(self) -> None:
        problem = tiny_problem(0.9)
        with pytest.raises(ScheduleError, match="locks, ranges and measured ratios allow; raise it to at least that") as caught:
            tiny_problem(0.05)
        assert problem.budget.said(problem.least) in str(caught.value)
        assert solve(problem.under(problem.least)).cost == problem.least

    def test_locks_raise_the_least(self) -> None:
        assert tiny_problem(0.9, locks={(0, "fc2"): 0.0}).least > tiny_problem(0.9).least

    def test_wide_sites_have_options_enough_and_not_too_many(self) -> None:
        problem = tiny_problem(0.9, shape=tiny_shape(hidden=1000), multiple_of=2)
        options = problem.groups[2].options
        assert MOST_OPTIONS // 2 < len(options) <= MOST_OPTIONS + 1
        assert options[0].ratios == (0.0, 0.0)
        assert options[-1].ratios[1] == 0.9


class TestLatency:
    """A budget in time, from a table."""

    def test_it_is_read_against_the_table(self) -> None:
        table = tiny_table()
        assert read_budget(tiny_shape(), latency_ms=5.0, table=lambda: table) == Budget("latency_ns", 5_000_000, table)
        with pytest.raises(ScheduleError, match=re.escape("a budget of 12 ms is not between 0 and the baseline's")):
            read_budget(tiny_shape(), latency_ms=12.0, table=lambda: table)

    @pytest.mark.parametrize("sites", [SITES, ("qk",), ("vo", "fc1", "fc2")])
    @pytest.mark.parametrize("multiple_of", [1, 2])
    def test_a_choice_takes_what_the_table_predicts(self, sites: tuple[str, ...], multiple_of: int) -> None:
        problem = tiny_problem(1.5, unit="latency_ns", sites=sites, multiple_of=multiple_of)
        for position in (0, 1, -1):
            chosen = tuple(group.options[min(position, len(group.options) - 1)] for group in problem.groups)
            predicted = problem.budget.table.predict_ms(problem.schedule(chosen)) * 1e6
            assert abs(problem.cost(chosen) - predicted) <= 50 * (len(problem.groups) + 1), "half a step a group"
        assert problem.cost(tuple(group.options[0] for group in problem.groups)) == problem.whole

    @pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
    def test_the_solution_fits_and_avoids_what_is_slow(self, share: float) -> None:
        problem = tiny_problem(share, unit="latency_ns")
        solution = solve(problem)
        assert problem.budget.table.predict_ms(solution.schedule) <= problem.budget.limit / 1e6 + 1e-3
        best = min(
            (sum(option.damage for option in chosen) for chosen in product(*(group.options for group in thinned(problem, 9).groups))
             if problem.cost(chosen) <= problem.budget.limit), default=float("inf"),
        )
        assert solution.damage <= best * 1.002 + 1e-12, "at least as good as every choice of a coarser grid"
        assert all(block.qk == block.vo for block in solution.schedule.blocks), "unequal ones take longer than whole ones here"

    def test_an_option_can_be_slower_than_the_baseline(self) -> None:
        options = tiny_problem(0.9, unit="latency_ns").groups[0].options
        assert min(option.saved_ns for option in options) < 0 < max(option.saved_ns for option in options)

    def test_pairs_are_few_and_the_same_on_both_sides(self) -> None:
        shape = tiny_shape(head_dim=64)
        rows = made_up_rows(shape)
        budget = Budget("latency_ns", 10_000_000, tiny_table(shape))
        options = make_problem(shape, read_curves(rows, shape), budget, SITES, ranges={(0, "vo"): (0.3, 0.9)}).groups[0].options
        assert len(options) <= (MOST_PAIRED + 2) ** 2
        equal = [option for option in options if option.ratios[0] == option.ratios[1]]
        assert len(equal) > MOST_PAIRED // 2

    def test_an_impossible_one_names_the_least(self) -> None:
        with pytest.raises(ScheduleError, match=r"is below [\d.]+ ms, the least that locks, ranges and measured ratios allow"):
            tiny_problem(0.05, unit="latency_ns")
