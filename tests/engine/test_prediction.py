"""What the engine expects of a schedule before it measures it."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.engine.test_desk import measured
from tests.engine.test_map import drawn, map_setup
from tests.support.folders import make_folder
from toast_core.engine.prediction import Foresight
from toast_core.engine.protocol import Measurement, Predicted
from toast_core.errors import ScheduleError
from toast_core.schedule.compensation import FULL, Compensation
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup
from toast_core.workbench import Workbench

__all__ = ["map_setup"]  # a fixture, which is asked for by its name
PRUNED = Schedule.uniform(3, vo=0.3, fc2=0.5, selection="calibrated")


@pytest.fixture
def setup(map_setup: Setup, tmp_path: Path) -> Setup:
    """The map's, with twice as many images to calibrate on: of refitted cells some are sketched, and the others fitted on."""
    return replace(map_setup, calibration=str(make_folder(tmp_path / "more", {"any": 24})))


def test_a_schedule_is_predicted_before_it_is_measured(setup) -> None:
    first, *rest = drawn(setup).measure("a", PRUNED, None)
    assert isinstance(first, Predicted) and first.why == "" and first.calibrated_by == 6
    low, high = first.damage.ci95
    assert 0 <= low < first.damage.value < high and first.change.ci95[0] <= first.change.value <= first.change.ci95[1]
    figures = [message for message in rest if isinstance(message, Measurement)]
    assert figures[-1].is_done and {message.predicted for message in figures} == {first.change}


def test_a_measured_schedule_teaches_the_others_and_never_itself(setup) -> None:
    desk = drawn(setup)
    other = replace(PRUNED, blocks=PRUNED.with_ratio(1, "vo", 0.6).blocks)
    for schedule, known in ((PRUNED, 6), (other, 7), (PRUNED, 7), (other, 7)):
        assert next(iter(desk.measure("a", schedule, None))).calibrated_by == known
        measured(desk, "a", schedule)


def test_nothing_is_predicted_of_the_baseline_and_nothing_learned_from_a_part(setup) -> None:
    desk = drawn(setup)
    assert isinstance(next(iter(desk.measure("a", Schedule.uniform(3), None))), Measurement)
    list(desk.measure("a", PRUNED, 4))
    assert next(iter(desk.measure("a", PRUNED, None))).calibrated_by == 6


def test_a_prediction_alone_measures_nothing_and_says_what_a_measurement_is_told_first(setup) -> None:
    desk = drawn(setup)
    assert desk.predict(PRUNED) == next(iter(desk.measure("a", PRUNED, None)))
    assert desk.predict(Schedule.uniform(3)).why == "this is the baseline"
    with pytest.raises(ScheduleError, match="the schedule has 2 blocks but demo_tiny has 3"):
        desk.predict(Schedule.uniform(2))


@pytest.mark.parametrize(("schedule", "why"), [
    (replace(PRUNED, selection="per_image"), "no sketch of cells chosen per image is stored"),
    (replace(PRUNED, compensation=FULL), "no sketch of refitted cells is stored"),
    (replace(PRUNED, compensation=Compensation("bias")), "sketched are cells refitted by fold and project alone"),
    (PRUNED.with_ratio(1, "fc2", 0.95), "block 1 drops 95 % of fc2, sketched are ratios up to 90 %"),
])
def test_where_it_cannot_predict_it_says_so(setup, schedule, why) -> None:
    found = next(iter(drawn(setup).measure("a", schedule, None)))
    assert (found.damage, found.change, found.why) == (None, None, why)


def test_the_first_compensated_schedule_has_its_map_drawn_and_the_next_one_is_predicted(setup) -> None:
    desk, compensated = drawn(setup), replace(PRUNED, compensation=FULL)
    assert desk.describe().sketch.compensated is False
    first, *_ = desk.measure("a", compensated, None)
    assert first.why == "no sketch of refitted cells is stored"
    for thread in threading.enumerate():
        if thread.name == "refitted map":
            thread.join()
    card = desk.describe().sketch
    assert (card.compensated, card.finished, card.images, card.error) == (True, True, 6, "")
    found = next(iter(desk.measure("a", compensated, None)))
    assert found.damage is not None and found.change is not None and found.calibrated_by == 0
    assert not [thread for thread in threading.enumerate() if thread.name == "refitted map"]


def test_without_calibration_images_no_map_of_refits_is_drawn(setup) -> None:
    desk = drawn(replace(setup, calibration=None))
    assert not desk._model.lacks_refits(replace(PRUNED, compensation=FULL)) and not desk._model.lacks_refits(PRUNED)


def test_a_backbones_cosine_falls_by_the_predicted_distance(setup) -> None:
    first, *rest = drawn(replace(setup, num_classes=0)).measure("a", PRUNED, None)
    assert first.change.value == pytest.approx(-first.damage.value) and first.change.ci95 == pytest.approx(
        (-first.damage.ci95[1], -first.damage.ci95[0])
    )
    assert next(message for message in rest if isinstance(message, Measurement)).predicted == first.change


def test_a_sketch_of_other_input_is_passed_over(setup) -> None:
    desk = drawn(setup)
    workbench, (*_, baseline) = Workbench.load(setup), desk._model._outcomes
    own = {workbench.images(11).transform.description}
    assert Foresight(workbench, frozenset(own)).predict(PRUNED, baseline).damage is not None
    assert "no sketch" in Foresight(workbench, frozenset({"crop_pct=0.5"})).predict(PRUNED, baseline).why


def test_a_prediction_that_fails_stops_no_measurement(setup, monkeypatch) -> None:
    desk = drawn(setup)
    monkeypatch.setattr(Foresight, "predict", lambda *_: np.linalg.inv(np.zeros((2, 2))))
    first, *rest = desk.measure("a", PRUNED, None)
    assert first.why == "the prediction failed (LinAlgError); see the engine's log" and rest[-1].is_done
