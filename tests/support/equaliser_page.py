"""The equaliser alone on a page of a real browser, without a server, as Streamlit would mount it."""

from pathlib import Path

import pytest

from dashboard.engine.client import shipped_shape
from dashboard.equaliser.mount import Stored, equaliser_data
from dashboard.equaliser.script import file_text, script, section
from dashboard.evidence.curves import StoredCurves
from dashboard.evidence.latency import StoredLatency
from dashboard.session.inbox import EditorState
from tests.support.evaluations import CURVES, VIT
from toast_core.schedule.schedule import Schedule

SWIN = shipped_shape("demo_swin")
FRESH = EditorState()
STORED = StoredCurves(CURVES)
NONE_STORED = StoredCurves(None, "no sensitivity curves stored; run: toast analyze")

_ORIGIN = "http://equaliser.test"  # never asked: every request is answered here
_MOUNT = """async ({ source, css }) => {
  document.body.innerHTML = `<style>${css}</style><div class="figures"></div><div id="host"><div class="equaliser"></div></div>`;
  globalThis[Symbol.for("toast.figures")] = document.querySelector(".figures");
  const module = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  window.posts = [];
  window.sent = []; // without what was only sent again
  window.show = (data) => module.default({
    data, parentElement: document.getElementById("host"), setTriggerValue: (name, value) => {
      posts.push(structuredClone(value));
      if (JSON.stringify(value) !== JSON.stringify(sent.at(-1))) sent.push(structuredClone(value));
    },
  });
}"""
TOTALS = """(cases) => cases.map((data) => {
  show({ ...data, counted: null });
  const { exact, params } = document.querySelector(".total.macs").dataset;
  return [Number(exact), Number(params)];
})"""


def open_desk(browser, data: dict | None = None, width: int = 1000, **context):
    """A page with the equaliser alone, mounted as Streamlit mounts it; `window.sent` collects what it sends."""
    page = browser.new_context(viewport={"width": width, "height": 900}, **context).new_page()
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    page.evaluate(_MOUNT, {"source": script(), "css": file_text("equaliser.css") + file_text("figures.css")})
    page.evaluate("(data) => show(data)", data or data_of(Schedule.uniform(12, selection="calibrated")))
    return page


def open_sections(browser):
    """A page that can import each section of the script by its file name, as it is written: `import("./counts.js")`."""
    page = browser.new_context().new_page()
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    page.route(f"{_ORIGIN}/*.js", lambda route: route.fulfill(
        body=section(Path(route.request.url).stem), content_type="text/javascript; charset=utf-8",
    ))
    page.route(f"{_ORIGIN}/", lambda route: route.fulfill(body="<!doctype html>", content_type="text/html"))
    page.goto(f"{_ORIGIN}/")
    return page


def data_of(
    schedule: Schedule, shape=VIT, limits=None, editor: EditorState = FRESH, stored: StoredCurves = STORED, ghost=None, table=None, map=None
) -> dict:
    """What Python sends."""
    known = Stored(stored, map, "fashion-mnist:calibration", StoredLatency(table, "no latency table stored"), ghost)
    return equaliser_data(shape, schedule, limits or {}, editor, known)


def bar(page, site: str, block: int):
    """One slider."""
    return page.locator(f".track[data-site='{site}'][data-block='{block}']")


def attributes(slider, *names: str) -> list[str]:
    """What a screen reader is told."""
    return [slider.get_attribute(f"aria-{name}") for name in names]


def ratios_sent(page) -> dict:
    """The ratios of the newest edit."""
    page.wait_for_function("sent.length && sent.at(-1).some((message) => message.ratios)")
    return page.evaluate("sent.at(-1).findLast((message) => message.ratios).ratios")


def text_of(page, name: str) -> str:
    """The figure of a total."""
    return page.locator(f".total.{name} .figure").inner_text()
