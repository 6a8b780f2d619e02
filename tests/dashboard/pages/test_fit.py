""""Fit the rest" without a browser: what is asked of the tuner, what comes in hand, next-best edits, and the run that refines it."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.session import state
from tests.support.apps import words
from tests.support.curves import STRENGTH
from tests.support.engines import RunsEngine, job
from tests.support.tunings import BARE, SHAPE, WHOLE, put_tuning
from toast_core.cost.macs import count_cost
from toast_core.schedule.compensation import FULL
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup


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


def test_a_click_that_comes_with_what_was_typed_before_it_means_that(engine: RunsEngine, tmp_path: Path) -> None:
    put_tuning(tmp_path / "store.sqlite", BARE)
    at = open_panel()
    at.number_input(key="budget-reduction").set_value(20.0)
    at.button(key="fit").click().run()
    assert 0.78 * WHOLE < count_cost(SHAPE, in_hand(at)).macs <= 0.8 * WHOLE, "20, not the 40 that the page had drawn"
    at.selectbox(key="budget-unit").select("gmacs")
    at.button(key="fit").click().run()
    assert 0.58 * WHOLE < count_cost(SHAPE, in_hand(at)).macs <= 0.6 * WHOLE, "the unit's first proposal"


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
