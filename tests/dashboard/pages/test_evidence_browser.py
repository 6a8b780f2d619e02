"""The evidence pages as a person meets them: a real server and browser, on made-up analyses in a store."""

import csv
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from analysis_cache.store import EvidenceStore
from dashboard.engine.client import EngineClient
from tests.support import evidence as stored
from tests.support.browsers import FLAGS, WAIT_MS
from tests.support.servers import launched

_EXPECT_MS, _PLAYWRIGHTS_OWN_MS = 120_000, 5_000


@pytest.fixture(scope="module")
def served(real_engine: EngineClient, engine_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict]]:
    """The address of a dashboard whose own store holds a sweep and a redundancy analysis, and their ids; shipped ones are there, too."""
    folder = tmp_path_factory.mktemp("evidence")
    with EvidenceStore.open(folder / "evidence.sqlite") as store:
        stored.put_sweep(store)
        stored.put_redundancy(store)
        made_up = {one.request["metric"]: one.short_id for one in store.list_analyses()}
    setup = replace(real_engine.setup, store=str(folder / "evidence.sqlite"))
    with launched(setup, engine_root, folder) as address:
        yield address, made_up
    EngineClient(setup, engine_root).stop()


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[object]:
    """One Chromium for the module."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=_EXPECT_MS)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield opened
        opened.close()
    expect.set_options(timeout=_PLAYWRIGHTS_OWN_MS)


def _open(browser: object, url: str) -> object:
    page = browser.new_page(viewport={"width": 1400, "height": 1600})
    page.set_default_timeout(WAIT_MS)
    page.goto(url)
    return page


def _save(page: object, chart: str, kind: str, folder: Path) -> bytes:
    with page.expect_download() as download:
        page.locator(f".st-key-{chart}-save").get_by_role("button", name=kind).click()
    download.value.save_as(folder / download.value.suggested_filename)
    assert download.value.suggested_filename.endswith(kind.lower())
    return (folder / download.value.suggested_filename).read_bytes()


def test_a_click_on_the_heat_map_shows_that_cell_and_the_address_keeps_it(served, browser, tmp_path):
    from playwright.sync_api import expect

    address, made_up = served
    page = _open(browser, f"{address}/sensitivity?site=qk&analysis={made_up['sensitivity']}")
    cells = page.locator(".st-key-sensitivity-heatmap .heatmaplayer .hm").first
    expect(cells).to_be_visible()
    expect(page).to_have_url(re.compile("ratio=0.5"))
    box = cells.bounding_box()
    x, y = box["x"] + box["width"] * 2.5 / 3, box["y"] + box["height"] * 7.5 / 12
    page.mouse.move(x, y)
    expect(page.locator(".st-key-sensitivity-heatmap .hoverlayer").first).to_contain_text("Block 7, 90% dropped")
    page.mouse.click(x, y)
    expect(page).to_have_url(re.compile("site=qk.*block=7&ratio=0.9"))
    expect(page.get_by_text("+0.225 nats")).to_be_visible()
    page.reload()
    expect(page.get_by_text("+0.225 nats")).to_be_visible()
    expect(page).to_have_url(re.compile("site=qk.*block=7&ratio=0.9"))
    assert _save(page, "sensitivity-heatmap", "PNG", tmp_path).startswith(b"\x89PNG")
    assert b"cannot tell apart" in _save(page, "sensitivity-heatmap", "SVG", tmp_path)
    page.get_by_text("As a table").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as CSV").click()
    rows = list(csv.DictReader(download.value.path().read_text().splitlines()))
    assert len(rows) == 36 and rows[2]["Reading"] == "worse"
    assert page.get_by_test_id("stException").count() == 0


def test_redundancy_is_steered_by_the_keyboard(served, browser, tmp_path):
    from playwright.sync_api import expect

    address, made_up = served
    page = _open(browser, f"{address}/redundancy?analysis={made_up['redundancy']}")
    expect(page.locator(".st-key-redundancy-blocks .js-plotly-plot").first).to_be_visible()
    slider = page.get_by_role("slider", name="Rebuilt from the rest")
    slider.focus()
    slider.press("ArrowLeft")
    expect(page.get_by_text("With 25% of the channels dropped")).to_be_visible()
    expect(page).to_have_url(re.compile("dropped=0.25"))
    assert b"25% dropped" in _save(page, "redundancy-blocks", "SVG", tmp_path)
    assert page.get_by_test_id("stException").count() == 0


def test_the_overview_has_the_evidence_and_leads_to_it(served, browser):
    from playwright.sync_api import expect

    page = _open(browser, served[0])
    expect(page.get_by_text(re.compile(r"\d+ of 48 sites of blocks stand 50 % or more"))).to_be_visible()
    page.get_by_role("link", name="All cells, with intervals").click()
    expect(page.get_by_role("heading", name="Sensitivity")).to_be_visible()
    expect(page.get_by_text("this dashboard runs random ones")).to_be_visible()
    assert page.get_by_test_id("stException").count() == 0
