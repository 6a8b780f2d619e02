"""The engine's own map on the pages, without a browser: how far it is, when the page is drawn anew, and what fails is said."""

from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.evidence import find as evidence
from dashboard.evidence.curves import stored_curves, stored_map
from dashboard.pages.tune.map import is_due
from tests.support.apps import words
from tests.support.engines import FakeEngine
from tests.support.sketches import put_sketch
from toast_core.engine.protocol import SketchCard
from toast_core.setup import Setup

CARD = SketchCard("photos", 8, 24, "calibrated")


@pytest.fixture
def store(engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The dashboard's store; nothing is shipped, and the sketches in it are of the engine's calibration images."""
    monkeypatch.setattr(evidence, "shipped_bundles", list)
    stored_map.clear()
    stored_curves.clear()
    engine.setup = Setup(store=str(tmp_path / "e.sqlite")).completed()
    engine.description = replace(engine.description, calibration=replace(engine.description.calibration, name="photos", digest="f" * 64))
    return tmp_path / "e.sqlite"


def _page(name: str) -> AppTest:
    def show(name: str) -> None:
        from importlib import import_module

        from dashboard.session import state

        state.open_session(state.model_shape())
        import_module(f"dashboard.pages.{name}").render()

    at = AppTest.from_function(show, default_timeout=180, args=(name,)).run()
    assert not at.exception
    return at


def _progress(at: AppTest) -> list[str]:
    return [bar.proto.text for bar in at.get("progress")]


def test_it_is_followed_and_shown_as_far_as_it_is(engine, store):
    engine.description = replace(engine.description, sketch=replace(CARD, done=0))
    at = _page("tune.page")
    assert _progress(at) == ["Sketching sensitivity: 0 of 24 images of photos"]
    put_sketch(store, parts=1)
    engine.description = replace(engine.description, sketch=CARD)
    assert _progress(at.run()) == ["Sketching sensitivity: 8 of 24 images of photos"]
    assert at.session_state["map-card"] == CARD
    put_sketch(store)
    engine.description = replace(engine.description, sketch=replace(CARD, done=24))
    assert _progress(at.run()) == ["Sketching sensitivity: running a few cells that calibrate the others"]
    engine.description = replace(engine.description, sketch=replace(CARD, done=24, finished=True))
    assert _progress(at.run()) == [] and not at.warning


@pytest.mark.parametrize(("done", "shown", "due"), [
    (0, 0, False), (8, 0, True), (8, 8, False), (16, 8, False), (24, 8, True), (64, 56, True), (64, 64, False),
])
def test_the_page_is_drawn_anew_for_the_first_for_every_few_and_for_the_last(done, shown, due):
    assert is_due(replace(CARD, done=done, images=64), shown) == due
    assert is_due(replace(CARD, done=done, images=64, finished=True), shown)


def test_one_that_failed_is_said_and_not_followed(engine, store):
    engine.description = replace(engine.description, sketch=replace(CARD, error="the disk is *full*"))
    at = _page("tune.page")
    assert [one.value for one in at.warning] == ["The sensitivity map was given up: the disk is \\*full\\*"] and _progress(at) == []


def test_where_nothing_was_measured_overview_and_sensitivity_show_it(engine, store):
    put_sketch(store)
    for name in ("overview.page", "sensitivity"):
        text = words(_page(name))
        assert "redicted from 24 images of photos, 2 directions each; not calibrated" in text.replace("\\", ""), name
        assert ":violet-badge[predicted]" in text and "KL" in text
    overview = _page("overview.page")
    listed = overview.dataframe[-1].value.to_dict("records") if overview.dataframe else []
    assert all(row["Stale"] == "no" for row in listed if row.get("Analysis") == "Sketch"), "calibration images are the dashboard's own"


def test_without_a_sketch_they_say_what_to_do(engine, store):
    assert "while it is idle" in words(_page("overview.page")) and "is stored yet" in words(_page("sensitivity"))
