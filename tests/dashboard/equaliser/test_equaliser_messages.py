"""What the equaliser sends from a real browser, and what it makes of the answers."""

from dashboard.equaliser.mount import EditorState
from tests.support.equaliser_page import bar, data_of, open_desk, ratios_sent
from toast_core.schedule.schedule import Schedule


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
    page.evaluate("() => { document.getElementById('host').innerHTML = '<div class=\"equaliser\"></div>' }")
    page.evaluate("(data) => show(data)", data_of(Schedule.uniform(12, selection="calibrated")))
    bar(page, "fc2", 3).press("Control+z")
    assert [[message["number"] for message in messages] for messages in page.evaluate("sent")] == [[1], [1, 2]]


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
