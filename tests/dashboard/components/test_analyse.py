"""The button for a model that was never seen: what it starts, and what is shown instead of it."""

from dataclasses import replace

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.session import state
from tests.support.apps import words
from tests.support.engines import RunsEngine, job
from toast_core.cost.macs import count_cost
from toast_core.schedule.compensation import FULL
from toast_core.studies.registry import read_run


def _page() -> None:
    from dashboard.components.analyse import show_analyse
    from dashboard.session import state

    state.open_session(state.model_shape())
    show_analyse(state.model_shape())


@pytest.fixture
def engine(monkeypatch) -> RunsEngine:
    """An engine without runs."""
    fake = RunsEngine()
    monkeypatch.setattr(state, "engine_client", lambda: fake)
    return fake


def shown() -> AppTest:
    at = AppTest.from_function(_page, default_timeout=60).run()
    assert not at.exception
    return at


def test_it_tunes_for_three_goals_and_has_each_answer_measured(engine):
    at = shown()
    at.button(key="analyse").click().run()
    runs = [read_run(values) for what, values in engine.asked if what == "submit"]
    whole = count_cost(state.model_shape()).macs
    assert [round(100 * (1 - run.limit / whole)) for run in runs] == [40, 50, 60]
    assert all(run.evaluate == 1000 and run.compensation == FULL and run.sites == ("qk", "vo", "fc2") for run in runs)


def test_its_runs_are_shown_in_its_place_and_those_of_others_are_not(engine):
    run = {"kind": "tuning", "unit": "macs", "limit": 1000}
    engine.listed = [
        replace(job(1, "running", run), done=30, total=100, title="tune to 0.043 GMACs"), job(2, "queued", run),
        job(3, "running", run, basis={"model": "demo_swin", "data": "fashion-mnist"}), job(4, "done", run),
    ]
    at = shown()
    assert not at.button and "1 more to come" in words(at)
    assert "Tune to 0.043 GMACs" in at.get("progress")[0].proto.text and "30 % done" in at.get("progress")[0].proto.text


@pytest.mark.parametrize(("lacking", "says"), [
    ("data", "needs labelled images: start the dashboard with --data FOLDER"),
    ("calibration", "needs images to fit on: start the dashboard with --calibration FOLDER"),
])
def test_what_it_lacks_is_said(engine, lacking, says):
    engine.description = replace(engine.description, **{lacking: None})
    at = shown()
    assert not at.button and says in words(at)


def test_a_refusal_is_shown(engine):
    engine.refusal = "the queue is full"
    at = shown()
    at.button(key="analyse").click().run()
    assert at.error[0].value == "the queue is full"
