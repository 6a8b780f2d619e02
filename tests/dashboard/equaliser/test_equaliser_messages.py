"""What the equaliser sends from a real browser, and what it makes of the answers."""

import pytest

from dashboard.session.inbox import EditorState
from tests.support.equaliser_page import bar, data_of, open_desk, ratios_sent
from toast_core.schedule.schedule import Schedule

TAKE_AWAY = "() => document.getElementById('host').replaceChildren()"
MOUNT_AGAIN = """(data) => {
  document.getElementById("host").innerHTML = '<div class="equaliser"></div>';
  show(data);
}"""


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
    answer = data_of(Schedule.uniform(12, selection="calibrated").with_ratio(3, "fc2", 0.1), editor=EditorState(seen=1))
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
    page.evaluate("(data) => show(data)", data_of(Schedule.uniform(12, fc2=0.1), editor=EditorState(seen=1)))
    bar(page, "fc2", 3).press("PageUp")
    page.wait_for_function("sent.length === 2")
    assert [message["number"] for message in page.evaluate("sent.at(-1)")] == [2]


def test_a_message_on_its_way_outlives_the_elements(browser):
    page = open_desk(browser)
    bar(page, "fc2", 3).press("Control+z")
    page.evaluate(MOUNT_AGAIN, data_of(Schedule.uniform(12, selection="calibrated")))
    bar(page, "fc2", 3).press("Control+z")
    assert [[message["number"] for message in messages] for messages in page.evaluate("sent")] == [[1], [1, 2]]


def test_a_drag_outlives_the_elements(browser):
    page, before = open_desk(browser), data_of(Schedule.uniform(12, selection="calibrated"))
    box = bar(page, "fc2", 3).bounding_box()
    page.mouse.move(box["x"] + 10, box["y"] + box["height"] - 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 10, box["y"] + 0.8 * box["height"], steps=3)
    page.evaluate(MOUNT_AGAIN, before)
    assert bar(page, "fc2", 3).get_attribute("aria-valuenow") == "20"
    # the pointer still moves this bar, over others too, and its end is heard off all of them
    page.mouse.move(box["x"] + 200, box["y"] + 0.5 * box["height"], steps=3)
    assert bar(page, "fc2", 3).get_attribute("aria-valuenow") == "50"
    page.mouse.move(box["x"] + 10, box["y"] + 0.5 * box["height"] + 1)
    page.evaluate(TAKE_AWAY)
    page.mouse.up()
    assert ratios_sent(page)["fc2"] == pytest.approx([0, 0, 0, 0.49, *[0] * 8], abs=0.011)
    page.evaluate(MOUNT_AGAIN, before)
    assert bar(page, "fc2", 3).get_attribute("aria-valuenow") in ("49", "50")
    page.mouse.move(box["x"] + 10, box["y"] + 10)
    assert bar(page, "fc2", 3).get_attribute("aria-valuenow") in ("49", "50")


def test_an_edit_that_waits_for_the_keys_to_rest_outlives_the_elements(browser):
    page = open_desk(browser)
    bar(page, "fc2", 3).press("PageUp")
    page.evaluate(MOUNT_AGAIN, data_of(Schedule.uniform(12, selection="calibrated")))
    assert bar(page, "fc2", 3).get_attribute("aria-valuenow") == "10"
    bar(page, "vo", 5).press("PageUp")
    page.wait_for_function("sent.length && sent.at(-1).at(-1).ratios.vo[5] > 0")
    sent = ratios_sent(page)
    assert sent["fc2"][3] == 0.1 and sent["vo"][5] == pytest.approx(0.1, abs=0.02)


def test_elements_that_stay_beside_new_ones_for_a_moment_harm_nothing(browser):
    page, before = open_desk(browser), data_of(Schedule.uniform(12, selection="calibrated"))
    bar(page, "fc2", 3).press("PageUp")
    page.evaluate("""(data) => {
      const [host, again] = [document.getElementById("host"), document.createElement("div")];
      again.innerHTML = '<div class="equaliser"></div>';
      host.after(again);
      host.id = "old";
      again.id = "host";
      show(data);
      [host.id, again.id] = ["host", "new"]; // the old ones are drawn once more, and then the new ones again
      show(data);
      [host.id, again.id] = ["old", "host"];
      show(data);
      host.remove();
    }""", before)
    assert bar(page, "fc2", 3).get_attribute("aria-valuenow") == "10"
    bar(page, "vo", 5).press("PageUp")
    assert bar(page, "vo", 5).get_attribute("aria-valuenow") != "0"
    page.wait_for_function("sent.length && sent.at(-1).at(-1).ratios.vo[5] > 0")
    assert ratios_sent(page)["fc2"][3] == 0.1


def test_another_session_begins_to_count_anew(browser):
    page = open_desk(browser, data_of(Schedule.uniform(12, selection="calibrated"), editor=EditorState(seen=7)))
    page.evaluate("(data) => show(data)", data_of(Schedule.uniform(12, fc2=0.1), editor=EditorState(seen=0)))
    assert bar(page, "fc2", 4).get_attribute("aria-valuenow") == "10"
    bar(page, "fc2", 3).press("Control+z")
    assert [message["number"] for message in page.evaluate("sent.at(-1)")] == [1]


def test_data_of_an_earlier_run_does_not_push_a_bar_back(browser):
    page = open_desk(browser)
    bar(page, "fc2", 4).press("PageUp")
    sent = ratios_sent(page)
    page.evaluate("(data) => show(data)", data_of(Schedule.uniform(12, selection="calibrated")))
    assert bar(page, "fc2", 4).get_attribute("aria-valuenow") == "10"
    page.evaluate("(data) => show(data)", data_of(Schedule.uniform(12, selection="calibrated"), editor=EditorState(seen=1)))
    assert bar(page, "fc2", 4).get_attribute("aria-valuenow") == "0"
    bar(page, "fc2", 5).press("PageUp")
    page.wait_for_function("sent.length === 2")
    assert [message["number"] for message in page.evaluate("sent.at(-1)")] == [2] and sent["fc2"][4] == 0.1
