"""What every page owes its visitor, in a real browser: links and files that reproduce a view, the keyboard alone, dark colours, a phone's
width, names shown as text, nothing fetched from outside, and runs that go on over a reload."""

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from analysis_cache.store import EvidenceStore
from dashboard.engine.client import EngineClient
from dashboard.navigation import pages
from dashboard.session.link import decode_schedule, encode_schedule
from tests.support import evidence as stored
from tests.support.browsers import FLAGS, WAIT_MS
from tests.support.servers import launched
from toast_core.schedule.schedule import BlockSchedule, Schedule
from toast_core.setup import Setup

_PLAYWRIGHTS_OWN_MS = 5_000
_LEAST_CONTRAST = 4.5  # WCAG 2.2, AA, text of normal size
# A folder's name cannot hold a slash; these would run a script, load a picture, start a link or a heading.
_HOSTILE = ("<img src=x onerror=alert(1)>", "![picture](planted)", "[link](planted)", "**bold**", "# head", ":red[ink]", "$x$")
_LABEL = "<img src=x onerror=alert(2)> ![picture](planted)"
_SCHEDULE = Schedule(
    tuple(BlockSchedule(0.25, 0.5 if block == 4 else 0.0, 0.0, 0.1 * (block % 3)) for block in range(12)), selection="calibrated"
)
# What a visitor came for, by its role and name; the last of them appears when the page is complete.
_CONTROLS = {
    "overview": ("button", "Tune"), "redundancy": ("heading", "Redundancy"),
    "sensitivity": ("button", re.compile(r"Put block \d+ fc2 [\d.]+ % into the schedule")),
    "tune": ("slider", "block 0, qk"), "compare": ("combobox", "Candidate"), "deliver": ("button", "Write and check"),
    "runs": ("button", "Start"),
}
# The contrast of an element's text with what lies behind it, from its computed colours, blended where they are translucent.
_CONTRAST = """element => {
  const parse = (text) => { const part = text.match(/[\\d.]+/g).map(Number); return [...part.slice(0, 3), part[3] ?? 1]; };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
  const layers = [];
  for (let at = element; at; at = at.parentElement) layers.unshift(parse(getComputedStyle(at).backgroundColor));
  const behind = layers.reduce((below, layer) => over(layer, below), [255, 255, 255]);
  const linear = (part) => { const share = part / 255; return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4; };
  const light = (colour) => 0.2126 * linear(colour[0]) + 0.7152 * linear(colour[1]) + 0.0722 * linear(colour[2]);
  const [red, green, blue, solid] = parse(getComputedStyle(element).color);
  let opacity = solid;
  for (let at = element; at; at = at.parentElement) opacity *= Number(getComputedStyle(at).opacity);
  const [a, b] = [light(over([red, green, blue, opacity], behind)), light(behind)];
  return { contrast: (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), behind: b };
}"""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineClient]:
    """An engine with random weights on a folder whose classes have hostile names, and a store with a hostile label."""
    folder, store = tmp_path_factory.mktemp("images"), tmp_path_factory.mktemp("store") / "evidence.sqlite"
    for place, name in enumerate((*_HOSTILE, "seven", "eight", "nine")):
        (folder / name).mkdir()
        for number, pixels in enumerate(np.random.default_rng(place).integers(0, 256, (8, 28, 28), np.uint8)):
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    with EvidenceStore.open(store) as opened:
        analysis = stored.put_sweep(opened)
        opened.put_analysis(replace(analysis, label=_LABEL))
    options = Setup(
        "demo_vit", "random", data=str(folder), calibration=str(folder), store=str(store), images=75, batch_size=25, calibration_images=50
    )
    found = EngineClient(options, tmp_path_factory.mktemp("root"))
    found.start()
    yield found
    found.stop()


@pytest.fixture(scope="module")
def address(client: EngineClient) -> Iterator[str]:
    """The address of a dashboard on that engine; stopped as Ctrl-C does."""
    root = client.folder.parent
    with launched(client.setup, root, root) as found:
        yield found


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[object]:
    """One Chromium for the module; expectations wait as long as a loaded machine needs."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield opened
        opened.close()
    expect.set_options(timeout=_PLAYWRIGHTS_OWN_MS)


@pytest.mark.parametrize(("scheme", "width"), [("dark", 1400), ("light", 360)])
def test_every_page_is_whole_readable_and_keeps_to_itself(address, browser, scheme, width):
    from playwright.sync_api import expect

    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    asked, dialogs, problems = [], [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda socket: asked.append(socket.url.replace("ws:", "http:", 1)))
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    for name in pages():
        page.goto(f"{address}/{'' if name == 'overview' else name}?schedule={encode_schedule(_SCHEDULE)}")
        expect(page.get_by_role("heading").first).to_be_visible()
        role, label = _CONTROLS[name]
        control = page.get_by_role(role, name=label, exact=True).first
        expect(control).to_be_visible()
        if name == "overview":
            expect(page.get_by_text("nine")).to_be_visible()  # the last class: the engine's part of the page is there
        wide = page.evaluate("document.documentElement.scrollWidth")
        main = page.get_by_test_id("stMain").evaluate("element => element.scrollWidth - element.clientWidth")
        box = control.bounding_box()
        texts = page.locator("h1, h2, h3, [data-testid=stCaptionContainer] p").all()
        read = [one.evaluate(_CONTRAST) | {"text": one.inner_text()} for one in texts if one.is_visible()]
        found = {
            "is wider than the window": wide > width or main > 0,
            f"shows {label} outside the window": box["x"] < 0 or box["x"] + box["width"] > width,
            "shows an exception": page.get_by_test_id("stException").count() or page.get_by_text("Traceback").count(),
            "has no text to read": not read,
            f"has pale text: {[one for one in read if one['contrast'] < _LEAST_CONTRAST]}":
                any(one["contrast"] < _LEAST_CONTRAST for one in read),
            f"is not {scheme}": any((one["behind"] < 0.1) != (scheme == "dark") for one in read),
            "made an element of a name": page.locator("img[onerror], img[src*=planted], a[href*=planted], img[src=x]").count(),
        }
        problems += [f"{name} {what}" for what, wrong in found.items() if wrong]
    page.close()
    assert problems == []
    assert dialogs == []
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []


def test_hostile_names_are_read_as_they_are_written(address, browser):
    from playwright.sync_api import expect

    page = browser.new_page()
    page.goto(address)
    classes = page.get_by_text("10: ")
    expect(classes).to_be_visible()
    for name in _HOSTILE:
        expect(classes).to_contain_text(name)
    option = page.get_by_role("option").filter(has_text=_LABEL)
    for _ in range(10):  # a page that is drawn anew closes the list
        page.get_by_test_id("stSelectbox").locator("input").last.press("ArrowDown")  # the engine's own map may stand before it
        page.wait_for_timeout(1000)
        if option.count():
            break
    expect(option).to_be_visible()
    page.close()


def test_keys_alone_tune_and_a_link_and_a_file_bring_the_schedule_back(address, browser, tmp_path):
    from playwright.sync_api import expect

    mine, yours = browser.new_context(viewport={"width": 1400, "height": 900}), browser.new_context()
    page = mine.new_page()
    page.goto(f"{address}/tune?schedule={encode_schedule(_SCHEDULE)}")
    expect(page.get_by_text("Measured on 75 images")).to_be_visible()
    expect(page.get_by_role("slider", name="block 0, qk", exact=True)).to_be_visible()
    here = page.locator("[role=slider]:focus")
    for _ in range(60):
        page.keyboard.press("Tab")
        if here.count() and (here.get_attribute("aria-label") or "").startswith("block"):
            break
    expect(here).to_have_attribute("aria-label", "block 0, qk")
    for key in ("ArrowRight", "ArrowRight", "PageUp"):
        page.keyboard.press(key)
    expect(here).to_have_attribute("aria-label", "block 2, qk")
    expect(page.get_by_role("button", name="Draft 1")).to_be_visible()
    expect(page.get_by_text("Measured on 75 images")).to_be_visible()
    expect(here).to_have_count(1)  # the rerun has not taken the focus away
    tuned = decode_schedule(re.search(r"schedule=([^&]+)", page.url)[1])
    assert tuned.blocks[2].qk > 0.25 and tuned == _SCHEDULE.with_ratio(2, "qk", tuned.blocks[2].qk)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download schedule").press("Enter")
    download.value.save_as(tmp_path / "schedule.json")
    assert Schedule.from_json((tmp_path / "schedule.json").read_text()) == tuned

    other = yours.new_page()
    other.goto(page.url)
    bar = other.get_by_role("slider", name="block 2, qk")
    expect(bar).to_have_attribute("aria-valuenow", re.compile(f"^{100 * tuned.blocks[2].qk:g}"))
    expect(other.locator(".total.macs .figure")).to_have_text(page.locator(".total.macs .figure").inner_text())
    other.get_by_role("button", name="Set fc2").click()
    expect(other).not_to_have_url(re.compile(f"schedule={encode_schedule(tuned)}"))
    other.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(tmp_path / "schedule.json")
    expect(other).to_have_url(re.compile(f"schedule={encode_schedule(tuned)}"))

    asked = f"analysis={stored.sweep().id[:16]}&site=qk&metric=kl&block=7&ratio=0.9"
    page.goto(f"{address}/sensitivity?{asked}&schedule={encode_schedule(tuned)}")
    expect(page.get_by_text("+0.225 nats")).to_be_visible()
    expect(page).to_have_url(re.compile("selection="))
    other.goto(page.url)
    expect(other.get_by_text("+0.225 nats")).to_be_visible()
    assert other.url == page.url and "block=7" in page.url and encode_schedule(tuned) in page.url
    assert page.get_by_test_id("stException").count() == other.get_by_test_id("stException").count() == 0
    mine.close()
    yours.close()
