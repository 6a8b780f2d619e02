"""The bar of figures in a real browser: what the engine says past the page is shown as it comes; what was measured before turns grey."""

import json

import pytest

from dashboard.equaliser.mount import Live
from tests.support.engines import estimate, message
from tests.support.equaliser_page import bar, data_of, open_desk
from toast_core.engine.protocol import Predicted, Refusal
from toast_core.schedule.compensation import FULL
from toast_core.schedule.schedule import Schedule

pytestmark = pytest.mark.browser
BARE = Schedule.uniform(12, selection="calibrated", compensation=FULL)
EDITED = BARE.with_ratio(3, "fc2", 0.1)
KNOWN = message(1000, 1000, 91.5, 0.0)
# A server whose answers the test writes line by line; `asked` collects the bodies, `given up` those that were broken off.
_ANSWERS = """() => {
  window.asked = [];
  window.fetch = (path, { body, signal }) => {
    const lines = new TransformStream(), writer = lines.writable.getWriter(), encoder = new TextEncoder();
    const one = { path, body: JSON.parse(body), givenUp: false };
    one.say = (message) => writer.write(encoder.encode(JSON.stringify(message) + "\\n"));
    one.end = () => writer.close();
    signal?.addEventListener("abort", () => { one.givenUp = true; writer.abort(new DOMException("given up", "AbortError")); });
    asked.push(one);
    return Promise.resolve(new Response(lines.readable));
  };
}"""


def shown(page, name: str) -> tuple[str, str, str]:
    """The badge, figure and note of one of the bar's figures."""
    total = page.locator(f".total.{name}")
    return tuple(total.locator(part).text_content() for part in (".badge", ".figure", ".note"))


def say(page, *messages, number: int = -1) -> None:
    """Let the server's answer go on by these messages."""
    for one in messages:
        page.evaluate("([number, message]) => asked.at(number).say(message)", [number, json.loads(json.dumps(one.to_dict()))])
    page.wait_for_timeout(50)


@pytest.fixture
def desk(browser):
    """A page on the baseline, whose measurement the session has, before a server that answers as the test says."""
    page = open_desk(browser, _data(BARE))
    page.evaluate(_ANSWERS)
    return page


def _data(schedule: Schedule, kept=KNOWN, **values) -> dict:
    data = data_of(schedule)
    return {**data, "live": Live("a session", "", kept).data(schedule), **values}


def test_what_the_session_has_is_shown_without_asking(desk):
    assert shown(desk, "top1") == ("measured", "91.5 %", "95 %: 89.5 to 93.5 %; 1,000 images")
    assert shown(desk, "delta")[:2] == ("measured", "0.0 points") and "this is the baseline" in shown(desk, "delta")[2]
    assert desk.evaluate("asked.length") == 0


def test_a_release_is_counted_predicted_and_measured_before_the_page_has_answered(desk):
    bar(desk, "fc2", 3).press("PageUp")
    badge, figure, note = shown(desk, "top1")
    assert (badge, figure) == ("", "91.5 %") and "before this edit" in note
    assert desk.locator(".total.top1.old").count() == 1
    desk.wait_for_function("asked.length === 1")
    asked = desk.evaluate("asked[0].body")
    assert (asked["session"], asked["measure"], Schedule.from_dict(asked["schedule"])) == ("a session", True, EDITED)
    desk.evaluate("asked[0].say({ answer: 'cost', macs: 41_000_000, params: 1 })")
    say(desk, Predicted(estimate(0.01, 0.005), estimate(-0.4, 0.3), 6))
    assert shown(desk, "macs")[1] == "0.0410" and desk.locator(".total.macs").get_attribute("data-counted") == "server"
    badge, figure, note = shown(desk, "delta")
    minus = "\N{MINUS SIGN}"
    assert (badge, figure) == ("predicted", f"{minus}0.4 points") and f"95 %: {minus}0.7 to {minus}0.1" in note and "KL 0.01" in note
    say(desk, message(64, 1000, 90.0, -1.0))
    assert shown(desk, "top1")[:2] == ("measured", "90.0 %") and "64 of 1,000 images" in shown(desk, "top1")[2]
    assert desk.locator(".total.top1").get_attribute("data-state") == "measuring"
    say(desk, message(1000, 1000, 91.2, -0.3))
    assert shown(desk, "top1")[1] == "91.2 %" and desk.locator(".total.top1").get_attribute("data-state") == "measured"
    assert shown(desk, "delta")[1] == f"{minus}0.3 points" and "cannot be told from the baseline" in shown(desk, "delta")[2]


def test_the_pages_own_answer_changes_nothing_and_asks_nothing_again(desk):
    bar(desk, "fc2", 3).press("PageUp")
    desk.wait_for_function("asked.length === 1")
    say(desk, message(1000, 1000, 91.2, -0.3))
    desk.evaluate("(data) => show(data)", _data(EDITED, kept=None, seen=1))
    assert shown(desk, "top1")[1] == "91.2 %" and desk.evaluate("asked.length") == 1
    desk.evaluate("(data) => show(data)", _data(EDITED, kept=message(1000, 1000, 91.2, -0.3), seen=1))
    assert shown(desk, "top1")[1] == "91.2 %" and desk.evaluate("asked.length") == 1


def test_a_newer_edit_gives_up_the_older_question(desk):
    for _ in range(2):
        bar(desk, "fc2", 3).press("PageUp")
        desk.wait_for_timeout(400)
    assert desk.evaluate("asked.map((one) => one.givenUp)") == [True, False]
    say(desk, message(64, 1000, 80.0, -11.0))
    assert shown(desk, "top1")[1] == "80.0 %"


def test_undo_shows_what_the_session_has(desk):
    bar(desk, "fc2", 3).press("PageUp")
    desk.wait_for_function("asked.length === 1")
    desk.evaluate("(data) => show(data)", _data(BARE, seen=1))
    assert shown(desk, "top1")[:2] == ("measured", "91.5 %") and desk.evaluate("asked[0].givenUp")


def test_what_stands_in_the_way_is_said(desk):
    bar(desk, "fc2", 3).press("PageUp")
    desk.wait_for_function("asked.length === 1")
    say(desk, Refusal("the engine went away; measure again"))
    assert "the engine went away; measure again" in shown(desk, "top1")[2]
    desk.evaluate("(data) => show(data)", {**_data(EDITED, kept=None), "seen": 1, "live": Live("", "not measured: no images").data(EDITED)})
    bar(desk, "fc2", 3).press("PageUp")
    desk.wait_for_timeout(400)
    assert "not measured: no images" in shown(desk, "top1")[2] and desk.evaluate("asked.length") == 1


def test_a_bar_is_predicted_while_it_is_dragged(desk):
    box = bar(desk, "fc2", 9).bounding_box()
    desk.mouse.move(box["x"] + 10, box["y"] + box["height"] - 2)
    desk.mouse.down()
    desk.mouse.move(box["x"] + 10, box["y"] + box["height"] * 0.5, steps=5)
    desk.wait_for_function("asked.length === 1")
    assert desk.evaluate("asked[0].body.measure") is False and desk.locator(".total.top1.old").count() == 1
    say(desk, Predicted(estimate(0.01, 0.005), estimate(-0.4, 0.3), 6))
    desk.evaluate("asked[0].end()")
    desk.wait_for_function("document.querySelector('.total.delta .badge').textContent === 'predicted'")
    assert shown(desk, "top1")[1] == "91.5 %" and desk.locator(".total.delta.soft").count() == 1
    desk.mouse.up()


def test_a_bar_of_figures_that_is_mounted_anew_is_filled_again(desk):
    desk.evaluate("""() => {
      const place = globalThis[Symbol.for("toast.figures")], fresh = document.createElement("div");
      fresh.className = "figures";
      place.replaceWith(fresh);
      globalThis[Symbol.for("toast.figures")] = fresh;
      dispatchEvent(new Event("toast-figures"));
    }""")
    assert shown(desk, "top1")[1] == "91.5 %"
