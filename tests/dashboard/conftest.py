"""What the dashboard's tests share: a stand-in for the engine, a real engine, and a real browser."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from analysis_cache.store import EvidenceStore
from dashboard.engine.client import EngineClient, shipped_shape
from dashboard.evidence import find as evidence
from dashboard.session import state
from tests.support.equaliser_page import FLAGS
from tests.support.evaluations import DRAFT, LESS, WAS, put_evaluation
from toast_core.engine.protocol import CalibrationCard, DataCard, Description, Figures, Measurement, ModelCard, Progress
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup
from toast_core.studies.evaluation.result import Estimate

SMALL_ENGINE = Setup("demo_vit", "random", images=75, batch_size=25, calibration_images=50).completed()
_CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")


def estimate(value: float, half: float) -> Estimate:
    """An estimate with an interval of so much to each side."""
    return Estimate(value, (value - half, value + half))


def message(done: int, total: int, top1: float, delta: float) -> Measurement:
    """One message of a measurement, as the engine sends it."""
    figures = Figures(estimate(top1, 2.0), estimate(99.0, 0.5), estimate(0.4, 0.1))
    return Measurement(done, total, figures, replace(figures, top1=estimate(top1 - delta, 2.0)), estimate(delta, 0.5))


class FakeEngine:
    """Answers like `EngineClient`, at once. `description` is what describe says; `measured` collects the schedules asked for."""

    def __init__(self, options: Setup | None = None) -> None:
        self.setup = options or Setup().completed()
        self.measured: list[Schedule] = []
        self.error: Exception | None = None
        self.restarts = 0
        self.description = Description(
            "ready", model=ModelCard("demo_vit", "random", shipped_shape("demo_vit")), device="cpu",
            data=DataCard("fashion-mnist", ("T-shirt/top", "Trouser"), 10_000, "0123456789abcdef", 1000, 64, "shuffled", 0),
            calibration=CalibrationCard("fashion-mnist:calibration", 500, "fedcba"),
        )

    def describe(self) -> Description:
        """The description."""
        return self.description

    def start(self) -> None:
        """Count, and be ready."""
        self.restarts += 1

    def measure(self, session: str, schedule: Schedule, images: int | None = None) -> Iterator[Progress | Measurement | None]:
        """Two batches, after a word of progress."""
        self.measured.append(schedule)
        if self.error:
            raise self.error
        yield Progress("Measuring the baseline")
        yield None
        delta = 0.0 if schedule.is_baseline else -3.2
        yield message(500, 1000, 85.0 + delta, delta)
        yield message(1000, 1000, 87.4 + delta, delta)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """A stand-in engine that the pages talk to."""
    fake = FakeEngine()
    monkeypatch.setattr(state, "engine_client", lambda: fake)
    return fake


@pytest.fixture(scope="session")
def engine_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the engines of this test run."""
    return tmp_path_factory.mktemp("engines")


@pytest.fixture(scope="session")
def real_engine(engine_root: Path) -> Iterator[EngineClient]:
    """A running engine on the demo with random weights; ended afterwards."""
    client = EngineClient(SMALL_ENGINE, engine_root)
    client.start()
    yield client
    client.stop()


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium, from CHROMIUM or the usual names; skips where there is none."""
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _CHROMIUM_NAMES)), None)
    if not found:
        pytest.skip(f"no browser: set CHROMIUM or install one of {', '.join(_CHROMIUM_NAMES)}")
    return found


@pytest.fixture
def evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    """Options of a store with the baseline, DRAFT on all images, and an older evaluation of DRAFT on fewer."""
    monkeypatch.setattr(evidence, "shipped_bundles", list)
    path = tmp_path / "evidence.sqlite"
    with EvidenceStore.open(path) as store:
        put_evaluation(store, DRAFT, WAS, 200)
        put_evaluation(store, Schedule.uniform(12), WAS)
        put_evaluation(store, DRAFT, LESS)
    return Setup(store=str(path)).completed()


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator:
    """One Chromium for a file of tests."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield opened
        opened.close()
