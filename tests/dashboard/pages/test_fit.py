""""Fit the rest" without a browser: what is asked of the tuner, what comes in hand, next-best edits, and the run that refines it."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from analysis_cache.analysis import Analysis
from analysis_cache.key import METRIC_VERSIONS, CellIdentity
from analysis_cache.staleness import digest_of_weights
from analysis_cache.store import EvidenceStore
from dashboard.engine.client import shipped_shape
from dashboard.evidence.budget_fit import BudgetRequest, DamageCurves, damage_curves, fit, tuning_run
from dashboard.limits import Limit
from dashboard.session import state
from tests.support.apps import words
from tests.support.curves import STRENGTH, TIME, WEIGHTS
from tests.support.engines import RunsEngine, job
from toast_core.cost.macs import count_cost
from toast_core.errors import ScheduleError
from toast_core.schedule.compensation import FULL, NONE
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup
from toast_core.studies.registry import read_run

SHAPE = shipped_shape("demo_vit")
BARE = Schedule.uniform(12, selection="calibrated")
REQUEST = BudgetRequest("reduction", 40.0, ("qk", "vo", "fc2"), True)
ROWS = tuple(
    {"block": block, "site": site, "ratio": ratio, "kl": STRENGTH[site] * (1.6 - block / 10) * ratio**2, "images": 128}
    for block in range(12) for site in STRENGTH for ratio in (0.3, 0.6, 0.9)
)
CURVES = DamageCurves(ROWS, "curves from 128 images")
WHOLE = count_cost(SHAPE).macs


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


def put_tuning(path: Path, schedule: Schedule) -> str:
    """Leave a finished tuning and its curves in a store, as a run does; returns the analysis' short id."""
    from toast_core.studies.tuning.store import CURVES as curves_kind
    from toast_core.studies.tuning.store import RESULT

    weights = Path(__file__).parents[3] / "toast_core" / WEIGHTS
    digest, _ = digest_of_weights(weights, weights.stat().st_mtime_ns)

    def identity(kind: str, **details: object) -> CellIdentity:
        return CellIdentity(
            kind, METRIC_VERSIONS[kind], "demo_vit", digest, "b" * 64, 768, "c" * 64, "made up", None, None, "shuffled", 64, 0, "float32",
            "cpu", details,
        )

    shared = {"model": "demo_vit", "weights_file": WEIGHTS, "weights_digest": digest, "dtype": "float32", "images": 768}
    report = {
        "schedule": schedule.to_dict(), "predicted_kl": 0.01, "gap": 0.001, "achieved": {"left_over": 5}, "shadow_price_per_million": 0.002,
        "next_best_edits": {"drop": [], "restore": []}, "decision": "kl is the best", "notes": [], "images": {"curves": 128, "judge": 256},
    }
    with EvidenceStore.open(path) as store:
        curves = {identity(curves_kind, block=row["block"], site=row["site"], ratio=row["ratio"]): row for row in ROWS}
        for one, row in curves.items():
            store.put(one, {name: row[name] for name in ("block", "site", "ratio", "kl", "images")}, {})
        settings = {"selection": "calibrated", **vars(FULL)}
        keys = tuple(one.key for one in curves)
        store.put_analysis(Analysis({**shared, "metric": curves_kind, "settings": settings}, "curves", keys, TIME, TIME))
        result = identity(RESULT, part="result")
        store.put(result, report, {})
        analysis = Analysis({**shared, "metric": RESULT}, "tuned", (result.key,), TIME, TIME)
        store.put_analysis(analysis)
    return analysis.short_id


def test_compensated_curves_go_before_plain_ones(tmp_path: Path) -> None:
    options = Setup(store=str(tmp_path / "store.sqlite")).completed()
    put_tuning(tmp_path / "store.sqlite", BARE)
    compensated, plain = (damage_curves(options, "demo_vit", wanted) for wanted in (True, False))
    assert len(compensated.rows) == len(ROWS) and compensated.note == "curves from 128 images"
    assert plain.note == "curves from 2,000 images", "the shipped sweep of calibrated selection"


def test_without_curves_it_says_what_to_do(tmp_path: Path) -> None:
    found = damage_curves(Setup(store=str(tmp_path / "none.sqlite")).completed(), "deit_tiny_patch16_224", True)
    assert found.rows == () and "refine by measuring" in found.note


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RunsEngine:
    """A stand-in engine with jobs and a store of its own."""
    fake = RunsEngine()
    fake.setup = Setup(store=str(tmp_path / "store.sqlite")).completed()
    monkeypatch.setattr(state, "engine_client", lambda: fake)
    return fake


def _panel() -> None:
    from dashboard.pages.tune.fit import show_fit
    from dashboard.session import state

    shape = state.model_shape()
    state.open_session(shape)
    show_fit(shape)


def open_panel() -> AppTest:
    """The panel, drawn once."""
    at = AppTest.from_function(_panel, default_timeout=180).run()
    assert not at.exception
    return at


def in_hand(at: AppTest) -> Schedule:
    """The schedule of the session."""
    return at.session_state["history"].present


def test_fit_moves_the_bars_undo_brings_them_back_and_an_edit_moves_one(engine: RunsEngine, tmp_path: Path) -> None:
    put_tuning(tmp_path / "store.sqlite", BARE)
    at = open_panel()
    before = in_hand(at)
    at.button(key="fit").click().run()
    fitted = in_hand(at)
    assert not at.exception and count_cost(SHAPE, fitted).macs <= 0.6 * WHOLE and fitted.compensation == FULL
    assert "predicted" in words(at) and "From curves from 128 images." in words(at)
    at.button(key="edit-drop-0").click().run()
    changed = [
        (block, site) for site in STRENGTH for block in range(12) if in_hand(at).ratios(site)[block] != fitted.ratios(site)[block]
    ]
    assert len(changed) == 1
    assert at.session_state["history"].undo().undo().present == before


def test_an_impossible_wish_changes_nothing(engine: RunsEngine, tmp_path: Path) -> None:
    put_tuning(tmp_path / "store.sqlite", BARE)
    at = open_panel()
    before = in_hand(at)
    at.number_input(key="budget-reduction").set_value(95.0).run()
    at.button(key="fit").click().run()
    assert in_hand(at) == before and "the least that locks, ranges and measured ratios allow" in words(at)
    at.session_state["fit-sites"] = []
    at.run()
    at.button(key="fit").click().run()
    assert "no site may change; choose at least one" in words(at)


def test_refining_quotes_first_then_runs_and_takes_the_answer(engine: RunsEngine, tmp_path: Path) -> None:
    at = open_panel()
    at.button(key="refine").click().run()
    assert engine.asked[-1][0] == "quote" and engine.asked[-1][1]["kind"] == "tuning"
    assert "At most about" in words(at)
    at.button(key="tuning-start").click().run()
    assert engine.asked[-1][0] == "submit"
    engine.listed = [job(1, "running", run={"kind": "tuning"}, done=30, total=100)]
    at.run()
    assert in_hand(at).is_baseline
    tuned = Schedule.uniform(12, qk=0.5, fc2=0.5, selection="calibrated", compensation=FULL)
    analysis = put_tuning(tmp_path / "store.sqlite", tuned)
    engine.listed = [job(1, "done", run={"kind": "tuning"}, analysis=analysis)]
    at.run()
    assert in_hand(at) == tuned and "Kl is the best" in words(at)
    at.run()
    assert len(at.session_state["history"].past) == 1, "taken once"


def test_a_failed_run_says_why(engine: RunsEngine) -> None:
    at = open_panel()
    at.session_state["tuning-job"] = 1
    engine.listed = [job(1, "failed", run={"kind": "tuning"}, message="no curves")]
    at.run()
    assert "run 1 is failed. no curves" in words(at)


def test_without_calibration_images_it_says_what_to_start_with(engine: RunsEngine) -> None:
    engine.setup = Setup("demo_vit", data="elsewhere", store=engine.setup.store).completed()
    assert "start the dashboard with --calibration IMAGES" in words(open_panel())


def test_the_plain_settings_are_none() -> None:
    assert tuning_run(SHAPE, BARE, {}, BudgetRequest("reduction", 40.0, ("fc2",), False))["compensation"] == vars(NONE)
