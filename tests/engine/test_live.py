"""Live measurement: only the blocks from the first change on are run, and nothing shows it but the speed."""

import copy
import random
from unittest import mock

import numpy as np
import pytest
import torch

from tests.support.families import block_count
from tests.support.greys import grey_data, grey_model
from toast_core.compensation.walk import compensate
from toast_core.engine.live import LiveEvaluator
from toast_core.errors import ModelError, PlanError, ScheduleError
from toast_core.pruning.execution.apply import apply_plan
from toast_core.pruning.planner import make_plan
from toast_core.pruning.statistics import Statistics, collect_statistics
from toast_core.schedule.compensation import FULL
from toast_core.schedule.schedule import SELECTIONS, Schedule
from toast_core.schedule.sites import SITES
from toast_core.studies.evaluation.measure import beside_baseline, evaluate
from toast_core.studies.evaluation.result import Outcomes

BATCH_SIZE = 6


def statistics_of(kind: str) -> Statistics:
    """Calibration statistics of a tiny model."""
    model = grey_model(kind)
    return collect_statistics(model, [batch.images for batch in grey_data(model, seed=9).batches(8)])


def live(kind: str = "vit") -> LiveEvaluator:
    """An evaluator over four batches, the last one smaller."""
    model = grey_model(kind)
    return LiveEvaluator(model, list(grey_data(model).batches(BATCH_SIZE)), statistics_of(kind))


def whole(kind: str, schedule: Schedule) -> Outcomes:
    """The same schedule by a whole forward of the masked model."""
    model = grey_model(kind)
    return evaluate(apply_plan(model, make_plan(model, schedule, statistics_of(kind)), "masked"), grey_data(model), BATCH_SIZE).outcomes


def same(first: Outcomes, second: Outcomes) -> None:
    """Assert that outcomes agree image by image."""
    assert np.array_equal(first.index, second.index)
    assert np.array_equal(first.label, second.label)
    np.testing.assert_allclose(first.loss, second.loss, rtol=1e-5)
    assert np.array_equal(first.predicted, second.predicted)
    assert np.array_equal(first.top5, second.top5)


@pytest.mark.parametrize("kind", ["vit", "swin"])
@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_sequence_of_edits_equals_whole_forwards(kind: str, selection: str, seed: int) -> None:
    rng, evaluator = random.Random(f"{kind} {selection} {seed}"), live(kind)
    blocks = block_count(grey_model(kind))
    schedule = Schedule.uniform(blocks, selection=selection, token_fraction=0.5)
    losses = set()
    for _ in range(8):
        schedule = schedule.with_ratio(rng.randrange(blocks), rng.choice(SITES), rng.choice([0.0, 0.3, 0.6, 0.9]))
        *_, last = evaluator.measure(schedule)
        same(last, whole(kind, schedule))
        losses.add(round(float(last.loss.mean()), 6))
    assert len(losses) > 3


@pytest.mark.parametrize(
    "settings",
    [
        {"selection": "per_batch"}, {"selection": "calibrated"}, {"seed": 5}, {"score": "l1"}, {"coupling": "average"}, {"multiple_of": 4},
        {"class_weight": 9.0}, {"token_fraction": 1.0},
    ],
    ids=str,
)
def test_a_changed_setting_is_noticed(settings: dict) -> None:
    evaluator = live()
    ratios = {"qk": 0.6, "vo": 0.6, "fc1": 0.6, "fc2": 0.6}
    *_, first = evaluator.measure(Schedule.uniform(3, **ratios, **{"token_fraction": 0.5}))
    changed = Schedule.uniform(3, **ratios, **{"token_fraction": 0.5, **settings})
    *_, second = evaluator.measure(changed)
    same(second, whole("vit", changed))
    assert not np.allclose(first.loss, second.loss)


def test_compensated_edits_equal_whole_forwards() -> None:
    model, evaluator = grey_model(), live()
    images = [batch.images for batch in grey_data(model, seed=9).batches(8)]
    schedule = Schedule.uniform(3, selection="calibrated", compensation=FULL)
    for block, site, ratio in ((2, "fc2", 0.6), (1, "qk", 0.5), (2, "fc1", 0.3), (0, "vo", 0.5), (2, "fc2", 0.0), (0, "vo", 0.0)):
        schedule = schedule.with_ratio(block, site, ratio)
        plan = compensate(model, schedule, images)
        *_, last = evaluator.measure(schedule, plan=plan)
        same(last, evaluate(apply_plan(model, compensate(model, schedule, images), "masked"), grey_data(model), BATCH_SIZE).outcomes)


def test_the_baseline_and_back() -> None:
    evaluator, zero, pruned = live(), Schedule.uniform(3), Schedule.uniform(3, fc2=0.9)
    *_, first = evaluator.measure(zero)
    same(first, evaluate(grey_model(), grey_data(grey_model()), BATCH_SIZE).outcomes)
    *_, middle = evaluator.measure(pruned)
    assert not np.allclose(middle.loss, first.loss)
    *_, again = evaluator.measure(zero)
    assert np.array_equal(again.loss, first.loss)


def test_outcomes_grow_batch_by_batch() -> None:
    sizes = [len(outcomes.label) for outcomes in live().measure(Schedule.uniform(3, fc2=0.5))]
    assert sizes == [6, 12, 18, 23]


def test_blocks_before_the_change_are_not_run_again() -> None:
    model = copy.deepcopy(grey_model())
    evaluator = LiveEvaluator(model, list(grey_data(model).batches(BATCH_SIZE)))
    runs = [0, 0, 0]
    for index, block in enumerate(model.blocks):
        block.register_forward_pre_hook(lambda *_, index=index: runs.__setitem__(index, runs[index] + 1))
    list(evaluator.measure(Schedule.uniform(3)))
    assert runs == [4, 4, 4]
    list(evaluator.measure(Schedule.uniform(3).with_ratio(2, "fc2", 0.5)))
    assert runs == [4, 4, 4]
    list(evaluator.measure(Schedule.uniform(3).with_ratio(1, "fc2", 0.5)))
    assert runs == [4, 4, 8]
    list(evaluator.measure(Schedule.uniform(3).with_ratio(1, "fc2", 0.5)))
    assert runs == [4, 4, 8]


def test_going_back_runs_nothing_and_what_comes_after_is_right() -> None:
    rng, ways, evaluator = random.Random(7), [], live()
    schedules = [Schedule.uniform(3), *(Schedule.uniform(3).with_ratio(block, "fc2", 0.5) for block in range(3))]
    for _ in range(12):
        schedule = rng.choice(schedules)
        with mock.patch.object(LiveEvaluator, "_run", autospec=True, side_effect=LiveEvaluator._run) as run:
            *_, last = evaluator.measure(schedule)
        same(last, whole("vit", schedule))
        assert (run.call_count > 0) == (schedule not in ways)
        ways.append(schedule)
    assert len(set(ways)) > 2


@pytest.mark.parametrize("held", [[], [0], [1], [0, 2]], ids=str)
def test_what_is_not_held_is_run_again_to_the_same_figures(held: list[int]) -> None:
    model, rng = grey_model(), random.Random(3)
    evaluator = LiveEvaluator(model, list(grey_data(model).batches(BATCH_SIZE)), held=held)
    schedule = Schedule.uniform(3)
    for _ in range(5):
        schedule = schedule.with_ratio(rng.randrange(3), rng.choice(SITES), rng.choice([0.3, 0.6]))
        *_, last = evaluator.measure(schedule)
        same(last, whole("vit", schedule))
        kept = [[index for index, x in enumerate(chunk.inputs) if x is not None] for chunk in evaluator.chunks]
        assert all(one == held for one in kept)


class TestSuperseded:
    """A newer schedule stops an older measurement, and what was cached stays right."""

    def test_it_stops_at_once(self) -> None:
        assert list(live().measure(Schedule.uniform(3), superseded=lambda: True)) == []

    def test_it_stops_between_batches(self) -> None:
        seen: list[Outcomes] = []
        for outcomes in live().measure(Schedule.uniform(3, fc2=0.5), superseded=lambda: len(seen) == 2):
            seen.append(outcomes)
        assert [len(outcomes.label) for outcomes in seen] == [6, 12]

    @pytest.mark.parametrize("after", [0, 1, 3])
    def test_the_next_measurement_is_right(self, after: int) -> None:
        evaluator, seen = live(), []
        list(evaluator.measure(Schedule.uniform(3, selection="per_batch")))
        halted = Schedule.uniform(3, fc2=0.5, selection="per_batch")
        for outcomes in evaluator.measure(halted, superseded=lambda: len(seen) == after):
            seen.append(outcomes)
        for schedule in (halted.with_ratio(2, "fc2", 0.9), halted, Schedule.uniform(3, selection="per_batch")):
            *_, last = evaluator.measure(schedule)
            same(last, whole("vit", schedule))

    def test_a_measurement_that_is_dropped_half_way(self) -> None:
        evaluator = live()
        next(evaluator.measure(Schedule.uniform(3, fc2=0.5)))
        schedule = Schedule.uniform(3, fc2=0.5).with_ratio(1, "qk", 0.5)
        *_, last = evaluator.measure(schedule)
        same(last, whole("vit", schedule))

    def test_who_reads_half_of_it_is_not_left_in_inference_mode(self) -> None:
        measurement = live().measure(Schedule.uniform(3, fc2=0.5))
        next(measurement)
        assert not torch.is_inference_mode_enabled()


class TestRefusals:
    """A schedule that does not fit leaves the evaluator usable."""

    def test_another_length(self) -> None:
        evaluator = live()
        with pytest.raises(ScheduleError, match=r"the schedule has 2 blocks but .* has 3"):
            next(evaluator.measure(Schedule.uniform(2)))
        *_, last = evaluator.measure(Schedule.uniform(3, vo=0.5))
        same(last, whole("vit", Schedule.uniform(3, vo=0.5)))

    def test_calibration_that_is_not_there(self) -> None:
        evaluator = LiveEvaluator(grey_model(), list(grey_data(grey_model()).batches(BATCH_SIZE)))
        with pytest.raises(PlanError, match="selection 'calibrated' needs calibration images"):
            next(evaluator.measure(Schedule.uniform(3, fc2=0.5, selection="calibrated")))

    def test_a_pruned_model(self) -> None:
        model = grey_model()
        with pytest.raises((ModelError, PlanError)):
            LiveEvaluator(apply_plan(model, make_plan(model, Schedule.uniform(3, fc2=0.5))), [])


def test_the_model_is_left_as_it_was() -> None:
    model = copy.deepcopy(grey_model())
    before, modules = {key: value.clone() for key, value in model.state_dict().items()}, [id(module) for module in model.modules()]
    evaluator = LiveEvaluator(model, list(grey_data(model).batches(BATCH_SIZE)))
    list(evaluator.measure(Schedule.uniform(3, qk=0.5, vo=0.5, fc1=0.5, fc2=0.5)))
    assert all(np.array_equal(value, before[key]) for key, value in model.state_dict().items())
    assert [id(module) for module in model.modules()] == modules


@pytest.mark.parametrize("kind", ["vit", "swin"])
def test_damage_beside_the_baseline_is_known_where_every_image_was_run(kind: str) -> None:
    evaluator, model = live(kind), grey_model(kind)
    blocks = block_count(model)
    schedule = Schedule.uniform(blocks, vo=0.3, fc2=0.5, selection="calibrated")
    list(evaluator.measure(Schedule.uniform(blocks)))
    assert evaluator.damage() is None
    list(evaluator.measure(schedule))
    pruned = apply_plan(model, make_plan(model, schedule, statistics_of(kind)), "masked")
    exact = beside_baseline(model, pruned, list(grey_data(model).batches(BATCH_SIZE))).damage()
    np.testing.assert_allclose(evaluator.damage(), exact, rtol=1e-3, atol=1e-6)
    list(evaluator.measure(Schedule.uniform(blocks)))
    list(evaluator.measure(schedule))
    assert evaluator.damage() is None, "it was known, and not run again"
