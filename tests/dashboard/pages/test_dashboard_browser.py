"""The dashboard as a person meets it: a real server, engine and browser."""

import base64
import os
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from dashboard.engine.client import EngineClient
from dashboard.session.link import encode_schedule
from tests.support.browsers import FLAGS, WAIT_MS
from tests.support.servers import launched
from toast_core.schedule.compensation import FULL
from toast_core.schedule.schedule import Schedule

_MOST_DRAGS = 5


@pytest.fixture(scope="module")
def address(real_engine: EngineClient, engine_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a dashboard that was launched from another folder; stopped as Ctrl-C does."""
    with launched(real_engine.setup, engine_root, tmp_path_factory.mktemp("elsewhere")) as found:
        yield found


def test_a_link_to_a_page_is_answered_by_a_server_that_has_shown_no_other(address, chromium):
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        page = browser.new_page()
        page.goto(f"{address}/tune")
        expect(page.get_by_role("heading", name="Tune")).to_be_visible(timeout=WAIT_MS)
        browser.close()


def test_from_overview_to_a_measured_schedule_in_a_file(address, chromium, tmp_path):
    from playwright.sync_api import expect, sync_playwright

    asked = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1400, "height": 1400})
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        expect(page.get_by_text("GMACs by part")).to_be_visible(timeout=WAIT_MS)
        expect(page.locator(".js-plotly-plot").first).to_be_visible(timeout=WAIT_MS)
        page.get_by_test_id("stButton").get_by_role("button", name="Tune").click()
        expect(page.get_by_text("Measured on 75 images")).to_be_visible(timeout=WAIT_MS)
        expect(page.get_by_text("Sketching sensitivity")).to_have_count(0, timeout=WAIT_MS)  # the page is drawn anew as the map comes
        cost = page.locator(".total.macs .figure")
        expect(cost).to_have_text("0.0722")
        slider = page.get_by_role("slider", name="block 10, fc2")
        for _ in range(3):
            slider.press("PageUp")
        expect(cost).to_have_text("0.0711", timeout=WAIT_MS)
        expect(page.get_by_role("button", name="Undo").first).to_be_enabled(timeout=WAIT_MS)
        expect(page.get_by_text("Measured on 75 images")).to_be_visible(timeout=WAIT_MS)
        wanted = Schedule.uniform(12, selection="calibrated", compensation=FULL).with_ratio(10, "fc2", 0.3)
        # three presses can be three edits: the last one has arrived once the address has it
        page.wait_for_url(lambda url: encode_schedule(wanted) in url, timeout=WAIT_MS)
        expect(page.get_by_test_id("stStatusWidget")).to_have_count(0, timeout=WAIT_MS)  # the button has it once the page is drawn
        with page.expect_download() as download:
            page.get_by_role("button", name="Download schedule").click()
        download.value.save_as(tmp_path / "schedule.json")
        assert Schedule.from_json((tmp_path / "schedule.json").read_text()) == wanted
        again = browser.new_page()
        again.goto(page.url)
        expect(again.locator(".total.macs .figure")).to_have_text("0.0711", timeout=WAIT_MS)
        assert page.get_by_test_id("stException").count() == 0
        browser.close()
    assert not [url for url in asked if not url.startswith((address, "data:", "blob:"))]


def test_the_desk_in_a_session_drags_locks_links_and_undoes(address, chromium):
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.goto(f"{address}/tune")
        expect(page.get_by_text("Measured on 75 images")).to_be_visible(timeout=WAIT_MS)
        expect(page.locator(".total.top1")).to_have_attribute("data-state", "measured", timeout=WAIT_MS)
        expect(page.locator(".keys")).to_be_in_viewport()
        names = ("block 2, fc2", "block 3, fc2", "block 4, qk", "block 4, vo")
        bars = {name: page.get_by_role("slider", name=name, exact=True) for name in names}
        undo = page.get_by_role("button", name="Undo").first
        _drag(page, bars["block 2, fc2"], 0.5)
        expect(undo).to_be_enabled(timeout=WAIT_MS)
        first = page.locator(".total.macs .figure").inner_text()
        # the second drag comes while the first is being measured, and takes over
        _drag(page, bars["block 3, fc2"], 0.3)
        page.get_by_role("button", name="Link qk and vo").click()
        bars["block 4, qk"].press("PageUp")
        expect(bars["block 4, vo"]).to_have_attribute("aria-valuenow", "10")
        bars["block 2, fc2"].press("l")
        page.get_by_role("button", name="Set fc2").click()
        expect(page.get_by_text("held back 1 of the changes")).to_be_visible(timeout=WAIT_MS)
        expect(bars["block 3, fc2"]).to_have_attribute("aria-valuenow", "30", timeout=WAIT_MS)
        assert 45 < float(bars["block 2, fc2"].get_attribute("aria-valuenow")) < 55
        for _ in range(3):
            bars["block 2, fc2"].press("Control+z")
        expect(page.locator(".total.macs .figure")).to_have_text(first, timeout=WAIT_MS)
        expect(bars["block 4, vo"]).to_have_attribute("aria-valuenow", "0")
        undo.click()
        expect(page.locator(".total.macs .figure")).to_have_text("0.0722", timeout=WAIT_MS)
        expect(undo).to_be_disabled(timeout=WAIT_MS)
        expect(page.get_by_text("Measured on 75 images")).to_be_visible(timeout=WAIT_MS)
        assert page.get_by_test_id("stException").count() == 0
        browser.close()


def _drag(page, bar, ratio: float) -> None:
    """Take a bar with the mouse to a ratio. A page that is still being put together may move the bar away: then it is taken again."""
    wanted = 100 * ratio
    for _ in range(_MOST_DRAGS):
        bar.hover()  # waits until the bar stands still, in view and uncovered
        box = bar.bounding_box()
        page.mouse.move(box["x"] + 10, box["y"] + box["height"] - 1)
        page.mouse.down()
        page.mouse.move(box["x"] + 10, box["y"] + (1 - ratio) * box["height"], steps=4)
        took = abs(float(bar.get_attribute("aria-valuenow")) - wanted) < 5
        page.mouse.up()
        if took:
            return
    raise AssertionError(f"{_MOST_DRAGS} drags did not take the bar to {wanted:.0f} %")


@pytest.mark.parametrize(("header", "value"), [("Host", "rebound.example"), ("Origin", "https://elsewhere.example")])
def test_another_sites_requests_are_refused(address, header, value):
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(urllib.request.Request(address, headers={header: value}), timeout=120)
    assert caught.value.code == 403


@pytest.mark.parametrize(("host", "origin", "status"), [
    (None, None, 101), ("rebound.example", "http://rebound.example", 403), (None, "https://elsewhere.example", 403),
])
def test_another_sites_web_socket_is_refused(address, host, origin, status):
    name, port = address.removeprefix("http://").split(":")
    key = base64.b64encode(os.urandom(16)).decode()
    request = (
        f"GET /_stcore/stream HTTP/1.1\r\nHost: {host or f'{name}:{port}'}\r\nOrigin: {origin or address}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    )
    with socket.create_connection((name, int(port)), timeout=120) as connection:
        connection.sendall(request.encode())
        assert int(connection.recv(4096).split()[1]) == status
