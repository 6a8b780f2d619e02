"""From a schedule to an ONNX file and a report, in a real browser with a real engine."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dashboard.engine.client import EngineClient
from dashboard.session.link import encode_schedule
from tests.support.browsers import FLAGS, WAIT_MS
from tests.support.engines import SMALL_ENGINE
from tests.support.servers import launched
from toast_core.schedule.schedule import Schedule

SCHEDULE = Schedule.uniform(12, fc2=0.5, selection="calibrated")


@pytest.mark.export
def test_onnx_and_the_report_are_downloaded(chromium, tmp_path):
    from playwright.sync_api import expect, sync_playwright

    options = replace(SMALL_ENGINE, store=str(tmp_path / "store.sqlite"))
    client = EngineClient(options, tmp_path / "root")
    try:
        with launched(options, tmp_path / "root", tmp_path) as address, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
            page = browser.new_page(viewport={"width": 1400, "height": 1400})
            page.set_default_timeout(WAIT_MS)
            expect.set_options(timeout=WAIT_MS)

            def downloaded(name: str) -> Path:
                with page.expect_download() as started:
                    page.get_by_role("button", name=name).click()
                place = tmp_path / started.value.suggested_filename
                started.value.save_as(place)
                return place

            page.goto(f"{address}/apply?model=demo_vit&selection=calibrated&schedule={encode_schedule(SCHEDULE)}")  # as it was called
            expect(page.get_by_role("heading", name="Deliver")).to_be_visible()
            assert "/deliver" in page.evaluate("location.pathname")
            expect(page.get_by_text("Fixed channels: cannot depend on the batch")).to_be_visible()
            images = page.get_by_role("spinbutton", name="Images, of 10,000")
            images.fill("40")
            images.press("Tab")
            expect(page.get_by_text("40 images", exact=False).first).to_be_visible()
            page.get_by_role("button", name="Write and check").click()
            expect(page.get_by_role("button", name="Download model")).to_be_visible()
            page.get_by_role("button", name="Make .onnx").click()
            expect(page.get_by_role("button", name="Download .onnx")).to_be_visible()
            onnx, report = downloaded("Download .onnx"), downloaded("Report (HTML)")
            page.goto(f"{address}/runs")
            page.get_by_role("button", name="Open the analysis").first.click()
            expect(page.get_by_role("heading", name="Deliver")).to_be_visible()
            browser.close()
        import onnxruntime

        session = onnxruntime.InferenceSession(str(onnx))
        assert session.run(None, {"images": np.zeros((2, 1, 28, 28), np.float32)})[0].shape == (2, 10)
        said = report.read_text()
        assert "fewer operations per image" in said and onnx.name in said and "onnxruntime.InferenceSession" in said
        assert SCHEDULE.digest() in said and "fashion-mnist" in said
    finally:
        client.stop()
