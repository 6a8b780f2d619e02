"""The equaliser in a real browser, without a server: the figures that Python counts, and what hands and keys do to it."""

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import dashboard.equaliser
from dashboard import wording
from dashboard.client import shipped_shape
from dashboard.equaliser.mount import Desk, equaliser_data
from dashboard.limits import Limit
from dashboard.prediction import Interaction, predict
from dashboard.stored_curves import StoredCurves
from dashboard.stored_latency import StoredLatency
from tests.dashboard import curves as made_up
from tests.dashboard.evaluations import BASE, CURVES, DRAFT, VIT, schedules
from toast_core.results import Estimate
from toast_core.schedule.cost import count_cost, kept_counts
from toast_core.schedule.schedule import SELECTIONS, BlockSchedule, Schedule
from toast_core.schedule.stops import legal_stops, stop_ratio

HERE = Path(dashboard.equaliser.__file__).parent
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync")
SWIN = shipped_shape("demo_swin")
STORED = StoredCurves(CURVES)
NONE_STORED = StoredCurves(None, "no sensitivity curves stored; run: toast analyze")


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator:
    """One Chromium for this file."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield opened
        opened.close()


_MOUNT = """async ({ source, css }) => {
  document.body.innerHTML = `<style>${css}</style><div id="host"><div class="equaliser"></div></div>`;
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
_TOTALS = """(cases) => cases.map((data) => {
  show({ ...data, counted: null });
  const exact = (name) => document.querySelector(`.total.${name}`).dataset.exact;
  return [Number(exact("macs")), Number(exact("params")), exact("top1") ? JSON.parse(exact("top1")) : null];
})"""


def open_desk(browser, data: dict | None = None, width: int = 1000, **context):
    """A page with the equaliser alone, mounted as Streamlit mounts it; `window.sent` collects what it sends."""
    page = browser.new_context(viewport={"width": width, "height": 900}, **context).new_page()
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    assets = {"source": (HERE / "equaliser.js").read_text(encoding="utf-8"), "css": (HERE / "equaliser.css").read_text(encoding="utf-8")}
    page.evaluate(_MOUNT, assets)
    page.evaluate("(data) => show(data)", data or data_of(Schedule.uniform(12, selection="calibrated")))
    return page


def data_of(schedule: Schedule, shape=VIT, limits=None, desk: Desk = Desk(), stored: StoredCurves = STORED, ghost=None, table=None) -> dict:  # noqa: B008
    """What Python sends."""
    return equaliser_data(shape, schedule, limits or {}, desk, stored, StoredLatency(table, "no latency table stored"), ghost)


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


def random_schedules(shape, count: int, seed: int, highest: float = 0.99) -> list[Schedule]:
    """Schedules with any ratios, not only stops."""
    draw = random.Random(seed)

    def ratio() -> float:
        return draw.choice([0.0, round(highest * draw.random(), 2), highest * draw.random(), 0.9])

    return [
        Schedule(
            tuple(BlockSchedule(ratio(), ratio(), ratio(), ratio()) for _ in shape.blocks), draw.choice(list(SELECTIONS)),
            multiple_of=draw.choice([1, 1, 4, 8, 16]),
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize("shape", [VIT, SWIN], ids=lambda shape: shape.name)
def test_the_browsers_totals_are_those_of_count_cost(browser, shape):
    page = open_desk(browser, data_of(Schedule.uniform(len(shape.blocks)), shape, stored=NONE_STORED))
    schedules = random_schedules(shape, 150, 7)
    found = page.evaluate(_TOTALS, [data_of(schedule, shape, stored=NONE_STORED) for schedule in schedules])
    wanted = [count_cost(shape, schedule) for schedule in schedules]
    assert [tuple(row[:2]) for row in found] == [(cost.macs, cost.params) for cost in wanted]
    assert text_of(page, "macs") == wording.gmacs(wanted[-1].macs) and text_of(page, "params") == wording.parameters(wanted[-1].params)


def test_the_browsers_prediction_is_that_of_predict(browser):
    page = open_desk(browser)
    schedules = [Schedule.uniform(12, 0.1, 0.33, 0.05, 0.5, selection="calibrated"), *random_schedules(VIT, 20, 3)]
    schedules += random_schedules(VIT, 40, 4, highest=0.3)
    found = page.evaluate(_TOTALS, [data_of(schedule) for schedule in schedules])
    seen = 0
    for schedule, (_, _, got) in zip(schedules, found, strict=True):
        wanted = predict(CURVES, VIT, schedule)
        assert (got is None) == (wanted is None)
        if wanted:
            seen += 1
            assert got == pytest.approx([wanted.value, *wanted.ci95], abs=1e-9)
    assert 20 < seen < len(schedules)


def test_the_browsers_prediction_with_an_interaction_is_that_of_predict(browser):
    interaction = Interaction(-0.8, 5.0, 12, 0.7, 2.0, (2.0, 0.7))
    stored = StoredCurves(CURVES, interaction=interaction)
    wanted = [BASE, DRAFT, *schedules(12, 4)]
    data = [data_of(schedule, stored=stored) for schedule in wanted]
    found = open_desk(browser, data[0]).evaluate(_TOTALS, data)
    for schedule, (_, _, got) in zip(wanted, found, strict=True):
        expected = predict(CURVES, VIT, schedule, interaction)
        assert got == pytest.approx([expected.value, *expected.ci95], abs=1e-9)
    assert "corrected by 12 measured schedules" in data[0]["curves_note"]


@pytest.mark.parametrize("shape", [VIT, SWIN], ids=lambda shape: shape.name)
def test_the_browsers_milliseconds_are_those_of_the_table(browser, shape):
    table = made_up.latency_table(shape)
    page = open_desk(browser, data_of(Schedule.uniform(len(shape.blocks)), shape, stored=NONE_STORED, table=table))
    assert "told for calibrated selection only" in page.locator(".total.latency").inner_text()
    schedules = [replace(one, selection="calibrated") for one in random_schedules(shape, 60, 11)]
    equal = [Schedule.uniform(len(shape.blocks), qk=ratio, vo=ratio, fc2=ratio) for ratio in (0, 0.25, 0.51, 0.9)]
    schedules += [replace(one, selection="calibrated") for one in equal]
    found = page.evaluate(
        "(cases) => cases.map((data) => { show(data); return Number(document.querySelector('.total.latency').dataset.exact); })",
        [data_of(schedule, shape, stored=NONE_STORED, table=table) for schedule in schedules],
    )
    assert found == pytest.approx([table.predict_ms(schedule) for schedule in schedules], rel=1e-9)
    assert "batch 1, float32, 2 threads, made up" in page.locator(".total.latency").inner_text()
    page.evaluate("(data) => show(data)", data_of(schedules[0], shape, stored=NONE_STORED))
    assert "no latency table stored" in page.locator(".total.latency").inner_text()


def test_words_of_a_bar_without_and_with_measurements(browser):
    half = data_of(Schedule.uniform(12, selection="calibrated").with_ratio(3, "fc2", 0.5))
    page = open_desk(browser, half)
    measured = made_up.row(3, "fc2", 0.5)
    words = wording.points(Estimate(measured["top1_delta"], tuple(measured["ci95"])))
    slider = bar(page, "fc2", 3)
    assert slider.get_attribute("aria-valuetext") == f"block 3, fc2, 50 % dropped, keeps 192 of 384, measured {words}"
    assert attributes(slider, "valuenow", "valuemin", "valuemax", "orientation") == ["50", "0", "99.7", "vertical"]
    assert page.get_by_role("slider").count() == 48
    page.evaluate("(data) => show(data)", data_of(Schedule.uniform(12, fc2=0.5), stored=NONE_STORED))
    assert slider.get_attribute("aria-valuetext").endswith("keeps 192 of 384, not measured")
    assert "no sensitivity curves stored; run: toast analyze" in page.locator(".total.top1").inner_text()
    page.evaluate("(data) => show(data)", data_of(Schedule.uniform(12, fc2=0.95)))
    assert slider.get_attribute("aria-valuetext").endswith("keeps 19 of 384, not measured")
    assert "beyond what was measured" in page.locator(".total.top1").inner_text()


def test_keys_alone_set_a_ratio(browser):
    page = open_desk(browser)
    page.keyboard.press("Tab")  # the first link
    for _ in range(5):
        page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.ariaLabel") == "block 1, fc2"
    for key in ("PageUp", "PageUp", "PageUp", "ArrowUp", "ArrowDown", "Shift+ArrowUp"):
        page.keyboard.press(key)
    sent = ratios_sent(page)
    assert sent["fc2"] == [0.0, stop_ratio(384, 267), *[0.0] * 10] and sent["qk"] == [0.0] * 12
    assert page.evaluate("sent.length") == 1
    page.keyboard.press("End")
    assert bar(page, "fc2", 1).get_attribute("aria-valuenow") == "99.7"
    page.keyboard.press("Home")
    assert bar(page, "fc2", 1).get_attribute("aria-valuenow") == "0"


def test_dragging_updates_totals_before_anything_is_sent(browser):
    page = open_desk(browser)
    before = text_of(page, "macs")
    box = bar(page, "fc2", 10).bounding_box()
    page.mouse.move(box["x"] + 10, box["y"] + box["height"] - 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 10, box["y"] + box["height"] * 0.5, steps=5)
    assert text_of(page, "macs") != before and page.evaluate("sent.length") == 0
    page.mouse.up()
    sent = ratios_sent(page)
    assert sent["fc2"][10] == pytest.approx(0.5, abs=0.02) and page.evaluate("sent.length") == 1
    wanted = Schedule.uniform(12, selection="calibrated").with_ratio(10, "fc2", sent["fc2"][10])
    assert text_of(page, "macs") == wording.gmacs(count_cost(VIT, wanted).macs)


def test_a_bar_stops_at_legal_counts_only(browser):
    page = open_desk(browser, data_of(Schedule.uniform(12, selection="calibrated", multiple_of=16)))
    slider = bar(page, "qk", 2)
    slider.press("ArrowUp")
    assert slider.get_attribute("aria-valuetext").startswith("block 2, qk, 50 % dropped, keeps 16 of 32")
    slider.press("ArrowUp")
    assert slider.get_attribute("aria-valuenow") == "50"


def test_a_ratio_that_is_no_stop_stays_as_it_was_written(browser):
    schedule = Schedule.uniform(12, selection="calibrated").with_ratio(0, "qk", 0.45)
    assert 0.45 not in dict(legal_stops(32))
    page = open_desk(browser, data_of(schedule))
    bar(page, "fc2", 5).press("PageUp")
    assert ratios_sent(page)["qk"][0] == 0.45


def test_a_locked_bar_refuses_and_says_so(browser):
    page = open_desk(browser)
    slider = bar(page, "fc2", 4)
    slider.press("PageUp")
    slider.press("l")
    assert page.evaluate("sent.at(-1).at(-1).limits") == [["fc2", 4, 0, 1, True]]
    slider.press("PageUp")
    slider.click()
    assert slider.get_attribute("aria-valuenow") == "10" and slider.get_attribute("aria-readonly") == "true"
    assert slider.get_attribute("aria-valuetext").endswith(", locked")
    assert "is locked" in page.locator(".unseen").inner_text()
    slider.press("L")
    slider.press("PageUp")
    assert slider.get_attribute("aria-valuenow") == "20"


def test_a_double_click_locks_and_moves_nothing(browser):
    page = open_desk(browser)
    bar(page, "vo", 6).dblclick()
    page.wait_for_function("sent.length === 1")
    page.wait_for_timeout(400)
    assert page.evaluate("sent") == [[{"number": 1, "limits": [["vo", 6, 0, 1, True]]}]]
    assert bar(page, "vo", 6).get_attribute("aria-valuenow") == "0"


def test_a_range_bounds_keys_and_pointer(browser):
    page = open_desk(browser, data_of(Schedule.uniform(12, fc2=0.3, selection="calibrated")))
    slider = bar(page, "fc2", 7)
    slider.press("[")
    slider.press("PageUp")
    slider.press("]")
    slider.press("End")
    assert slider.get_attribute("aria-valuenow") == "40"
    slider.press("Home")
    assert attributes(slider, "valuenow", "valuemin", "valuemax") == ["30", "30", "40"]
    slider.click(position={"x": 10, "y": 3})
    assert slider.get_attribute("aria-valuenow") == "40"
    page.get_by_role("button", name="No limits").click()
    slider.press("End")
    assert slider.get_attribute("aria-valuenow") == "99.7"


def test_a_link_moves_both_and_leaves_a_locked_partner(browser):
    limits = {("vo", 1): Limit(locked=True)}
    page = open_desk(browser, data_of(Schedule.uniform(12, selection="calibrated"), limits=limits))
    link = page.get_by_role("button", name="Link qk and vo")
    link.click()
    assert link.get_attribute("aria-pressed") == "true" and page.evaluate("sent.at(-1).at(-1).linked") == ["qk+vo"]
    bar(page, "vo", 0).press("PageUp")
    bar(page, "qk", 1).press("PageUp")
    sent = ratios_sent(page)
    page.wait_for_function("sent.at(-1).findLast((message) => message.ratios).ratios.qk[1] > 0")
    sent = ratios_sent(page)
    assert sent["qk"][:2] == [0.1, 0.1] and sent["vo"][:2] == [0.1, 0.0]


def test_undo_keys_send_a_step_after_the_edit_that_is_on_its_way(browser):
    page = open_desk(browser)
    slider = bar(page, "fc2", 4)
    slider.press("PageUp")
    slider.press("Control+z")
    slider.press("Control+Shift+Z")
    messages = page.evaluate("sent.at(-1)")
    assert [message.get("step", "ratios") for message in messages] == ["ratios", "undo", "redo"]
    assert [message["number"] for message in messages] == [1, 2, 3]


def test_the_servers_own_count_takes_over_when_it_has_answered(browser):
    page, total = open_desk(browser), "document.querySelector('.total.macs').dataset"
    bar(page, "fc2", 3).press("PageUp")
    assert page.evaluate(f"{total}.counted") == "browser"
    answer = data_of(Schedule.uniform(12, selection="calibrated").with_ratio(3, "fc2", 0.1), desk=Desk(seen=1))
    assert answer["counted"]["macs"] == int(page.evaluate(f"{total}.exact"))
    ratios_sent(page)
    page.evaluate("(data) => show(data)", answer | {"counted": {"macs": 7, "params": 8}})
    assert page.evaluate(f"[{total}.counted, {total}.exact]") == ["server", "7"]
    bar(page, "fc2", 3).press("PageUp")
    assert page.evaluate(f"{total}.counted") == "browser"


def test_a_message_that_got_lost_is_sent_again_until_it_was_seen(browser):
    page = open_desk(browser)
    bar(page, "fc2", 3).press("PageUp")
    page.wait_for_function("posts.length > 1")
    first, again = page.evaluate("posts.slice(0, 2)")
    assert first == again and first[0]["number"] == 1
    page.evaluate("(data) => show(data)", data_of(Schedule.uniform(12, fc2=0.1), desk=Desk(seen=1)))
    bar(page, "fc2", 3).press("PageUp")
    page.wait_for_function("sent.length === 2")
    assert [message["number"] for message in page.evaluate("sent.at(-1)")] == [2]


def test_a_message_on_its_way_outlives_the_elements(browser):
    page = open_desk(browser)
    bar(page, "fc2", 3).press("Control+z")
    page.evaluate("() => { document.getElementById('host').innerHTML = '<div class=\"equaliser\"></div>' }")
    page.evaluate("(data) => show(data)", data_of(Schedule.uniform(12, selection="calibrated")))
    bar(page, "fc2", 3).press("Control+z")
    assert [[message["number"] for message in messages] for messages in page.evaluate("sent")] == [[1], [1, 2]]


def test_another_session_begins_to_count_anew(browser):
    page = open_desk(browser, data_of(Schedule.uniform(12, selection="calibrated"), desk=Desk(seen=7)))
    page.evaluate("(data) => show(data)", data_of(Schedule.uniform(12, fc2=0.1), desk=Desk(seen=0)))
    assert bar(page, "fc2", 4).get_attribute("aria-valuenow") == "10"
    bar(page, "fc2", 3).press("Control+z")
    assert [message["number"] for message in page.evaluate("sent.at(-1)")] == [1]


def test_data_of_an_earlier_run_does_not_push_a_bar_back(browser):
    page = open_desk(browser)
    bar(page, "fc2", 4).press("PageUp")
    sent = ratios_sent(page)
    page.evaluate("(data) => show(data)", data_of(Schedule.uniform(12, selection="calibrated")))
    assert bar(page, "fc2", 4).get_attribute("aria-valuenow") == "10"
    page.evaluate("(data) => show(data)", data_of(Schedule.uniform(12, selection="calibrated"), desk=Desk(seen=1)))
    assert bar(page, "fc2", 4).get_attribute("aria-valuenow") == "0"
    bar(page, "fc2", 5).press("PageUp")
    page.wait_for_function("sent.length === 2")
    assert [message["number"] for message in page.evaluate("sent.at(-1)")] == [2] and sent["fc2"][4] == 0.1


def test_marks_show_the_compared_schedule_and_the_totals_compare_with_it(browser):
    ghost = Schedule.uniform(12, fc2=0.3, selection="calibrated")
    page = open_desk(browser, data_of(Schedule.uniform(12, selection="calibrated"), ghost=ghost))
    mark = bar(page, "fc2", 0).locator(".ghost")
    assert mark.evaluate("(element) => element.style.bottom") == "30%"
    change = wording.change(count_cost(VIT).macs, count_cost(VIT, ghost).macs)
    assert f"{change} against the marks" in page.locator(".total.macs").inner_text()


def test_the_stop_under_the_pointer_is_told_in_figures_and_colour(browser):
    page = open_desk(browser)
    slider = bar(page, "fc1", 0)
    box = slider.bounding_box()
    slider.hover(position={"x": 10, "y": box["height"] * 0.3})
    words = page.locator(".words").inner_text()
    measured = made_up.row(0, "fc1", 0.7)
    assert "70 % dropped, keeps 28 of 96" in words
    assert f"measured {wording.points(Estimate(measured['top1_delta'], tuple(measured['ci95'])))}" in words
    costly = page.locator(".swatch").evaluate("(element) => element.style.background")
    slider.hover(position={"x": 10, "y": box["height"] - 1})
    assert page.locator(".swatch").evaluate("(element) => element.style.background") != costly
    assert slider.get_attribute("aria-valuenow") == "0"


def test_touch_drags_a_bar_and_only_bars_keep_the_page_from_scrolling(browser):
    page = open_desk(browser, width=820, has_touch=True)
    assert bar(page, "fc2", 3).evaluate("(element) => getComputedStyle(element).touchAction") == "none"
    assert page.locator(".inspector").evaluate("(element) => getComputedStyle(element).touchAction") == "auto"
    box = bar(page, "fc2", 3).bounding_box()
    client = page.context.new_cdp_session(page)
    x, bottom = box["x"] + box["width"] / 2, box["y"] + box["height"]
    client.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": bottom - 4}]})
    for share in (0.2, 0.4, 0.6):
        client.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": x, "y": bottom - share * box["height"]}]})
    client.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert ratios_sent(page)["fc2"][3] == pytest.approx(0.6, abs=0.02)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_wheel_moves_only_the_bar_that_has_the_focus(browser):
    page = open_desk(browser)
    bar(page, "fc2", 3).hover()
    page.mouse.wheel(0, -100)
    page.wait_for_timeout(50)
    assert bar(page, "fc2", 3).get_attribute("aria-valuenow") == "0"
    bar(page, "fc2", 3).focus()
    page.mouse.wheel(0, -100)
    page.wait_for_function("document.querySelector(\".track[data-site='fc2'][data-block='3']\").ariaValueNow === '1'")


def test_nothing_outside_is_named():
    for name in ("equaliser.js", "equaliser.css"):
        text = (HERE / name).read_text(encoding="utf-8")
        assert "http" not in text and "import(" not in text and "@import" not in text
    json.dumps(data_of(Schedule.uniform(12)), allow_nan=False)
    assert kept_counts(VIT.blocks[0], Schedule.uniform(12, fc2=0.5), 0)["fc2"] == data_of(Schedule.uniform(12, fc2=0.5))["kept"]["fc2"][0]
