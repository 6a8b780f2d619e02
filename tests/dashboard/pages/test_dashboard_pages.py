"""The pages without a browser, on a stand-in engine."""

from dataclasses import replace

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.engine.client import EngineError
from dashboard.limits import Limit
from dashboard.session import state
from dashboard.session.history import History
from dashboard.session.link import link_parameters
from tests.support import apps
from toast_core.engine.protocol import Description, Predicted
from toast_core.intervals import Estimate
from toast_core.schedule.compensation import FULL
from toast_core.schedule.schedule import Schedule


def _overview() -> None:
    from dashboard.pages.overview import page as overview
    from dashboard.session import state

    state.open_session(state.model_shape())
    overview.render()


def _tune() -> None:
    import streamlit as st

    from dashboard.pages.tune import page as tune
    from dashboard.session import state

    state.open_session(state.model_shape())
    st.text(st.session_state.pop("notice", ""))
    tune.render()


def _words(at: AppTest) -> str:
    return apps.words(at, "metric", "text")


def _measured(at: AppTest) -> str:
    """What the page says of the finished measurement."""
    return next(one.value for one in at.caption if one.value.startswith("Measured on"))


def _open_tune(link: dict[str, str] | None = None) -> AppTest:
    at = AppTest.from_function(_tune, default_timeout=180)
    for name, value in (link or {}).items():
        at.query_params[name] = value
    at.run()
    assert not at.exception
    return at


def _set(at: AppTest, block: int, site: str, ratio: float) -> None:
    """Edit as the equaliser does, which only a browser shows."""
    at.session_state["history"] = state_of(at).edit(state_of(at).present.with_ratio(block, site, ratio))
    at.run()


def test_app_opens_on_the_overview_with_cards_and_one_primary_button(engine):
    at = AppTest.from_file("../../../dashboard/entry/session.py", default_timeout=180).run()
    assert not at.exception
    assert at.title[0].value == "ToaSt Studio"
    assert at.button[0].label == "Tune"
    words = _words(at)
    assert "0.0722" in words and "fashion-mnist, 10,000 images" in words and "0123456789ab" in words
    assert {"What can be saved", "One block", "Where the compute is", "Data"} <= {head.value for head in at.subheader}
    assert list(at.dataframe[0].value["Schedule"])[:2] == ["Baseline", "Uniform 30 %"]


def test_overview_shows_the_demo_while_the_engine_starts(engine):
    engine.description = Description("starting", progress="Loading PyTorch")
    at = AppTest.from_function(_overview, default_timeout=180).run()
    assert not at.exception
    assert "Loading PyTorch" in at.info[0].value
    assert "0.0722" in _words(at)


def test_overview_says_why_the_engine_failed_and_what_to_press(engine):
    engine.description = Description("failed", error="weights file x.safetensors is of no model; supported: vit_*, deit_*")
    at = AppTest.from_function(_overview, default_timeout=180).run()
    assert at.error[0].value == r"weights file x.safetensors is of no model; supported\: vit\_\*, deit\_\*"  # each star is shown
    at.button(key="engine-retry").click().run()
    assert engine.restarts == 1


def test_tune_says_what_was_measured_with_one_decimal_at_least(engine):
    assert _measured(_open_tune()) == (
        "Measured on 1,000 images: top-1 87.4 % (95 %: 85.4 to 89.4 %), 0.0 points against the baseline's 87.4 % on the same images "
        "(\N{MINUS SIGN}0.5 to +0.5); this is the baseline."
    )


def test_an_edit_measures_again_and_undo_shows_the_kept_result(engine):
    at = _open_tune()
    _set(at, 10, "fc2", 0.5)
    assert "\N{MINUS SIGN}3.2 points against the baseline's 87.4 %" in _measured(at) and "worse than the baseline" in _measured(at)
    assert len(engine.measured) == 2
    at.button(key="undo").click().run()
    assert state_of(at).present.is_baseline and "this is the baseline" in _measured(at)
    assert len(engine.measured) == 2
    at.button(key="redo").click().run()
    assert state_of(at).present.blocks[10].fc2 == 0.5
    assert not at.exception


def test_an_edit_is_predicted_before_it_is_measured_and_the_predictions_are_counted(engine):
    kl = Estimate(0.031, (0.011, 0.087))
    at = _open_tune()
    for block, change, inside in ((10, (-9.0, 1.0), "1 of 1"), (9, (-1.0, 1.0), "1 of 2")):
        engine.predicted = Predicted(kl, Estimate(sum(change) / 2, change), 6)
        _set(at, block, "fc2", 0.5)
        told = next(one.value for one in at.caption if "learned from 6 measured schedules" in one.value)
        assert "predicted" in told and "KL 0.0310 nats (0.0110 to 0.0870)" in told and "points (95 %: " in told
        at.run()
        assert any(f"{inside} measured schedules were inside their predicted interval" in one.value for one in at.caption)
    at.button(key="undo").click().run()
    assert any("0.0310" in one.value for one in at.caption), "what was predicted is kept with the result"


@pytest.mark.parametrize(("predicted", "words"), [
    (Predicted(None, None, 0, "no sketch of refitted cells is stored"), "Not predicted: no sketch of refitted cells is stored"),
    (Predicted(Estimate(1.2, (0.5, 3.0)), None, 1, "more is lost than can be told in points"),
     "KL 1.2000 nats (0.5000 to 3.0000); learned from 1 measured schedule; more is lost than can be told in points"),
    (Predicted(Estimate(0.1, (0.05, 0.3)), Estimate(-2.0, (-5.0, 0.0)), 0), "no schedule measured yet to learn from"),
])
def test_what_cannot_be_predicted_is_said(engine, predicted, words):
    engine.predicted = predicted
    at = _open_tune()
    _set(at, 10, "fc2", 0.5)
    assert any(words in one.value for one in at.caption), [one.value for one in at.caption]


def test_starting_point_site_and_every_block(engine):
    at = _open_tune()
    at.selectbox(key="start").set_value("Uniform 50 %").run()
    assert state_of(at).present == Schedule.uniform(12, 0.5, 0.5, 0.5, 0.5, selection="calibrated", compensation=FULL)
    assert at.selectbox(key="start").value is None
    at.number_input(key="every-block").set_value(20.0).run()
    at.button(key="set-everywhere").click().run()
    assert state_of(at).present.ratios("fc2") == (0.2,) * 12
    assert not at.exception


def test_every_block_and_starting_points_honour_locks_and_ranges(engine):
    at = _open_tune()
    at.session_state["limits"] = {("fc2", 0): Limit(locked=True), ("fc2", 1): Limit(0.0, 0.25)}
    at.button(key="set-everywhere").click().run()
    assert state_of(at).present.ratios("fc2") == (0.0, 0.25, *(0.3,) * 10)
    assert "held back 2 of the changes" in _words(at)
    at.selectbox(key="start").set_value("Uniform 50 %").run()
    assert state_of(at).present.ratios("fc2") == (0.0, 0.25, *(0.5,) * 10)


def test_compensation_is_on_at_first_and_another_selection_has_none(engine):
    at = _open_tune()
    assert state_of(at).present.compensation == FULL and at.toggle(key="compensated").value
    at.button_group(key="selection").set_value("per_image").run()
    assert state_of(at).present.compensation.is_none and at.toggle(key="compensated").disabled
    at.button_group(key="selection").set_value("calibrated").run()
    assert state_of(at).present.compensation == FULL and at.toggle(key="compensated").value and not at.exception
    at.toggle(key="compensated").set_value(False).run()
    assert state_of(at).present.compensation.is_none and state_of(at).present.selection == "calibrated"


def test_kept_counts_are_rounded_on_request(engine):
    at = _open_tune()
    at.button_group(key="multiple").set_value(8).run()
    assert state_of(at).present.multiple_of == 8
    at.button(key="undo").click().run()
    assert state_of(at).present.multiple_of == 1 and not at.exception


def test_without_images_cost_is_computed_and_nothing_is_measured(engine):
    engine.description = replace(engine.description, data=None, calibration=None)
    at = _open_tune()
    _set(at, 10, "fc2", 0.5)
    assert not engine.measured and not at.error
    assert "started without images" in at.info[0].value


def test_engine_error_is_one_line_with_a_way_on(engine):
    engine.error = EngineError("the engine went away while measuring; measure again to start it anew")
    at = _open_tune()
    assert at.error[0].value.startswith("the engine went away")
    engine.error = None
    at.button(key="measure-again").click().run()
    assert not at.error and "top-1 87.4 %" in _measured(at)


def test_link_reproduces_the_view_and_a_bad_one_leaves_a_warning(engine):
    wanted = Schedule.uniform(12, 0.1, 0.2, 0.3, 0.4, selection="per_batch")
    at = _open_tune(link_parameters(wanted, state.model_shape()))
    assert state_of(at).present == wanted
    at = _open_tune({"schedule": "nonsense"})
    assert "link was not used" in _words(at)
    assert state_of(at).present.is_baseline


@pytest.mark.parametrize("content", [b"{", b'{"version": 1, "blocks": [{"fc2": 0.5}]}', b'{"version": 1, "blocks": [{"fc2": 50}]}'])
def test_bad_upload_says_why_and_changes_nothing(engine, content):
    at = _open_tune()
    at.get("file_uploader")[0].set_value(("bad.json", content, "application/json")).run()
    assert "bad.json was not used" in at.error[0].value and "\n" not in at.error[0].value
    assert state_of(at).present.is_baseline


def test_upload_takes_a_schedule_in_hand(engine):
    wanted = Schedule.uniform(12, 0.1, 0.2, 0.3, 0.4)
    at = _open_tune()
    at.get("file_uploader")[0].set_value(("mine.json", wanted.to_json().encode(), "application/json")).run()
    assert state_of(at).present == wanted


def state_of(at: AppTest) -> History:
    """The session's history."""
    return at.session_state["history"]
