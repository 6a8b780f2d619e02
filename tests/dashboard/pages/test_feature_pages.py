"""Every page on a backbone without a classifier, with a desk of this process and what its runs leave in a store."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from analysis_cache.replay import Replay
from analysis_cache.store import EvidenceStore
from dashboard.evidence import find as evidence
from dashboard.report.analyses import read_paper
from dashboard.report.paper import to_html
from dashboard.session import state
from tests.support import apps
from tests.support.engines import QUOTE
from tests.support.families import tiny_demo
from tests.support.folders import make_folder
from toast_core.engine.desk import Desk
from toast_core.engine.protocol import Description, Job, Measurement, Offered, Progress, Superseded
from toast_core.models.demo import DEMO_BUILDERS
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup
from toast_core.studies.registry import read_run
from toast_core.workbench import Workbench

PRUNED = Schedule.uniform(3, fc2=0.5, vo=0.3, selection="calibrated")
RUNS = (
    {"kind": "sensitivity", "sites": ["fc2", "vo"], "ratios": [0.3, 0.6], "images": 12, "batch_size": 4, "selection": "calibrated"},
    {"kind": "evaluation", "schedule": Schedule.uniform(3).to_dict(), "images": None, "batch_size": 4},
    {"kind": "evaluation", "schedule": PRUNED.to_dict(), "images": None, "batch_size": 4},
    {"kind": "apply", "schedule": PRUNED.to_dict(), "images": 12, "batch_size": 4},
    {"kind": "tuning", "unit": "params", "limit": 14_000, "sites": ["fc2"], "ratios": [0.5, 0.9], "images": 24, "batch_size": 4},
)


class FeatureEngine:
    """A desk of this process in place of the engine's client; no job is ever there."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.setup = desk, desk.setup
        self.folder = Path(desk.setup.store).parent / "engine"

    def describe(self) -> Description:
        """The desk's."""
        return self.desk.describe()

    def measure(self, session: str, schedule: Schedule, images: int | None = None) -> Iterator[Progress | Measurement | Superseded | None]:
        """The desk's, after the word that it is asked."""
        yield None
        yield from self.desk.measure(session, schedule, images)

    def jobs(self) -> list[Job]:
        """None."""
        return []

    def quote(self, run: dict) -> Offered:
        """A price."""
        return Offered("a run", "toast analyze", QUOTE)


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    """The tiny backbone with random weights, twelve images of two classes and as many of the same to compare with."""
    root = tmp_path_factory.mktemp("features")
    data, calibration = make_folder(root / "val", {"bag": 6, "coat": 6}), make_folder(root / "fit", {"bag": 12, "coat": 12})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DEMO_BUILDERS, "demo_tiny", tiny_demo)
        yield Setup(
            "demo_tiny", "random", 0, data=str(data), calibration=str(calibration), calibration_images=24, images=12, batch_size=4,
            device="cpu", store=str(root / "evidence.sqlite"), applied=str(root / "applied"),
        )


@pytest.fixture(scope="module")
def desk(setup: Setup) -> Desk:
    """A desk that has loaded it, once the runs have ended."""
    workbench = Workbench.load(setup)
    with EvidenceStore.open(setup.store) as store:
        for values in RUNS:
            run = read_run(values)
            analysis = run.measure(workbench, store, lambda done, total: None)
            assert "cosine" in run.outcome(store, analysis) or values["kind"] == "sensitivity"
            assert run.work(workbench, store).stored or values["kind"] == "tuning"
    desk = Desk(setup)
    desk.load()
    assert desk.describe().is_ready, desk.describe().error
    return desk


@pytest.fixture(autouse=True)
def engine(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> FeatureEngine:
    """The engine that pages ask."""
    found = FeatureEngine(desk)
    monkeypatch.setattr(state, "engine_client", lambda: found)
    monkeypatch.setattr(evidence, "shipped_bundles", list)
    return found


def page(name: str) -> AppTest:
    """A page with the pruned schedule in hand."""
    def show(name: str, schedule: dict) -> None:
        from importlib import import_module

        from dashboard.session import link, state
        from toast_core.schedule.schedule import Schedule

        state.open_session(state.model_shape())
        if "begun" not in state.st.session_state:
            state.st.session_state["begun"] = True
            state.edit(Schedule.from_dict(schedule))
        link.publish_link(state.schedule(), state.model_shape())
        import_module(f"dashboard.pages.{name}").render()

    at = AppTest.from_function(show, default_timeout=180, kwargs={"name": name, "schedule": PRUNED.to_dict()}).run()
    assert not at.exception, at.exception
    return at


def test_the_desk_measures_cosines_beside_the_baseline(desk: Desk) -> None:
    *_, last = desk.measure("one", PRUNED, None)
    assert last.scheduled.keys == ("cosine", "tokens") and last.baseline.headline.value == 1 and 0 < last.scheduled.headline.value < 1
    assert last.change.value == pytest.approx(last.scheduled.headline.value - 1)
    *_, other = desk.measure("two", replace(PRUNED, selection="per_image"), None)
    assert other.change.value != last.change.value
    *_, bare = desk.measure("one", Schedule.uniform(3), None)
    assert bare.change.value == 0 and bare.scheduled == bare.baseline


def test_the_tune_page_names_what_is_measured() -> None:
    said = next(one.value for one in page("tune.page").caption if one.value.startswith("Measured on"))
    assert 0 < float(re.search(r"feature cosine ([\d.]+) ", said)[1]) < 1 and "top-1" not in said.lower()
    assert re.search(r", \N{MINUS SIGN}" + r"0\.\d+ against the baseline's 1\.0", said)


@pytest.mark.parametrize("name", ["overview.page", "redundancy", "runs.page"])
def test_other_pages_open(name: str) -> None:
    assert not page(name).error


def test_sensitivity_shows_cosines_by_block_and_ratio() -> None:
    at = page("sensitivity")
    words = apps.words(at, "markdown", "caption")
    assert "Feature cosine difference by block and ratio" in words and "Token cosine difference" in words
    assert "top-1" not in words.lower()
    at.segmented_control(key="view-sensitivity-metric").set_value("tokens").run()
    assert not at.exception and "Token cosine difference by block and ratio" in apps.words(at, "markdown")


def test_compare_ranks_by_cosine_and_names_no_hurt_class() -> None:
    at = page("compare.page")
    table = next(one.value for one in at.dataframe if "Candidate" in one.value)
    row = table[table["Candidate"] == "In hand"].iloc[0]
    assert 0 < float(row["Feature cosine"]) < 1 and row["Known"] == "measured on 12 images" and row["Difference"] < 0
    assert "answers no image" in apps.words(at, "info")


def test_deliver_says_that_masked_equals_compact() -> None:
    at = page("deliver.page")
    assert "Masked equals compact" in apps.words(at, "success") and "largest difference of a feature" in apps.words(at, "success")
    assert "Compact against baseline: feature cosine" in apps.words(at, "markdown")
    labels = [metric.label.split(" :")[0] for metric in at.metric]
    assert labels == [f"{name}: feature cosine" for name in ("Baseline", "Masked", "Compact")]


def test_the_report_speaks_of_features_and_names_no_hurt_class(setup: Setup) -> None:
    replay = Replay.open(setup.store)
    (analysis,) = (one for one in replay.analyses() if one.request["metric"] == "agreement")
    said = to_html([read_paper(replay, analysis)[0]])
    assert "its feature cosine is" in said and "Feature cosine" in said and "Who gets hurt" not in said
