"""What the dashboard's tests share: a stand-in for the engine, a real engine, and a real browser."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis_cache.store import EvidenceStore
from dashboard.engine.client import EngineClient
from dashboard.evidence import find as evidence
from dashboard.session import state
from tests.support.browsers import FLAGS
from tests.support.deliveries import DeliverEngine
from tests.support.engines import SMALL_ENGINE, FakeEngine
from tests.support.evaluations import DRAFT, LESS, WAS, put_evaluation
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup

_CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")


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


@pytest.fixture
def deliver_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> DeliverEngine:
    """A stand-in with a store and a folder, that the pages talk to."""
    fake = DeliverEngine(tmp_path)
    monkeypatch.setattr(state, "engine_client", lambda: fake)
    return fake
