"""The Runs page without a browser, on a stand-in engine."""


import pytest
from streamlit.testing.v1 import AppTest

from dashboard.pages.runs.form import find_forms
from dashboard.pages.runs.page import in_order
from dashboard.session import state
from tests.support.apps import words
from tests.support.engines import RunsEngine, job
from toast_core.engine.protocol import Description
from toast_core.schedule.schedule import Schedule


@pytest.fixture
def runs_engine(monkeypatch: pytest.MonkeyPatch) -> RunsEngine:
    """A stand-in that the page talks to."""
    fake = RunsEngine()
    monkeypatch.setattr(state, "engine_client", lambda: fake)
    return fake


def _runs() -> None:
    from dashboard.pages.runs import page as runs
    from dashboard.session import state

    state.open_session(state.model_shape())
    runs.render()


def open_page() -> AppTest:
    """The page, drawn once."""
    at = AppTest.from_function(_runs, default_timeout=180).run()
    assert not at.exception
    return at


def test_without_runs_it_says_what_to_press_and_quotes_the_form(runs_engine):
    at = open_page()
    assert "No run yet. Choose what to measure above and press Start" in words(at)
    assert "**About 4 min** on this machine: 36 cells \N{MULTIPLICATION SIGN} 1,000 images." in words(at)
    assert "toast analyze --of this" in words(at)
    kind, run = runs_engine.asked[-1]
    assert kind == "quote" and run == {
        "kind": "sensitivity", "images": 1000, "selection": "calibrated", "sites": ["fc2"], "ratios": [0.3, 0.5, 0.7], "mode": "exact"
    }
    at.button(key="run-start").click().run()
    assert ("submit", run) in runs_engine.asked and "**Run 1**" in words(at)


def test_a_start_that_comes_with_what_was_typed_before_it_means_that(runs_engine):
    at = open_page()
    at.number_input(key="run-images").set_value(40)
    at.button(key="run-start").click().run()
    run = next(one[1] for one in runs_engine.asked if one[0] == "submit")
    assert run["images"] == 40, "not the 1,000 that the page had drawn"
    at.run()
    assert sum(kind == "submit" for kind, _ in runs_engine.asked) == 1


def test_a_refused_start_is_said(runs_engine):
    at = open_page()
    runs_engine.refusal = "the disk is full; make room"
    at.button(key="run-start").click().run()
    assert [error.value for error in at.error] == ["the disk is full; make room"]


def test_all_images_are_none_and_the_other_kinds_ask_for_what_they_need(runs_engine):
    at = open_page()
    at.number_input(key="run-images").set_value(10_000)
    at.segmented_control(key="run-kind").set_value("redundancy").run()
    assert runs_engine.asked[-1] == ("quote", {"kind": "redundancy", "images": None})
    at.segmented_control(key="run-kind").set_value("evaluation").run()
    assert runs_engine.asked[-1][1]["schedule"]["selection"] == "calibrated" and not at.exception


def test_a_sketch_asks_for_its_own_images_and_offers_every_site_and_ratio(runs_engine):
    at = open_page()
    at.segmented_control(key="run-kind").set_value("sketch").run()
    assert not at.exception and runs_engine.asked[-1] == ("quote", {
        "kind": "sketch", "images": 64, "draws": 2, "selection": "calibrated", "sites": ["qk", "vo", "fc1", "fc2"],
        "ratios": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9],
    })
    assert at.number_input(key="sketch-images").label == "Images of fashion-mnist:calibration"
    at.pills(key="sketch-sites").set_value([]).run()
    assert "Choose at least one of the sites" in words(at)


def test_what_is_offered_are_the_forms_of_the_folder_that_choose(runs_engine):
    forms = find_forms()
    offered = [form for form in forms.values() if form.choose]
    assert [form.kind for form in offered] == ["sensitivity", "redundancy", "evaluation", "recovery", "sketch"]
    control = open_page().segmented_control(key="run-kind")
    assert control.options == [form.title for form in offered] and control.help.split("  \n") == [
        f"{form.title}: {form.help}" for form in offered
    ]


def test_a_run_of_a_kind_without_a_form_has_a_card_like_any_other_and_a_tuning_gives_its_schedule(runs_engine):
    runs_engine.listed = [job(2, "done", run={"kind": "composition"}), job(1, "done", run={"kind": "tuning"}, title="tune")]
    at = open_page()
    assert "**Run 2**: sensitivity 2" in words(at) and "**Run 1**: tune" in words(at)
    assert [button.key for button in at.button if button.key and button.key.startswith("job-")] == ["job-take-1"]


def test_nothing_chosen_is_no_run(runs_engine):
    at = open_page()
    asked = len(runs_engine.asked)
    at.pills(key="run-sites").set_value([]).run()
    assert "Choose at least one of the sites" in words(at) and len(runs_engine.asked) == asked
    assert not [button for button in at.button if button.key == "run-start"]


@pytest.mark.parametrize(("state_", "actions"), [
    ("queued", ["pause", "cancel"]), ("running", ["pause", "cancel"]), ("paused", ["resume", "cancel"]), ("failed", ["resume"]),
    ("cancelled", ["resume"]), ("done", []),
])
def test_every_state_has_its_buttons_and_they_reach_the_engine(runs_engine, state_, actions):
    runs_engine.listed = [job(7, state_)]
    at = open_page()
    keys = [button.key for button in at.button if button.key and button.key.startswith("job-")]
    assert keys == [f"job-{action}-7" for action in actions]
    for action in actions:
        at.button(key=f"job-{action}-7").click().run()
        assert runs_engine.asked.count((action, 7)) == 1
    assert not at.exception


def test_a_refused_button_is_said_and_a_wish_is_not_asked_twice(runs_engine):
    runs_engine.listed = [job(7, "running", wish="cancel", done=5, total=10)]
    at = open_page()
    assert at.button(key="job-pause-7").disabled and at.button(key="job-cancel-7").disabled
    runs_engine.listed, runs_engine.refusal = [job(7, "paused")], "job 7 is done; only paused jobs can be resumed"
    at.run()
    at.button(key="job-resume-7").click().run()
    assert runs_engine.refusal in [error.value for error in at.error]


def test_the_log_and_the_command_are_a_switch_away(runs_engine):
    runs_engine.listed = [job(7, "failed", message="ended 3 times without a word")]
    at = open_page()
    assert at.error[0].value == "ended 3 times without a word" and "the log of 7" not in words(at)
    at.toggle(key="job-log-7").set_value(True).run()
    assert "the log of 7" in words(at) and "toast analyze --number 7" in words(at)


def test_an_analysis_is_opened_only_where_it_is_about_this_model(runs_engine):
    runs = {"apply": {"schedule": Schedule.uniform(12, fc2=0.5).to_dict()}, "redundancy": {}, "evaluation": {}}
    runs_engine.listed = [
        job(number, "done", run={"kind": kind, **settings}, analysis="0123456789abcdef", basis={"model": model, "data": "fashion-mnist"})
        for number, (model, (kind, settings)) in enumerate(((model, one) for model in ("demo_vit", "demo_swin") for one in runs.items()), 1)
    ]
    buttons = {button.key: button.disabled for button in open_page().button if button.key.startswith("job-open")}
    assert buttons == {"job-open-1": False, "job-open-2": False, "job-open-4": True, "job-open-5": True}


def test_old_runs_are_in_the_table_only(runs_engine):
    runs_engine.listed = [job(number, "done", finished_at=1e9 + 5) for number in range(9, 0, -1)] + [job(0, "paused")]
    at = open_page()
    assert [number for number in range(10) if f"**Run {number}**" in words(at)] == [0, 5, 6, 7, 8, 9]
    assert list(at.dataframe[0].value["Run"]) == [*range(9, 0, -1), 0]


def test_what_runs_comes_first_then_what_waits_in_its_order():
    jobs = [job(5, "queued", queued_at=9.0), job(4, "done"), job(3, "paused"), job(2, "running"), job(1, "queued", queued_at=2.0)]
    assert [found.number for found in in_order(jobs)] == [2, 1, 5, 3, 4]


def test_while_the_engine_starts_the_runs_are_there_and_the_form_waits(runs_engine):
    runs_engine.description = Description("starting", progress="Loading PyTorch")
    runs_engine.listed = [job(3, "running")]
    at = open_page()
    assert "**Run 3**" in words(at) and "Loading PyTorch" in words(at) and not runs_engine.asked
