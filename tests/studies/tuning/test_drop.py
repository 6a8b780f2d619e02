"""The cheapest schedule of which no more than so many answers change."""

from pathlib import Path

import pytest

from analysis_cache.store import EvidenceStore
from tests.support.commands import run_toast
from tests.support.greys import grey_data, grey_model
from toast_core.budget.problem import Budget
from toast_core.errors import ScheduleError
from toast_core.studies.subject import Subject
from toast_core.studies.tuning.drop import LOOKS, _next_reduction, changed_bound, tune_within_drop
from toast_core.studies.tuning.request import TuningRequest
from toast_core.studies.tuning.store import TuningStore

REQUEST = TuningRequest(Budget("macs", 1), ratios=(0.3, 0.6, 0.9), batch_size=64)


def test_what_is_found_stays_within_the_drop_and_saves_something(tmp_path: Path) -> None:
    model = grey_model()
    data = grey_data(model, 360, seed=2)
    with EvidenceStore.open(tmp_path / "store.sqlite") as store:
        tuned = tune_within_drop(model, data, REQUEST, 20.0, store=TuningStore(store, Subject.of(model, data, 64, "tuning")))
    told = tuned.report["max_drop"]
    assert told["asked"] == 20 and len(told["looks"]) == LOOKS
    row = next(one for one in tuned.report["candidates"] if one["name"] == tuned.report["chosen"])
    own = next(look for look in told["looks"] if look["reduction"] == tuned.report["reduction"])
    assert own["changed"] == pytest.approx(100 - row["agreement"]) and own["changed"] < own["at_most"] <= 20 and row["images"] == 120
    fitting = [look["reduction"] for look in told["looks"] if look["at_most"] <= 20]
    assert tuned.report["reduction"] == max(fitting) > 0


def test_bounds_of_all_looks_hold_together() -> None:
    one_alone = 100 * 1.645**2 / (300 + 1.645**2)
    assert one_alone < changed_bound(300, 300) < 2.5 * one_alone
    assert changed_bound(297, 300) > 100 * 3 / 300 and changed_bound(0, 300) == 100


@pytest.mark.parametrize(("tried", "expected"), [
    ([(0.4, True)], 0.48), ([(0.4, False)], 0.4 / 1.2), ([(0.4, True), (0.48, False)], 0.44), ([(0.4, False), (0.3, True)], 0.35),
])
def test_the_next_budget_lies_between_what_holds_and_what_does_not(tried: list, expected: float) -> None:
    assert _next_reduction(0.4, tried) == pytest.approx(expected)


@pytest.mark.parametrize(("most", "images", "message"), [
    (0.5, 60, r"20 held-out images cannot show that fewer than [\d.]+ % of the answers change; allow more than 0.5 points, or give about"),
    (0.0, 60, "a drop of 0 points is no goal; allow more than 0 and less than 100"),
    (100.0, 60, "a drop of 100 points is no goal"),
])
def test_what_cannot_be_shown_is_refused_before_any_work(most: float, images: int, message: str) -> None:
    model = grey_model()
    with pytest.raises(ScheduleError, match=message):
        tune_within_drop(model, grey_data(model, images, seed=2), REQUEST, most)


@pytest.mark.parametrize(("more", "message"), [
    (["--reduction", "0.4"], "--max-drop and a budget are given together; give one of them"),
    (["--front"], "--front is of a budget's tuning; leave it out with --max-drop, or give a budget"),
])
def test_a_drop_takes_the_place_of_a_budget(tmp_path: Path, more: list[str], message: str) -> None:
    words = ["--model", "demo_vit", "--calibration", "fashion-mnist:calibration", "-o", tmp_path / "s.json", "--store", tmp_path / "e.db"]
    status, _, stderr = run_toast("tune", *words, "--max-drop", "3", *more)
    assert status == 2 and message in stderr
