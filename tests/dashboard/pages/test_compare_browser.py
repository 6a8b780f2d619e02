"""Drafts and the Compare page as a person meets them: a real server, restarted, and two real browsers."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from dashboard.engine.client import EngineClient
from tests.support.browsers import FLAGS, WAIT_MS
from tests.support.servers import launched

_OF_AN_EDIT = re.compile("(worse than|better than|cannot tell apart from) the baseline")  # what is said of a baseline is another


@contextmanager
def dashboard(engine: EngineClient, root: Path, folder: Path, port: int) -> Iterator[str]:
    """A served dashboard; stopped as Ctrl-C does."""
    setup = replace(engine.setup, store=str(folder / "evidence.sqlite"))
    with launched(setup, root, folder, str(port)) as address:
        yield address
    EngineClient(setup, root).stop()


def test_a_draft_outlives_a_restart_belongs_to_one_browser_and_is_compared(
    real_engine: EngineClient, engine_root: Path, tmp_path: Path, chromium: str, free_port: int
):
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        mine, yours = browser.new_context(viewport={"width": 1400, "height": 900}), browser.new_context()
        with dashboard(real_engine, engine_root, tmp_path, free_port) as address:
            page = mine.new_page()
            page.goto(f"{address}/tune")
            expect(page.get_by_text("Measured on 75 images")).to_be_visible(timeout=WAIT_MS)
            page.get_by_role("slider", name="block 10, fc2").press("PageUp")
            page.get_by_role("slider", name="block 10, fc2").press("PageUp")
            draft = page.get_by_role("button", name="Draft 1")
            expect(draft).to_be_visible(timeout=WAIT_MS)
            expect(page.get_by_text(_OF_AN_EDIT)).to_be_visible(timeout=WAIT_MS)
            expect(page.get_by_text("Measured on 75 images")).to_be_visible(timeout=WAIT_MS)
            assert [cookie["httpOnly"] for cookie in mine.cookies() if cookie["name"] == "toast_owner"] == [True]
        with dashboard(real_engine, engine_root, tmp_path, free_port) as address:
            page = mine.new_page()
            page.goto(f"{address}/tune")
            bar = page.get_by_role("slider", name="block 10, fc2")
            expect(bar).to_have_attribute("aria-valuenow", "20", timeout=WAIT_MS)
            expect(page.get_by_role("button", name="Undo").first).to_be_enabled(timeout=WAIT_MS)
            other = yours.new_page()
            other.goto(f"{address}/tune")
            expect(other.get_by_role("slider", name="block 10, fc2")).to_have_attribute("aria-valuenow", "0", timeout=WAIT_MS)
            expect(other.get_by_role("button", name="Not a draft yet: Baseline")).to_be_visible(timeout=WAIT_MS)
            page.goto(f"{address}/compare")
            expect(page.get_by_text("Draft 1 against Baseline, block by block")).to_be_visible(timeout=WAIT_MS)
            expect(page.locator(".st-key-compare-front .js-plotly-plot").first).to_be_visible(timeout=WAIT_MS)
            assert "candidate=draft-" in page.url and "reference=baseline" in page.url
            with page.expect_download() as download:
                page.locator(".st-key-compare-front-save").get_by_role("button", name="SVG").click()
            assert b"Draft 1" in download.value.path().read_bytes()
            assert page.get_by_test_id("stException").count() == 0
        browser.close()


@pytest.fixture
def free_port() -> int:
    """A port that nothing listens on, the same for both servers."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
