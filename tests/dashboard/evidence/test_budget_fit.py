"""'Fit the rest': what is asked of the tuner, from which curves, and what a prediction alone fits."""

from pathlib import Path

import pytest

from dashboard.evidence import find as evidence
from dashboard.evidence.budget_fit import BudgetRequest, DamageCurves, damage_curves, fit, tuning_run
from dashboard.limits import Limit
from tests.support import tunings
from tests.support.sketches import CELLS, put_sketch
from tests.support.tunings import BARE, ROWS, SHAPE, WHOLE, put_tuning
from toast_core.cost.macs import count_cost
from toast_core.errors import ScheduleError
from toast_core.schedule.compensation import FULL, NONE
from toast_core.setup import Setup
from toast_core.studies.registry import read_run

REQUEST = BudgetRequest("reduction", 40.0, ("qk", "vo", "fc2"), True)
CURVES = DamageCurves(ROWS, "curves from 128 images")


@pytest.fixture(autouse=True)
def fresh() -> None:
    """What was looked up for another test is forgotten."""
    damage_curves.clear()


class TestAsked:
    def test_locks_are_kept_as_they_are_in_hand_and_ranges_are_passed_on(self) -> None:
        schedule = BARE.with_ratio(0, "fc2", 0.25).with_ratio(3, "fc1", 0.1)
        limits = {("fc2", 0): Limit(locked=True), ("qk", 1): Limit(0.2, 0.5), ("fc1", 2): Limit(0.0, 0.5)}
        asked = tuning_run(SHAPE, schedule, limits, REQUEST)
        assert asked["locks"] == [[0, "fc2", 0.25], [3, "fc1", 0.1]], "fc1 may not change, so that block 3 keeps what it has"
        assert asked["ranges"] == [[1, "qk", 0.2, 0.5]]
        assert (asked["unit"], asked["limit"]) == ("macs", int(0.6 * WHOLE))
        assert read_run(asked).limit == asked["limit"], "the engine takes it as it is"

    @pytest.mark.parametrize(("unit", "value", "expected"), [
        ("gmacs", 0.05, ("macs", 50_000_000)), ("params", 0.9, ("params", 900_000)), ("reduction", 25.0, ("macs", int(0.75 * WHOLE))),
    ])
    def test_budgets_in_every_unit(self, unit: str, value: float, expected: tuple[str, int]) -> None:
        assert BudgetRequest(unit, value, ("fc2",), True).limit(SHAPE) == expected

    def test_a_budget_above_the_baseline_is_refused(self) -> None:
        with pytest.raises(ScheduleError, match="is not between 0 and the baseline's"):
            BudgetRequest("gmacs", 9.0, ("fc2",), True).limit(SHAPE)


class TestFit:
    def test_the_budget_is_met_and_locks_hold(self) -> None:
        schedule = BARE.with_ratio(0, "fc2", 0.25)
        limits = {("fc2", 0): Limit(locked=True), ("vo", 5): Limit(0.1, 0.2)}
        found = fit(SHAPE, schedule, tuning_run(SHAPE, schedule, limits, REQUEST), CURVES)
        assert count_cost(SHAPE, found.schedule).macs <= int(0.6 * WHOLE)
        assert found.left_over == int(0.6 * WHOLE) - count_cost(SHAPE, found.schedule).macs
        assert found.schedule.blocks[0].fc2 == 0.25 and 0.1 <= found.schedule.blocks[5].vo <= 0.2
        assert found.schedule.compensation == FULL and found.price > 0
        assert found.edits["drop"] and found.edits["restore"]

    def test_what_costs_less_is_dropped_more(self) -> None:
        found = fit(SHAPE, BARE, tuning_run(SHAPE, BARE, {}, REQUEST), CURVES)
        assert found.schedule.blocks[11].qk > found.schedule.blocks[0].qk

    def test_conflicts_are_one_line(self) -> None:
        limits = {(site, block): Limit(locked=True) for site in ("qk", "vo", "fc2") for block in range(12)}
        with pytest.raises(ScheduleError, match="the least that locks, ranges and measured ratios allow"):
            fit(SHAPE, BARE, tuning_run(SHAPE, BARE, limits, REQUEST), CURVES)


def test_compensated_curves_go_before_plain_ones(tmp_path: Path) -> None:
    options = Setup(store=str(tmp_path / "store.sqlite")).completed()
    put_tuning(tmp_path / "store.sqlite", BARE)
    compensated, plain = (damage_curves(options, "demo_vit", wanted) for wanted in (True, False))
    assert len(compensated.rows) == len(ROWS) and compensated.note == "curves from 128 images"
    assert plain.note == "curves from 2,000 images", "the shipped sweep of calibrated selection"


def test_where_nothing_was_measured_the_damage_is_a_sketchs_and_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "shipped_bundles", list)
    options = Setup(store=str(tmp_path / "store.sqlite")).completed()
    put_sketch(tmp_path / "store.sqlite", "per_image")
    put_sketch(tmp_path / "store.sqlite", parts=1)
    assert damage_curves(options, "demo_vit", False).rows == (), "neither of calibrated selection nor finished"
    damage_curves.clear()
    put_sketch(tmp_path / "store.sqlite")
    plain, compensated = (damage_curves(options, "demo_vit", wanted) for wanted in (False, True))
    assert plain.note == "predicted KL, by a sketch of 24 images, not calibrated"
    assert compensated.note == f"{plain.note}, before making up for what is dropped" and len(plain.rows) == len(CELLS)
    found = fit(SHAPE, BARE, tuning_run(SHAPE, BARE, {}, REQUEST), plain)
    assert count_cost(SHAPE, found.schedule).macs <= int(0.6 * WHOLE) and found.curves == plain.note
    assert sum(found.schedule.ratios("qk")) > sum(found.schedule.ratios("vo")), "the sketch says that qk matters least"


def test_sites_that_were_not_measured_are_filled_in_by_a_sketch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "shipped_bundles", list)
    options = Setup(store=str(tmp_path / "store.sqlite")).completed()
    monkeypatch.setattr(tunings, "ROWS", tuple(row for row in ROWS if row["site"] == "vo"))
    put_tuning(tmp_path / "store.sqlite", BARE)
    put_sketch(tmp_path / "store.sqlite")
    found = damage_curves(options, "demo_vit", True)
    by_sketch = "qk, fc1, fc2 by predicted KL, by a sketch of 24 images, not calibrated, before making up for what is dropped"
    assert found.note == f"curves from 128 images; {by_sketch}"
    assert {(row["site"], "draws" in row) for row in found.rows} == {("vo", False), ("qk", True), ("fc1", True), ("fc2", True)}
    assert fit(SHAPE, BARE, tuning_run(SHAPE, BARE, {}, REQUEST), found).predicted > 0


def test_without_curves_it_says_what_to_do(tmp_path: Path) -> None:
    found = damage_curves(Setup(store=str(tmp_path / "none.sqlite")).completed(), "deit_tiny_patch16_224", True)
    assert found.rows == () and "refine by measuring" in found.note


def test_the_plain_settings_are_none() -> None:
    assert tuning_run(SHAPE, BARE, {}, BudgetRequest("reduction", 40.0, ("fc2",), False))["compensation"] == vars(NONE)
