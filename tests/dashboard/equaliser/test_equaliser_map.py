"""The equaliser coloured by a sketch: colours on a scale of their own, what cannot be told from zero hatched, and what is said of it."""

import re
from dataclasses import replace

import pytest

from dashboard.evidence.curves import StoredCurves
from dashboard.limits import Limit
from dashboard.session.inbox import EditorState
from tests.support.equaliser_page import NONE_STORED, STORED, attributes, bar, data_of, open_desk
from tests.support.evaluations import CURVES
from tests.support.sketches import damage_map
from toast_core.schedule.compensation import FULL
from toast_core.schedule.schedule import Schedule

BARE = Schedule.uniform(12, selection="calibrated")
HOVERED = "([...document.querySelector('.inspector .words').children].map((one) => one.textContent))"
# the colours of a gradient from the bottom, and whether the hatching covers a ratio
COLOURS = """(place) => getComputedStyle(document.querySelector(`${place} .heat`)).backgroundImage.match(/rgb\\([^)]*\\) [\\d.]+%/g)"""


def of(schedule: Schedule = BARE, damage=None, **changes) -> dict:
    """The data of a desk without exact curves, and with a sketch."""
    return data_of(schedule, stored=changes.pop("stored", NONE_STORED), map=damage or damage_map(), **changes)


def place(site: str, block: int) -> str:
    """A bar as CSS selects it."""
    return f".track[data-site='{site}'][data-block='{block}']"


def test_words_of_a_bar_are_the_sketchs(browser):
    page = open_desk(browser, of(BARE.with_ratio(3, "fc2", 0.5).with_ratio(4, "fc1", 0.25).with_ratio(5, "qk", 0.1)))
    words = [bar(page, site, block).get_attribute("aria-valuetext") for site, block in (("fc2", 3), ("fc1", 4), ("vo", 0))]
    assert re.fullmatch(r"block 3, fc2, 50 % dropped, keeps 192 of 384, predicted KL 0\.00\d+ nats", words[0])
    assert re.fullmatch(r"block 4, fc1, 25 % dropped, keeps \d+ of 96, about KL 0\.0\d+ nats", words[1])
    assert words[2].endswith("keeps everything")
    page.evaluate("(data) => show(data)", of(BARE.with_ratio(3, "fc2", 0.95)))
    assert bar(page, "fc2", 3).get_attribute("aria-valuetext").endswith("not sketched")
    assert attributes(bar(page, "fc2", 3), "valuenow") == ["95"]


def test_the_inspector_tells_the_damage_under_the_pointer_with_its_interval(browser):
    page = open_desk(browser, of())
    damage = damage_map().points["fc2", 6]
    box = bar(page, "fc2", 6).bounding_box()
    page.mouse.move(box["x"] + 10, box["y"] + 0.5 * box["height"])
    _, name, stop, effect, band = page.evaluate(HOVERED)
    assert name == "Block 6, fc2" and stop.startswith("50 % dropped")
    assert effect == f"predicted KL {float(f'{damage[4].damage:.2g}')} nats"
    assert band == f"95 % over images: {float(f'{damage[4].low:.2g}')} to {float(f'{damage[4].high:.2g}')}"
    page.mouse.move(box["x"] + 10, box["y"] + 0.45 * box["height"])
    *_, effect, band = page.evaluate(HOVERED)
    assert effect.startswith("about KL") and band.endswith("between those predicted at 50 % and 60 %")
    box = bar(page, "qk", 6).bounding_box()
    page.mouse.move(box["x"] + 10, box["y"] + 0.9 * box["height"])
    *_, effect, band = page.evaluate(HOVERED)
    assert "cannot tell apart from zero" in band


def test_one_image_has_no_interval(browser):
    page = open_desk(browser, of(damage=damage_map(kl95=[0.0, None])))
    bar(page, "fc2", 6).hover(position={"x": 5, "y": 40})
    assert page.evaluate(HOVERED)[-1].startswith("no interval from one image; cannot tell apart from zero")


def test_a_colour_a_power_of_ten(browser):
    shades = ["45, 127, 190", "126, 175, 205", "229, 190, 110", "224, 123, 40", "176, 58, 16"]
    for damage, colour in zip((1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1, 10), (shades[0], *shades, shades[-1]), strict=True):
        page = open_desk(browser, of(damage=damage_map(kl=damage, kl95=[damage / 2, damage * 2])))
        assert page.evaluate(COLOURS, place("vo", 3))[-2].startswith(f"rgb({colour})"), damage
        page.close()


def test_only_what_cannot_be_told_from_zero_is_hatched(browser):
    page = open_desk(browser, of())
    hatched, whole = page.locator(f"{place('qk', 2)} .untold"), page.locator(f"{place('vo', 2)} .untold")
    assert hatched.is_visible() and not whole.is_visible()
    # from nothing dropped to the first ratio that can be told, which is the second: what lies between is as unsure as its end below
    assert page.evaluate("(one) => getComputedStyle(document.querySelector(one)).maskImage", f"{place('qk', 2)} .untold").startswith(
        "linear-gradient(to top, rgb(0, 0, 0) 0%, rgb(0, 0, 0) 10%, rgb(0, 0, 0) 10%, rgb(0, 0, 0) 20%, rgba(0, 0, 0, 0) 20%"
    )
    page.evaluate("(data) => show(data)", data_of(BARE))
    assert not hatched.is_visible(), "exact curves have their own words for it"


def test_its_lines_run_across_those_of_locks_and_ranges(browser):
    page = open_desk(browser, of(limits={("qk", 2): Limit(0.1, 0.5)}))
    drawn = "(one) => getComputedStyle(document.querySelector(one)).backgroundImage.match(/repeating-linear-gradient\\((-?\\d+)deg/)[1]"
    assert [page.evaluate(drawn, f"{place('qk', 2)} .{name}") for name in ("untold", "below", "above")] == ["45", "-45", "-45"]


def test_the_legend_says_what_it_is_predicted_from(browser):
    page = open_desk(browser, of())
    legend = page.locator(".legend")
    text = legend.inner_text()
    assert "KL of a block alone, predicted, in nats" in text and "cannot be told from zero" in text
    assert "predicted from 24 images of fashion-mnist:calibration, 2 directions each; not calibrated" in text
    assert [tick.inner_text() for tick in page.locator(".ticks span").all()] == ["0.0001", "0.001", "0.01", "0.1", "1"]
    page.evaluate("(data) => show(data)", of(damage=damage_map(calibrated_by=3), schedule=Schedule.uniform(12, selection="per_image")))
    assert "calibrated by 3 measured cells a site; channels chosen calibrated" in legend.inner_text()
    page.evaluate("(data) => show(data)", of(Schedule.uniform(12, fc2=0.1, selection="calibrated", compensation=FULL)))
    assert "; without compensation" in legend.inner_text()
    refitted = Schedule.uniform(12, fc2=0.1, selection="calibrated", compensation=FULL)
    page.evaluate("(data) => show(data)", of(refitted, damage=damage_map(compensated=True)))
    assert "each block refitted by itself" in legend.inner_text()
    page.evaluate("(data) => show(data)", data_of(BARE))
    assert "Points of top-1 lost by a block alone" in legend.inner_text() and "measured on" in legend.inner_text()
    page.evaluate("(data) => show(data)", data_of(BARE, stored=NONE_STORED))
    assert not legend.is_visible()


def test_colours_follow_a_sketch_that_comes_in_and_an_edit_made_meanwhile_stays(browser):
    page = open_desk(browser, data_of(BARE, stored=NONE_STORED))
    assert bar(page, "fc2", 3).evaluate("(one) => one.classList.contains('unmeasured')")
    bar(page, "fc2", 3).press("PageUp")
    page.evaluate("(data) => show(data)", of(BARE))
    assert not bar(page, "fc2", 3).evaluate("(one) => one.classList.contains('unmeasured')")
    assert bar(page, "fc2", 3).get_attribute("aria-valuenow") == "10"
    page.evaluate("(data) => show(data)", of(BARE.with_ratio(3, "fc2", 0.1), editor=EditorState(seen=1)))
    assert "predicted KL" in bar(page, "fc2", 3).get_attribute("aria-valuetext")


@pytest.mark.parametrize(("curves", "sketched", "in_hand", "by_sketch"), [
    ("calibrated", "calibrated", "calibrated", False), ("per_image", "calibrated", "calibrated", True),
    ("per_image", "per_image", "calibrated", False), (None, "calibrated", "calibrated", False), ("none", "per_image", "calibrated", True),
])
def test_exact_curves_of_the_schedules_selection_go_first(curves, sketched, in_hand, by_sketch):
    stored = NONE_STORED if curves == "none" else StoredCurves(replace(CURVES, selection=curves))
    data = data_of(Schedule.uniform(12, selection=in_hand), stored=stored, map=damage_map(sketched))
    assert (data["sketch"] is not None) == by_sketch
    assert (data["curves"] is None) == (curves == "none")
    assert data_of(BARE, stored=STORED)["sketch"] is None
