"""A model that was never seen, an empty store, and a page that nobody touches: the equaliser gets its colours by itself."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis_cache.database import STORE_VARIABLE
from dashboard.engine.client import STATE_VARIABLE, EngineClient
from tests.support.browsers import FLAGS, WAIT_MS
from tests.support.servers import LAUNCH
from toast_core.setup import Setup

SETUP = Setup("demo_vit", "random", images=25, batch_size=25, calibration_images=50).completed()


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """The address of a dashboard whose engine is still to be started; both are ended afterwards."""
    environment = {
        **os.environ, STATE_VARIABLE: str(tmp_path), STORE_VARIABLE: str(tmp_path / "evidence.sqlite"),
        "PYTHONPATH": str(Path(__file__).parents[3]),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCH, SETUP.to_json()], env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    lines = iter(process.stderr.readline, "")
    yield next(found[0] for line in lines if (found := re.search(r"http://127\.0\.0\.1:\d+", line)))
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
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
        whole = re.compile(r"from \d+ images of fashion-mnist:calibration, 2 directions each; calibrated by \d+ measured cells a site")
        expect(page.get_by_text(whole)).to_be_visible(timeout=WAIT_MS)
        expect(page.locator(".track.unmeasured")).to_have_count(0)
        expect(page.get_by_text("Sketching sensitivity")).to_have_count(0, timeout=WAIT_MS)
        bar = page.get_by_role("slider", name="block 3, fc2", exact=True)
        bar.press("PageUp")
        expect(bar).to_have_attribute("aria-valuetext", re.compile(r"10 % dropped, .* KL .* nats"))
        expect(page.get_by_text("Measured on 25 images")).to_be_visible(timeout=WAIT_MS)
        assert page.evaluate("window.untouched") and page.get_by_test_id("stException").count() == 0
        browser.close()
