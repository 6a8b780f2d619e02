"""A run as a person meets it: priced, started, seen again after a reload and by a second browser, paused, finished, opened."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dashboard.engine.client import STATE_VARIABLE, EngineClient
from dashboard.session.link import encode_schedule
from tests.support.browsers import FLAGS, WAIT_MS
from toast_core.loading import load_model
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a demo dashboard with an engine and a store of its own; both are ended afterwards."""
    root, store = tmp_path_factory.mktemp("root"), str(tmp_path_factory.mktemp("store") / "evidence.sqlite")
    environment = {**os.environ, STATE_VARIABLE: str(root), "PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.Popen(
        [sys.executable, "-m", "toast_core", "demo", "--headless", "--store", store], env=environment, cwd=root, text=True,
        stderr=subprocess.PIPE,
    )
    lines = iter(process.stderr.readline, "")
    yield next(found[0] for line in lines if (found := re.search(r"http://127\.0\.0\.1:\d+", line)))
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    EngineClient(Setup(store=store), root).stop()


def test_a_run_from_its_price_to_its_figures(address, chromium):
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1400, "height": 1400})
        page.goto(f"{address}/runs")
        expect(page.get_by_text("No run yet")).to_be_visible(timeout=WAIT_MS)
        images = page.get_by_test_id("stNumberInputField").first
        expect(images).to_be_visible(timeout=WAIT_MS)
        images.fill("64")
        images.press("Tab")
        price = page.get_by_text("36 cells \N{MULTIPLICATION SIGN} 64 images")
        expect(price).to_be_visible(timeout=WAIT_MS)
        page.get_by_role("button", name="Start", exact=True).press("Enter")
        row = page.get_by_text("Run 1: sensitivity of fc2 at 3 ratios")
        expect(row).to_be_visible(timeout=WAIT_MS)
        page.reload()
        expect(row).to_be_visible(timeout=WAIT_MS)
        page.get_by_role("button", name="Pause").press("Enter")
        other = browser.new_page()
        other.goto(f"{address}/runs")
        expect(other.get_by_role("button", name="Resume")).to_be_visible(timeout=WAIT_MS)
        other.get_by_role("button", name="Resume").click()
        expect(page.get_by_text("36 cells measured")).to_be_visible(timeout=WAIT_MS)
        images.fill("64")
        images.press("Tab")
        expect(page.get_by_text("all stored already")).to_be_visible(timeout=WAIT_MS)
        page.get_by_role("button", name="Open the analysis").click()
        expect(page.get_by_role("heading", name="Sensitivity")).to_be_visible(timeout=WAIT_MS)
        chosen = page.get_by_test_id("stSelectbox").first.locator("input")
        expect(chosen).to_have_value(re.compile("64 images, exact, calibrated, your store"), timeout=WAIT_MS)
        assert page.get_by_test_id("stException").count() == 0
        browser.close()


def test_a_recovery_from_its_form_to_its_model(address, chromium, tmp_path):
    from playwright.sync_api import expect, sync_playwright

    code = encode_schedule(Schedule.uniform(12, fc2=0.5, selection="calibrated"))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1400, "height": 1400})
        page.goto(f"{address}/runs?schedule={code}")
        page.get_by_text("Recovery", exact=True).click(timeout=WAIT_MS)
        for name, value in (("Training images", "80"), ("Epochs", "1"), ("Images a step", "24"), ("Measured on", "50")):
            field = page.get_by_role("spinbutton", name=name)
            expect(field).to_be_visible(timeout=WAIT_MS)
            field.fill(value)
            field.press("Tab")
        expect(page.get_by_text("1 epoch \N{MULTIPLICATION SIGN} 80 images")).to_be_visible(timeout=WAIT_MS)
        page.get_by_role("button", name="Start", exact=True).press("Enter")
        expect(page.get_by_text(re.compile(r"top-1 [\d.]+ % of 50 images .*validation top-1 [\d.]+ . [\d.]+ % of 8 images"))).to_be_visible(
            timeout=WAIT_MS
        )
        if not page.get_by_role("switch", name="Epochs").is_checked():  # it is on where the page saw the run run
            page.get_by_text("Epochs", exact=True).last.click()
        expect(page.get_by_text("Of 8 validation images, %")).to_be_visible(timeout=WAIT_MS)
        expect(page.get_by_text("On 50 images that it did not learn from: top-1")).to_be_visible()
        with page.expect_download(timeout=WAIT_MS) as saved:
            page.get_by_role("button", name="Download model").click()
        saved.value.save_as(tmp_path / "recovered.safetensors")
        assert load_model(weights=tmp_path / "recovered.safetensors").toast_info.schedule.ratios("fc2") == (0.5,) * 12
        assert page.get_by_test_id("stException").count() == 0
        browser.close()
