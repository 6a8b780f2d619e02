"""Recovery on the Runs page without a browser: its form on a stand-in engine, its epochs and model from a store."""

from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from analysis_cache.analysis import Analysis
from analysis_cache.store import EvidenceStore
from dashboard.evidence import find as evidence
from dashboard.session import state
from tests.support.apps import words
from tests.support.cells import identity as any_identity
from tests.support.chart_rows import EPOCHS
from tests.support.engines import QUOTE, RunsEngine, job
from toast_core.schedule.compensation import FULL
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup
from toast_core.studies.recovery.recipe import Recipe

SCHEDULE = Schedule.uniform(12, fc2=0.5, selection="calibrated")
TIME = "2026-01-31T12:00:00Z"
FIGURES = {"baseline_top1": 90.0, "top1": 85.0, "delta_top1": -5.0}


@pytest.fixture
def runs_engine(monkeypatch: pytest.MonkeyPatch) -> RunsEngine:
    """A stand-in that the page talks to; only its own store has anything."""
    fake = RunsEngine()
    monkeypatch.setattr(state, "engine_client", lambda: fake)
    monkeypatch.setattr(evidence, "shipped_bundles", list)
    return fake


def _runs(schedule: dict) -> None:
    import streamlit as st

    from dashboard.pages.runs import page as runs
    from dashboard.session import state
    from toast_core.schedule.schedule import Schedule

    state.open_session(state.model_shape())
    if "edited" not in st.session_state:
        st.session_state["edited"] = True
        state.edit(Schedule.from_dict(schedule))
    runs.render()


def open_form(schedule: Schedule = SCHEDULE) -> AppTest:
    """The page with Recovery chosen."""
    at = AppTest.from_function(_runs, args=(schedule.to_dict(),), default_timeout=180).run()
    at.segmented_control(key="run-kind").set_value("recovery").run()
    assert not at.exception
    return at


def test_the_form_asks_what_toast_recover_does_by_itself(runs_engine):
    runs_engine.price = replace(QUOTE, cells=10, images=500)
    at = open_form()
    recipe = Recipe()
    asked = {"epochs": recipe.epochs, "batch_size": recipe.batch_size, "lr": recipe.lr, "labels": True, "distill": True}
    wanted = {"kind": "recovery", "schedule": SCHEDULE.to_dict(), "images": None, "recipe": {**asked, "distill_blocks": False}}
    wanted["test_images"] = 1000
    assert runs_engine.asked[-1] == ("quote", wanted)
    assert "**About 4 min** on this machine: 10 epochs \N{MULTIPLICATION SIGN} 500 images." in words(at)
    assert f"what schedule `{SCHEDULE.digest()[:8]}` leaves, from selection as chosen" in words(at)
    assert "on fashion\\-mnist" not in words(at) and "on fashion-mnist\\:calibration" in words(at)
    at.button(key="run-start").click().run()
    assert ("submit", wanted) in runs_engine.asked


def test_what_is_chosen_is_asked(runs_engine):
    runs_engine.setup = replace(runs_engine.setup, train="photos/train")
    at = open_form(replace(SCHEDULE, compensation=FULL))
    at.number_input(key="recovery-images").set_value(300)
    at.number_input(key="recovery-epochs").set_value(2)
    at.number_input(key="recovery-tests").set_value(10_000)
    at.number_input(key="recovery-lr").set_value(1e-3)
    at.pills(key="recovery-taught").set_value(["distill_blocks"]).run()
    run = runs_engine.asked[-1][1]
    assert run["images"] == 300 and run["test_images"] is None and run["recipe"] == {
        "epochs": 2, "batch_size": 128, "lr": 1e-3, "labels": False, "distill": False, "distill_blocks": True
    }
    assert "from compensation as chosen on the Tune page, on photos/train." in words(at)


def test_nothing_to_learn_from_is_no_run(runs_engine):
    at = open_form()
    asked = len(runs_engine.asked)
    at.pills(key="recovery-taught").set_value([]).run()
    assert "Choose at least one thing to learn from" in words(at) and len(runs_engine.asked) == asked


def test_the_baseline_has_nothing_to_recover_and_without_images_it_says_what_to_do(runs_engine):
    asked = len(runs_engine.asked)
    at = open_form(Schedule.uniform(12))
    assert "prunes nothing, so there is nothing to recover" in words(at)
    runs_engine.description = replace(runs_engine.description, calibration=None)
    at = open_form()
    assert "start the dashboard with --train FOLDER" in words(at)
    assert not [kind for kind, run in runs_engine.asked[asked:] if run["kind"] == "recovery"]


def stored(path: Path, epochs: int, finished: bool) -> Analysis:
    """A recovery with so many epochs in a store."""
    shared = any_identity(0, kind="recovery", model="demo_vit")
    parts = [({"part": "epoch", "epoch": row["epoch"]}, row) for row in EPOCHS[: epochs + 1]]
    test = {"images": 900, **{name: {"value": value, "ci95": [value - 2, value + 2]} for name, value in FIGURES.items()}}
    parts = [({"part": "report"}, {"epochs": epochs}), *parts, ({"part": "test"}, test)] if finished else parts
    identities = [replace(shared, details=detail) for detail, _ in parts]
    keys = tuple(one.key for one in identities)
    if not finished:
        keys = (replace(shared, details={"part": "report"}).key, *keys)
    request = {"model": "demo_vit", "metric": "recovery", "images": 40}
    analysis = Analysis(request, "recovery of demo_vit", keys, TIME, TIME if finished else None)
    with EvidenceStore.open(path) as store:
        for one, (_, summary) in zip(identities, parts, strict=True):
            store.put(one, summary, {})
        store.put_analysis(analysis)
    return analysis


def open_run(engine: RunsEngine, analysis: str, state_: str) -> AppTest:
    """The page with one recovery, its epochs shown."""
    engine.listed = [job(4, state_, run={"kind": "recovery"}, analysis=analysis, title="recover schedule", total=10, done=5)]
    at = AppTest.from_function(_runs, args=(SCHEDULE.to_dict(),), default_timeout=180).run()
    assert not at.exception
    if not at.toggle(key="job-epochs-4").value:
        at.toggle(key="job-epochs-4").set_value(True).run()
    return at


def test_a_running_recovery_shows_its_epochs_so_far(runs_engine, tmp_path):
    path = tmp_path / "evidence.sqlite"
    runs_engine.setup = Setup(store=str(path)).completed()
    at = open_run(runs_engine, stored(path, 2, False).short_id, "running")
    table = next(frame.value for frame in at.dataframe if "Epoch" in frame.value)
    assert list(table["Epoch"]) == [0, 1, 2] and list(table["Validation top-1 (%)"]) == [60.0, 80.0, 82.0]
    assert "1,000 training images" in words(at) and not at.exception


def test_a_finished_one_offers_its_model_where_the_file_is_there(runs_engine, tmp_path, monkeypatch):
    path = tmp_path / "evidence.sqlite"
    runs_engine.setup, runs_engine.folder = Setup(store=str(path)).completed(), tmp_path / "engine"
    analysis = stored(path, 3, True)
    at = open_run(runs_engine, analysis.short_id, "done")
    assert "Start the same run again to write it." in "\n".join(warning.value for warning in at.warning)
    (tmp_path / "applied").mkdir()
    (tmp_path / "applied" / f"{analysis.cell_keys[0]}.safetensors").write_bytes(b"weights")
    at.run()
    assert not at.warning
    assert "On 900 images that it did not learn from: top-1 **85.0 %** (95 %: 83.0 to 87.0 %), baseline 90.0 %" in words(at)
    assert "worse than the baseline" in words(at)
    assert [button.proto.label for button in at.get("download_button") if "model" in button.proto.label] == ["Download model (0.0 MB)"]


def test_what_was_measured_again_is_shown_in_place_of_what_was_there(runs_engine, tmp_path):
    path = tmp_path / "evidence.sqlite"
    runs_engine.setup = Setup(store=str(path)).completed()
    analysis = stored(path, 3, True)
    assert "On 900 images" in words(open_run(runs_engine, analysis.short_id, "done"))
    again = replace(any_identity(0, kind="recovery", model="demo_vit"), details={"part": "test"})
    with EvidenceStore.open(path) as store:
        summary = store.get(again.key).summary
        store.remove([again.key])
        store.put(again, {**summary, "images": 800}, {})
    assert "On 800 images" in words(open_run(runs_engine, analysis.short_id, "done"))


def test_what_is_stored_elsewhere_or_damaged_is_said(runs_engine, tmp_path):
    path = tmp_path / "evidence.sqlite"
    runs_engine.setup = Setup(store=str(path)).completed()
    analysis = stored(path, 1, False)
    damaged = replace(any_identity(0, kind="recovery", model="demo_vit"), details={"part": "epoch", "epoch": 1})
    with EvidenceStore.open(path) as store:
        store.remove([damaged.key])
        store.put(damaged, {"epoch": 1}, {})
    assert "not in this dashboard's store" in words(open_run(runs_engine, "0123456789abcdef", "done"))
    assert "The stored epochs of this run cannot be read ('validation_images'); run it again." in words(
        open_run(runs_engine, analysis.short_id, "done")
    )
