"""A model that was never seen, an empty store, and a page that nobody touches: the equaliser gets its colours by itself."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis_cache.database import STORE_VARIABLE
from dashboard.engine.client import EngineClient
from tests.support.browsers import FLAGS, WAIT_MS
from tests.support.servers import launched
from toast_core.setup import Setup

SETUP = Setup("demo_vit", "random", images=25, batch_size=25, calibration_images=50).completed()


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """The address of a dashboard whose engine is still to be started; both are ended afterwards."""
    with launched(SETUP, tmp_path, tmp_path, **{STORE_VARIABLE: str(tmp_path / "evidence.sqlite")}) as found:
        yield found
    for folder in tmp_path.glob("engine-*"):
        client = EngineClient(SETUP, tmp_path)
        client.folder = folder
        client.stop()


def test_the_map_comes_by_itself(address, chromium):
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.goto(f"{address}/tune")
        expect(page.locator(".equaliser .track").first).to_be_visible(timeout=WAIT_MS)
        page.evaluate("window.untouched = true")
        whole = re.compile(r"from 12 images of .* calibrated by .* a site; each block refitted by itself, fc1 not")
        expect(page.get_by_text(whole)).to_be_visible(timeout=WAIT_MS)
        expect(page.locator(".track.unmeasured")).to_have_count(0)
        expect(page.get_by_text("Sketching sensitivity")).to_have_count(0, timeout=WAIT_MS)
        bar = page.get_by_role("slider", name="block 3, fc2", exact=True)
        bar.press("PageUp")
        expect(bar).to_have_attribute("aria-valuetext", re.compile(r"10 % dropped, .* KL .* nats"))
        expect(page.get_by_text("Measured on 25 images")).to_be_visible(timeout=WAIT_MS)
        assert page.evaluate("window.untouched") and page.get_by_test_id("stException").count() == 0
        browser.close()
