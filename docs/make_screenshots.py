"""Writes docs/screenshots: every page of the demo dashboard, light and dark, and two at a phone's width. Takes some minutes.

The server, its engine and its store live in a folder that is removed at the end, so the pictures show what a first visitor gets.
Needs playwright and a Chromium; CHROMIUM names another one than Debian's.
"""

import io
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

from analysis_cache.database import STORE_VARIABLE
from dashboard.engine.client import STATE_VARIABLE, EngineClient
from dashboard.navigation import pages
from dashboard.session.link import encode_schedule
from toast_core.schedule.compensation import FULL
from toast_core.schedule.schedule import BlockSchedule, Schedule
from toast_core.setup import Setup

_FOLDER = Path(__file__).with_name("screenshots")
_FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync")
_WIDE, _NARROW = {"width": 1400, "height": 900}, {"width": 360, "height": 780}
_COLOURS = 256
_WAIT_MS = 300_000
_SETTLED_MS = 1500  # figures are drawn after the page says that it is done
# Thin attention and hidden units where the shipped curves say that the demo stands it.
_SCHEDULE = Schedule(
    tuple(BlockSchedule(*((0.5, 0.5) if block > 3 else (0.0, 0.0)), 0.0, 0.6 if block > 2 else 0.0) for block in range(12)),
    selection="calibrated", compensation=FULL,
)


def main() -> None:
    """Measure what the pages are to show, then take the pictures and say how large they are."""
    _FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, _dashboard(Path(folder)) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=list(_FLAGS))
        page = browser.new_context(viewport=_WIDE).new_page()
        expect.set_options(timeout=_WAIT_MS)
        _prepare(page, address)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            for name in pages():
                _shoot(page, _address_of(address, name), f"{name}-{scheme}")
        page.emulate_media(color_scheme="light")
        page.set_viewport_size(_NARROW)
        for name in ("overview", "tune"):
            _shoot(page, _address_of(address, name), f"{name}-narrow")
        browser.close()
    total = sum(path.stat().st_size for path in _FOLDER.glob("*.png"))
    print(f"{len(list(_FOLDER.glob('*.png')))} pictures, {total / 1e6:.2f} MB, in {_FOLDER}")


@contextmanager
def _dashboard(folder: Path) -> Iterator[str]:
    """The address of a demo dashboard whose state and store are in a folder; server and engine are ended afterwards."""
    # the user's own store, so that no command line in the pictures names this folder
    os.environ[STORE_VARIABLE] = str(folder / "evidence.sqlite")
    environment = {**os.environ, STATE_VARIABLE: str(folder), "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "toast_core", "demo", "--headless"]
    process = subprocess.Popen(command, env=environment, cwd=folder, text=True, stderr=subprocess.PIPE)
    try:
        yield next(found[0] for line in process.stderr if (found := re.search(r"http://127\.0\.0\.1:\d+", line)))
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)
        EngineClient(Setup(), folder).stop()


def _prepare(page: Page, address: str) -> None:
    """Measure a uniform schedule and a compensated one, and write the latter into a file, so that the pages have something to show."""
    measured = page.get_by_text(re.compile(r"^Measured on 1,000 images"))
    uniform = Schedule.uniform(12, qk=0.3, vo=0.3, fc1=0.3, fc2=0.3, selection="calibrated")
    page.goto(f"{address}/tune?schedule={encode_schedule(uniform)}")
    expect(measured).to_be_visible()
    page.goto(f"{address}/tune?schedule={encode_schedule(_SCHEDULE)}")
    expect(measured).to_be_visible()
    expect(page.get_by_role("button", name="Draft 1")).to_be_visible()
    expect(measured).to_be_visible()
    page.goto(f"{address}/deliver")
    page.get_by_test_id("stNumberInputField").first.fill("200")
    page.get_by_test_id("stNumberInputField").first.press("Tab")
    expect(page.get_by_text("200 images").first).to_be_visible()
    page.get_by_role("button", name="Write and check", exact=True).click()
    expect(page.get_by_role("button", name="Download model")).to_be_visible()


def _address_of(address: str, name: str) -> str:
    return address if name == "overview" else f"{address}/{name}"


def _shoot(page: Page, url: str, name: str) -> None:
    """Take one picture of a page that has come to rest, with few colours: pages have few, and the repository keeps the files."""
    page.goto(url)
    expect(page.get_by_role("heading").first).to_be_visible()
    page.wait_for_timeout(_SETTLED_MS)
    expect(page.get_by_test_id("stStatusWidget")).to_have_count(0)
    page.wait_for_timeout(_SETTLED_MS)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(_COLOURS, Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE).save(_FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
