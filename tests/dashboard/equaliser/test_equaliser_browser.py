"""The equaliser in a real browser, without a server: what it shows, and what hands and keys do to it."""

import json

import pytest

from dashboard import wording
from dashboard.equaliser.script import file_text, script
from dashboard.limits import Limit
from tests.support import curves as made_up
from tests.support.equaliser_page import (
    NONE_STORED,
    attributes,
    bar,
    data_of,
    open_desk,
    ratios_sent,
    text_of,
)
from tests.support.evaluations import VIT
from toast_core.cost.macs import count_cost, kept_counts
from toast_core.schedule.schedule import Schedule
from toast_core.schedule.stops import legal_stops, stop_ratio
from toast_core.studies.evaluation.result import Estimate


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
    page.evaluate("(data) => show(data)", data_of(Schedule.uniform(12, fc2=0.95)))
    assert slider.get_attribute("aria-valuetext").endswith("keeps 19 of 384, not measured")


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


def test_marks_show_the_compared_schedule_and_the_totals_compare_with_it(browser):
    ghost = Schedule.uniform(12, fc2=0.3, selection="calibrated")
    page = open_desk(browser, data_of(Schedule.uniform(12, selection="calibrated"), ghost=ghost))
    mark = bar(page, "fc2", 0).locator(".ghost")
    assert mark.evaluate("(element) => element.style.bottom") == "30%"
    change = wording.change(count_cost(VIT).macs, count_cost(VIT, ghost).macs)
    assert f"{change}, parameters" in page.locator(".total.macs").inner_text()


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
    for text in (script(), file_text("equaliser.css")):
        assert "http" not in text and "import(" not in text and "@import" not in text
    json.dumps(data_of(Schedule.uniform(12)), allow_nan=False)
    assert kept_counts(VIT.blocks[0], Schedule.uniform(12, fc2=0.5), 0)["fc2"] == data_of(Schedule.uniform(12, fc2=0.5))["kept"]["fc2"][0]
