"""What can be saved: which tuned schedules count, and what is measured of them."""

from dataclasses import replace

import numpy as np
import pytest

from analysis_cache.store import EvidenceStore
from dashboard.evidence import find as evidence
from dashboard.evidence import savings
from dashboard.evidence.candidates import stored_evaluations
from dashboard.evidence.find import find_evidence
from dashboard.evidence.savings import measured_savings, offered_points, tuned_schedules
from tests.support import curves as made_up
from tests.support.evaluations import BASE, LESS, VIT, WAS, put_evaluation
from tests.support.tunings import put_tuning
from toast_core.cost.macs import count_cost
from toast_core.schedule.compensation import FULL
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup

TUNED = Schedule.uniform(12, fc2=0.6, selection="calibrated", compensation=FULL)
PERCENT = round(100 * (1 - count_cost(VIT, TUNED).macs / count_cost(VIT).macs))


@pytest.fixture
def setup(tmp_path, monkeypatch) -> Setup:
    """A store with one tuning, and no bundle beside it."""
    monkeypatch.setattr(evidence, "shipped_bundles", list)
    offered_points.clear()
    path = tmp_path / "evidence.sqlite"
    put_tuning(path, TUNED, "b" * 64)
    return Setup(store=str(path)).completed()


def test_a_tuned_schedule_is_offered_under_what_it_saves_after_the_baseline(setup):
    (found,) = tuned_schedules(find_evidence(setup, "demo_vit"), VIT)
    assert (found.percent, found.schedule, found.change, found.speed) == (PERCENT, TUNED, None, None)
    names = [point.name for point in offered_points(setup, VIT, BASE)]
    assert names[:2] == ["Baseline", f"Tuned, {PERCENT} % fewer MACs"] and len(names) > 3


def test_of_other_images_or_another_model_none_is_offered(setup):
    assert not tuned_schedules(find_evidence(setup, "demo_vit", "f" * 64, "e" * 64), VIT)
    assert tuned_schedules(find_evidence(setup, "demo_vit", "f" * 64, "b" * 64), VIT)
    assert not tuned_schedules(find_evidence(setup, "demo_swin"), VIT)
    shorter = replace(VIT, blocks=VIT.blocks[:3])
    assert not tuned_schedules(find_evidence(setup, "demo_vit"), shorter), "of a schedule for another length"


def test_what_is_measured_is_the_paired_difference_on_the_images_of_both(setup):
    tuned = tuned_schedules(find_evidence(setup, "demo_vit"), VIT)
    with EvidenceStore.open(setup.store) as store:
        put_evaluation(store, TUNED, LESS, 400)
    found = find_evidence(setup, "demo_vit")
    assert measured_savings(tuned, stored_evaluations(found), None)[0].change is None, "nothing to compare with"
    with EvidenceStore.open(setup.store) as store:
        put_evaluation(store, BASE, WAS)
    (one,) = measured_savings(tuned, stored_evaluations(find_evidence(setup, "demo_vit")), made_up.latency_table(VIT))
    assert one.images == 400 and one.change.value == pytest.approx(100 * (np.mean(LESS[:400]) - np.mean(WAS[:400])))
    table = made_up.latency_table(VIT)
    assert one.speed == pytest.approx(table.predict_ms() / table.predict_ms(TUNED)) and one.speed > 1


def test_goals_are_what_the_cards_say():
    assert tuple(sorted(savings.GOALS)) == savings.GOALS and all(0 < goal < 100 for goal in savings.GOALS)
