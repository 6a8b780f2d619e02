"""The Compare page on a stand-in engine."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from dashboard.engine.client import EngineClient, EngineError
from dashboard.session import autosave, state
from dashboard.session.drafts import DraftBook
from tests.support import apps
from tests.support.engines import QUOTE, FakeEngine, job
from tests.support.evaluations import BASE, DRAFT, IMAGES, LESS, WAS
from toast_core.engine.protocol import Job, Offered
from toast_core.setup import Setup

ME = "a" * 32


class CompareEngine(FakeEngine):
    """An engine with jobs and pictures; `asked` collects what the page wants of it."""

    def __init__(self, options: Setup) -> None:
        super().__init__(options)
        data = replace(self.description.data, digest="b" * 64, images=IMAGES, classes=tuple(f"class {label}" for label in range(10)))
        self.description = replace(self.description, data=data)
        self.asked: list[tuple] = []
        self.listed: list[Job] = []
        self.refusal: str | None = None

    def jobs(self) -> list[Job]:
        """The jobs."""
        return self.listed

    def quote(self, run: dict) -> Offered:
        """Always the same price."""
        self.asked.append(("quote", run))
        return Offered("evaluation", "toast evaluate", QUOTE)

    def submit(self, run: dict) -> Job:
        """Refuse, or queue it."""
        if self.refusal:
            raise EngineError(self.refusal)
        self.asked.append(("submit", run))
        self.listed = [job(len(self.listed) + 1, "queued", run=run), *self.listed]
        return self.listed[0]

    def pictures(self, index: list[int]) -> list[bytes | None]:
        """The first cannot be read."""
        self.asked.append(("pictures", index))
        packed = io.BytesIO()
        Image.new("L", (8, 8)).save(packed, "PNG")
        return [None, *[packed.getvalue()] * (len(index) - 1)]


@pytest.fixture
def compared(evaluated: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CompareEngine:
    """The page's engine and an owner with two drafts."""
    engine, book = CompareEngine(evaluated), DraftBook(tmp_path / "drafts")
    first = book.add(ME, "demo_vit", DRAFT, None, "Baseline")
    book.rename(ME, first.number, "late fc2")
    book.add(ME, "demo_vit", DRAFT.with_ratio(4, "fc2", 0.4), first.number, "late fc2")
    monkeypatch.setattr(state, "engine_client", lambda: engine)
    monkeypatch.setattr(autosave, "owner", lambda: ME)
    monkeypatch.setattr(autosave, "book", lambda: book)
    return engine


def _compare() -> None:
    from dashboard.pages.compare import page as compare
    from dashboard.session import state

    state.open_session(state.model_shape())
    compare.render()


def open_page(**link: str) -> AppTest:
    """The page, drawn once."""
    at = AppTest.from_function(_compare, default_timeout=180)
    for name, value in link.items():
        at.query_params[name] = value
    at.run()
    assert not at.exception
    return at


def words(at: AppTest) -> str:
    """What can be read on the page."""
    return apps.words(at, "subheader", "warning")


def test_the_page_shows_who_is_known_how_and_who_gets_hurt(compared):
    at = open_page(candidate="draft-1", without="uniform-30,nonsense")
    table = at.dataframe[0].value.set_index("Candidate")
    assert list(table.index) == ["Baseline", "Uniform 50 %", "Paper-shaped steps", "Draft 2", "late fc2"]
    assert table.loc["late fc2", "Difference (points)"] == pytest.approx(-3.3) and table.loc["late fc2", "Reading"] == "worse"
    assert table.loc["late fc2", "Known"] == "measured on 600 images" and table.loc["late fc2", "Pareto"] == "front"
    said = words(at)
    assert "Of 600 images, **20 are newly wrong** and 0 newly right" in said and "1 of 10 classes change clearly" in said
    assert "Who gets hurt by late fc2" in said and "cannot be read" in said and "class 3 \N{RIGHTWARDS ARROW} class 4" in said
    assert compared.asked[0] == ("pictures", sorted(np.flatnonzero(WAS & ~LESS).tolist(), reverse=True))
    lineage = next(one.value for one in at.dataframe if "From" in one.value)
    assert list(lineage["Draft"].str.strip("\N{NO-BREAK SPACE}\u2514\u2500 ")) == ["late fc2", "Draft 2"]
    assert (at.query_params["candidate"], at.query_params["without"]) == ("draft-1", "uniform-30")
    assert at.query_params["class"] == "all" and "toast evaluate" in said


def test_what_lacks_per_image_outcomes_says_what_to_press(compared):
    at = open_page(candidate="draft-2")
    assert "Not known image by image yet: Draft 2. Press Measure above" in words(at)
    at.selectbox(key="view-compare-candidate").set_value("baseline").run()
    assert "The baseline hurts no one" in words(at) and not at.exception


def test_measure_submits_what_is_lacking_and_follows_the_jobs(compared):
    at = open_page(without="uniform-30,uniform-50,paper-shaped-steps")
    button = at.button(key="compare-measure")
    assert button.label == "Measure 1 on all 600 images" and "About 4 min each" in words(at)
    button.click().run()
    assert [run["schedule"] for kind, run in compared.asked if kind == "submit"] == [DRAFT.with_ratio(4, "fc2", 0.4).to_dict()]
    assert ":gray-badge[queued] Draft 2, run 1" in words(at)
    compared.refusal = "the disk is full; make room"
    at.button(key="compare-measure").click().run()
    assert compared.refusal in words(at) and not at.exception


def test_the_reference_can_be_another_candidate_and_stays_in_sight(compared):
    at = open_page(reference="draft-1", without="draft-1")
    table = at.dataframe[0].value.set_index("Candidate")
    assert table.loc["Baseline", "Difference (points)"] == pytest.approx(3.3) and "late fc2" in table.index
    assert "block by block" in words(at)


def test_a_draft_is_removed(compared):
    at = open_page()
    at.selectbox(key="lineage-draft").set_value(1)  # and nothing is drawn before the click
    at.button(key="lineage-remove").click().run()
    assert [draft.name for draft in autosave.book().drafts(ME, "demo_vit")] == ["Draft 2"] and not at.exception


def test_without_an_owner_or_images_the_page_says_so(compared, monkeypatch):
    monkeypatch.setattr(autosave, "owner", lambda: None)
    compared.description = replace(compared.description, data=None, calibration=None)
    at = open_page()
    assert "This browser refuses cookies" in words(at) and "started without images" in words(at)


def test_tune_names_the_draft_and_saves_it(compared):
    def tune() -> None:
        from dashboard.pages.tune import page as tune
        from dashboard.session import state

        state.open_session(state.model_shape())
        tune.render()

    at = AppTest.from_function(tune, default_timeout=180).run()
    assert not at.exception
    assert not at.button(key="draft-save").disabled
    at.text_input(key="draft-name-2").set_value("two bars").run()  # Enter alone saves it
    newest = autosave.book().drafts(ME, "demo_vit")[0]
    assert (newest.name, newest.closed) == ("two bars", True) and at.button(key="draft-save").disabled
    at.selectbox(key="draft-take").set_value(1).run()
    assert at.session_state["history"].present == DRAFT and at.session_state["hand"].draft.name == "late fc2"
    found = autosave.results(compared.setup, compared.description)
    assert found[DRAFT.digest()].figures["images"] == 1000 and not at.exception


def test_the_engine_sends_pictures_and_refuses_what_is_none(real_engine: EngineClient):
    list(real_engine.measure("pictures", BASE, 25))
    (packed,) = real_engine.pictures([3])
    assert Image.open(io.BytesIO(packed)).size == (112, 112)
    with pytest.raises(EngineError, match=r"index is \['x'\]; send a list of image positions"):
        real_engine.pictures("x")
