"""The evidence on the pages: which analyses are found, what the pages say of them, and a running sweep that fills in."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from analysis_cache.replay import Replay
from analysis_cache.store import EvidenceStore
from dashboard.evidence import find as evidence
from dashboard.evidence.find import find_evidence
from dashboard.evidence.sweep import SweepSoFar
from tests.support import apps
from tests.support import evidence as stored
from tests.support.engines import FakeEngine
from toast_core.setup import Setup
from toast_core.studies.sensitivity.cells import CellOutcomes, summarize

MINUS = "\N{MINUS SIGN}"


@pytest.fixture
def path(engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The dashboard's store, still missing; nothing is shipped, and the engine measures on the stored analyses' images."""
    monkeypatch.setattr(evidence, "shipped_bundles", list)
    path = tmp_path / "evidence.sqlite"
    engine.setup = Setup(store=str(path)).completed()
    engine.description = replace(engine.description, data=replace(engine.description.data, digest="b" * 64))
    return path


@pytest.fixture
def store(path: Path) -> EvidenceStore:
    """The dashboard's store, open for writing."""
    with EvidenceStore.open(path) as opened:
        yield opened


def _page(name: str) -> AppTest:
    def show(name: str) -> None:
        from importlib import import_module

        from dashboard.session import link, state

        state.open_session(state.model_shape())
        link.publish_link(state.schedule(), state.model_shape())
        import_module(f"dashboard.pages.{name}").render()

    return AppTest.from_function(show, default_timeout=180, kwargs={"name": name})


def _words(at: AppTest) -> str:
    return apps.words(at, "warning", "title")


def test_analyses_are_ranked_and_name_what_speaks_against_them(store: EvidenceStore, engine: FakeEngine):
    sweep, redundancy = stored.put_sweep(store), stored.put_redundancy(store)
    found = find_evidence(engine.setup, "demo_vit", "b" * 64)
    assert {one.short_id for one in found.evidence} == {sweep.short_id, redundancy.short_id} and not found.problems
    one = found.of("sensitivity")[0]
    assert (one.listed, one.stored, one.concerns, one.source) == (72, 72, (), "your store")
    assert one.title == f"400 images, exact, per image, your store, from 2026-01-31, {sweep.short_id[:8]}"
    assert find_evidence(engine.setup, "demo_swin").evidence == ()
    (concern,) = find_evidence(engine.setup, "demo_vit", "f" * 64).of("sensitivity")[0].concerns
    assert concern == "measured on other images: sha256 bbbbbbbb, this dashboard's ffffffff"


def test_a_damaged_store_is_one_warning_and_no_trap(path: Path, engine: FakeEngine):
    path.write_bytes(b"no database")
    (problem,) = find_evidence(engine.setup, "demo_vit").problems
    assert "is no SQLite database; it was left as it is" in problem
    at = _page("overview.page").run()
    assert not at.exception and "is no SQLite database" in at.warning[0].value


def test_the_overview_says_where_the_model_is_redundant(store: EvidenceStore):
    stored.put_sweep(store)
    stored.put_redundancy(store)
    words = _words(at := _page("overview.page").run())
    assert not at.exception
    assert "24 of 24 sites of blocks stand 50 % or more. 400 images, per image selection" in words
    analyses = next(frame.value for frame in at.dataframe if "Stale" in frame.value)
    assert set(analyses["Analysis"]) == {"Sensitivity", "Redundancy"} and set(analyses["Stale"]) == {"no"}


def test_pages_without_evidence_say_what_to_type(path: Path):
    for page in ("overview.page", "redundancy", "sensitivity"):
        with EvidenceStore.open(path):
            pass
        at = _page(page).run()
        assert not at.exception
        metric = "sensitivity" if page == "overview.page" else page
        assert f"--store {path} --metrics {metric}" in _words(at)


def test_redundancy_follows_its_choices_and_the_link(store: EvidenceStore):
    analysis = stored.put_redundancy(store)
    at = _page("redundancy")
    at.query_params["block"], at.query_params["analysis"], at.query_params["dropped"] = "3", analysis.short_id[:6], "0.25"
    at.run()
    assert not at.exception
    assert "With 25% of the channels dropped" in _words(at)
    assert at.query_params["analysis"] == analysis.short_id and at.query_params["site"] == "hidden"
    assert at.session_state["view-redundancy-block"] == "3"
    at.select_slider(key="view-redundancy-dropped").set_value("0.5").run()
    words = _words(at)
    assert "best in block 3 (held-out R² 0.700)" in words and "in block 0 (0.500)" in words
    assert "10 images, 170 tokens" in words and "1 dead channel" in words
    assert at.query_params["dropped"] == "0.5" and "schedule" in at.query_params


def test_sensitivity_shows_noise_as_noise_and_one_cell_with_its_interval(store: EvidenceStore):
    analysis = stored.put_sweep(store)
    at = _page("sensitivity")
    at.query_params["site"], at.query_params["block"], at.query_params["ratio"] = "fc2", "0", "0.9"
    at.run()
    assert not at.exception
    words = _words(at)
    assert "35 of 36 cells cannot be told apart from the baseline (≈). With 400 images" in words
    (row,) = [row for row in _sweep_rows() if (row["block"], row["site"], row["ratio"]) == (0, "fc2", 0.9)]
    assert f"**{MINUS}{-row['top1_delta']:.0f} points**, 95 %: {MINUS}" in words
    assert "**+0.225 nats**" in words or "**+0.23 nats**" in words
    assert "**0.9 nats**, no interval stored" in words
    shown = {name: at.query_params[name] for name in ("analysis", "site", "block", "ratio")}
    assert shown == {"analysis": analysis.short_id, "site": "fc2", "block": "0", "ratio": "0.9"}
    at.button(key="take-cell").click().run()
    assert at.session_state["history"].present.blocks[0].fc2 == 0.9


def _sweep_rows() -> list[dict]:
    return [summarize(cell, stored.BASELINE, stored.outcomes(cell)) for cell in stored.CELLS]


@pytest.mark.parametrize("metric", ["top5", "loss", "kl"])
def test_every_metric_can_be_chosen(store: EvidenceStore, metric: str):
    stored.put_sweep(store)
    at = _page("sensitivity")
    at.query_params["metric"] = metric
    at.run()
    assert not at.exception
    words = _words(at)
    said = {"top5": "36 of 36 cells cannot be told apart", "loss": "0 of 36 cells cannot be told apart", "kl": "no interval of this metric"}
    assert said[metric] in words


def test_a_link_to_an_analysis_that_is_gone_says_so(store: EvidenceStore):
    stored.put_sweep(store)
    at = _page("sensitivity")
    at.query_params["analysis"] = "0123456789abcdef"
    at.run()
    assert "asks for analysis 0123456789abcdef, which is not here" in at.warning[0].value


def test_a_running_sweep_shows_what_is_known_so_far(store: EvidenceStore, path: Path):
    analysis = stored.put_running_sweep(store, 2)
    rows = SweepSoFar(Replay.open(path), analysis).rows()
    assert len(rows) == len(stored.CELLS)
    for row in rows:
        images = 300 if row["block"] == 0 else 200
        names = ("correct", "top5", "loss", "kl", "margin")
        before = CellOutcomes(*(getattr(stored.BASELINE, name)[:images] for name in names))
        cell = next(one for one in stored.CELLS if (one.block, one.site, one.ratio) == (row["block"], row["site"], row["ratio"]))
        expected = summarize(cell, before, stored.outcomes(cell, images))
        assert row["ci95"] == pytest.approx(expected.pop("ci95")) and row["site"] == expected.pop("site")
        assert {name: row[name] for name in expected} == pytest.approx(expected, abs=2e-3)
    at = _page("sensitivity").run()
    assert not at.exception
    assert "at least 200 of 400" in at.get("progress")[0].proto.text
    assert "is not finished: 52% of fc2" in at.get("progress")[0].proto.text


def test_new_parts_are_read_and_read_ones_are_not_read_again(store: EvidenceStore, path: Path):
    analysis = stored.put_running_sweep(store, 1)
    replay = Replay.open(path)
    so_far, read = SweepSoFar(replay, analysis), []
    get = replay.source.get
    replay.source.get = lambda key: read.append(key) or get(key)
    so_far.rows()
    first = len(read)
    stored.put_running_sweep(store, 3)
    assert {row["images"] for row in so_far.rows()} == {300, 400}
    assert first == 1 + 13 and len(read) == first + 24 and len(set(read)) == len(read)


def test_the_pages_and_their_evidence_need_no_torch():
    names = (
        "evidence.find", "evidence.sweep", "components.analysis_choice", "pages.overview.page", "pages.redundancy", "pages.sensitivity",
        "pages.tune.page", "pages.compare.page", "pages.deliver.page", "pages.runs.page", "report.write",
    )
    code = f"import sys; sys.modules['torch'] = None\nfor name in {names!r}: __import__('dashboard.' + name)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


def test_a_page_is_not_handed_the_choices_of_another(store: EvidenceStore):
    stored.put_sweep(store)
    stored.put_redundancy(store)

    def show() -> None:
        from importlib import import_module

        import streamlit as st

        from dashboard.session import state

        name = st.session_state.get("shown", "sensitivity")
        state.open_session(state.model_shape())
        import_module(f"dashboard.pages.{name}").render()

    at = AppTest.from_function(show, default_timeout=180).run()
    at.selectbox(key="view-sensitivity-block").set_value("3").run()
    at.session_state["shown"] = "redundancy"
    at.run()
    assert not at.exception
    assert at.query_params["block"] == "3"


def test_a_choice_that_its_box_knows_no_more_stays_what_it_was():
    def show() -> None:
        import streamlit as st

        from dashboard.session import view

        st.session_state["view"] = {"analysis": "b"}
        st.write(view.settled("analysis", None, ["a", "b"], "a"), view.settled("analysis", "a", ["a", "b"], "b"))
        st.write(view.settled("analysis", None, ["a", "c"], "c"))

    assert [element.value for element in AppTest.from_function(show).run().markdown] == ["b a", "c"]
