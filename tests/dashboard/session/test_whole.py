"""An act of a callback while the browser has sent something newer: once as Streamlit has it, once whole."""

import ast
from pathlib import Path

import pytest
import streamlit
from streamlit.testing.v1 import AppTest

from dashboard.session import state
from dashboard.session.history import History
from dashboard.session.inbox import KEY
from dashboard.session.whole import whole
from toast_core.schedule.schedule import Schedule
from toast_core.schedule.sites import SITES

DASHBOARD = Path(__file__).parents[3] / "dashboard"
CALLBACKS = {"on_click", "on_change", "on_select", "on_submit", "on_sent_change", "on_dismiss"}


def _page(is_whole):
    import streamlit as st
    from streamlit.runtime.scriptrunner import RerunData, get_script_run_ctx

    from dashboard.session.whole import whole

    def act():
        get_script_run_ctx().script_requests.request_rerun(RerunData())  # as a timer or another widget does
        st.session_state["begun"] = True
        st.session_state["ended"] = st.session_state.get("ended", 0) + 1

    st.session_state["runs"] = st.session_state.get("runs", 0) + 1
    st.button("Act", on_click=whole(act) if is_whole else act)


@pytest.mark.parametrize("is_whole", [False, True])
def test_an_act_is_done_once_or_broken_off(is_whole):
    page = AppTest.from_function(_page, kwargs={"is_whole": is_whole}).run()
    page.button[0].click().run()
    assert ("ended" in page.session_state) is is_whole, f"streamlit {streamlit.__version__}"
    assert not is_whole or page.session_state["ended"] == 1
    assert page.session_state["runs"] == 2 and not page.exception


def _nested_page():
    import streamlit as st
    from streamlit.runtime.scriptrunner import RerunData, get_script_run_ctx

    from dashboard.session.whole import whole

    def inner():
        st.session_state["inner"] = True

    def outer():
        get_script_run_ctx().script_requests.request_rerun(RerunData())
        whole(inner)()
        st.session_state["outer"] = True

    def fails():
        raise ValueError("as it may")

    st.button("Nested", on_click=whole(outer))
    if st.button("Fails"):
        try:
            whole(fails)()
        except ValueError:
            get_script_run_ctx().script_requests.request_rerun(RerunData())
    st.session_state["drawn"] = st.session_state.get("drawn", 0) + 1


def test_one_act_within_another_and_one_that_fails_leave_drawing_as_it_was():
    page = AppTest.from_function(_nested_page).run()
    page.button[0].click().run()
    assert page.session_state["inner"] and page.session_state["outer"]
    drawn = page.session_state["drawn"]
    page.button[1].click().run()
    assert page.session_state["drawn"] == drawn + 1, "the run that was broken off did not count, the one after it did"


def test_what_the_equaliser_sent_comes_before_the_click(monkeypatch):
    session = {"history": History(Schedule.uniform(2)), KEY: {"sent": [{"number": 1, "limits": [["fc2", 1, 0, 1, True]]}]}}
    monkeypatch.setattr("streamlit.session_state", session)
    whole(state.edit_within_limits)(Schedule.uniform(2, fc2=0.5))
    assert state.schedule().ratios("fc2") == (0.5, 0.0), "block 1 was locked before"
    session[KEY] = {"sent": [{"number": 2, "ratios": {site: [0.1, 0.0] for site in SITES}}]}
    whole(state.undo)()
    assert state.schedule().ratios("fc2") == (0.5, 0.0), "the edit was undone, not what came before it"


def test_every_callback_of_the_dashboard_is_whole():
    found, bare = 0, []
    for path in DASHBOARD.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for keyword in node.keywords if isinstance(node, ast.Call) else ():
                if keyword.arg not in CALLBACKS:
                    continue
                value = keyword.value.body if isinstance(keyword.value, ast.IfExp) else keyword.value  # else: nothing is called
                if isinstance(value, ast.Constant):
                    continue
                found += 1
                if not (isinstance(value, ast.Call) and ast.unparse(value.func) == "whole"):
                    bare.append(f"{path.relative_to(DASHBOARD)}:{value.lineno} {ast.unparse(value)}")
    assert found > 20 and not bare


def test_no_page_acts_on_a_button_in_its_body():
    """A run that is broken off before it reaches the button has forgotten the click; a callback comes first."""
    for path in DASHBOARD.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.If):
                calls = [ast.unparse(one.func) for one in ast.walk(node.test) if isinstance(one, ast.Call)]
                assert not any(name.endswith(".button") for name in calls), f"{path}:{node.lineno}"
