"""\"Fit the rest\" as a person uses it, in a real browser with a real engine on the embedded weights."""

import re

from dashboard.engine.client import EngineClient, shipped_shape
from dashboard.session.link import decode_schedule
from tests.support.browsers import FLAGS, WAIT_MS
from tests.support.servers import launched
from toast_core.cost.macs import count_cost
from toast_core.schedule.sites import SITES
from toast_core.setup import Setup


def in_hand(page):
    """The schedule in the address."""
    return decode_schedule(re.search(r"schedule=([^&]+)", page.evaluate("location.href"))[1])  # page.url comes later


def test_two_locks_a_budget_and_the_bars_move(chromium, tmp_path):
    from playwright.sync_api import expect, sync_playwright

    options = Setup("demo_vit", store=str(tmp_path / "store.sqlite"), images=75, batch_size=25, calibration_images=40).completed()
    client = EngineClient(options, tmp_path / "root")
    try:
        with launched(options, tmp_path / "root", tmp_path) as address, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
            page = browser.new_page(viewport={"width": 1400, "height": 1200})
            page.set_default_timeout(WAIT_MS)
            expect.set_options(timeout=WAIT_MS)
            page.goto(f"{address}/tune")
            measured = page.get_by_text("Measured on 75 images")
            expect(measured).to_be_visible()
            for name in ("block 4, fc2", "block 7, qk"):
                page.get_by_role("slider", name=name, exact=True).focus()
                page.keyboard.press("l")
            expect(page.locator(".equaliser")).to_have_attribute("aria-busy", "false")  # the server knows of the locks
            budget = page.locator(".st-key-budget-reduction input")
            budget.fill("30")
            budget.press("Enter")
            page.get_by_role("button", name="Fit the rest").click()
            expect(page.get_by_text("Next-best edits")).to_be_visible()
            fitted = in_hand(page)
            shape = shipped_shape("demo_vit")
            assert 0.68 < count_cost(shape, fitted).macs / count_cost(shape).macs <= 0.7, "what was typed, though the click came at once"
            assert fitted.blocks[4].fc2 == 0 and fitted.blocks[7].qk == 0, "locked"
            bar = page.get_by_role("slider", name="block 6, fc2", exact=True)
            expect(bar).to_have_attribute("aria-valuenow", re.compile(f"^{100 * fitted.blocks[6].fc2:.3g}"))
            expect(measured).to_be_visible()
            expect(page.get_by_text("Top-1 vs baseline")).to_be_visible()
            page.get_by_text("Next-best edits").click()
            page.locator(".st-key-edit-drop-0 button").click()
            expect(page.get_by_text("Next-best edits")).to_have_count(0)  # they were of the schedule before
            edited = in_hand(page)
            changed = [(block, site) for site in SITES for block in range(12) if edited.ratios(site)[block] != fitted.ratios(site)[block]]
            assert len(changed) == 1
            for _ in range(2):
                page.get_by_role("button", name="Undo").first.click()
                page.wait_for_timeout(500)
            expect(bar).to_have_attribute("aria-valuenow", re.compile("^0"))
            browser.close()
    finally:
        client.stop()
