"""What whole schedules are predicted to do."""

from dataclasses import replace

import numpy as np
import pytest

from tests.support.greys import grey_model
from toast_core.cost.macs import count_cost
from toast_core.intervals import Estimate
from toast_core.models.info import get_info
from toast_core.schedule.schedule import BlockSchedule, Schedule
from toast_core.studies.sensitivity.cells import grid
from toast_core.studies.sketch.prediction import MOST_LOST, Predictor, predicted_change, unsureness
from toast_core.studies.sketch.result import Sketch, Trial
from toast_core.studies.sketch.trials import trial_schedules

SHAPE = get_info(grey_model("vit")).shape
CELLS = grid(len(SHAPE.blocks), ("qk", "vo", "fc2"), (0.2, 0.5, 0.8))


def sketch(scale: float = 1.0) -> Sketch:
    """A sketch of random changes that grow with the ratio."""
    size = np.array([cell.ratio for cell in CELLS])[:, None, None]
    moved = scale * size * np.random.default_rng(0).normal(0, 0.1, (len(CELLS), 4, 50))
    return Sketch(tuple(CELLS), moved.astype(np.float32), "kl")


def schedule(**settings: object) -> Schedule:
    """Every second block pruned at three sites, at sketched ratios."""
    entry = BlockSchedule(qk=0.2, vo=0.5, fc2=0.8)
    return Schedule(tuple(entry if index % 2 else BlockSchedule() for index in range(len(SHAPE.blocks))), **settings)


def test_of_refitted_cells_damage_follows_the_square_of_what_they_move() -> None:
    once, twice = (Predictor(SHAPE, sketch(scale), True).damage(schedule()).damage for scale in (1.0, 2.0))
    assert twice.value == pytest.approx(4 * once.value, rel=1e-5)
    alone = sum(float(sketch().damage([cell]).mean()) for cell in CELLS if cell.block % 2 and (cell.site, cell.ratio) in {
        ("qk", 0.2), ("vo", 0.5), ("fc2", 0.8)
    })
    assert 0.4 * alone < once.value < 2.5 * alone and once.ci95[0] < once.value < once.ci95[1]


def test_what_meets_in_one_image_counts_together() -> None:
    cells = tuple(grid(len(SHAPE.blocks), ("fc2",), (0.5,)))
    draw = np.random.default_rng(1)
    alike = np.repeat(draw.normal(0, 0.1, (1, 4, 50)), len(cells), axis=0).astype(np.float32)
    apart = np.array([np.roll(alike[0], 7 * number, axis=1) for number in range(len(cells))])
    found = [
        Predictor(SHAPE, Sketch(cells, moved, "kl"), True).damage(Schedule.uniform(len(SHAPE.blocks), fc2=0.5)).damage.value
        for moved in (alike, apart)
    ]
    assert found[0] > 1.3 * found[1]


def test_nothing_dropped_is_nothing_lost() -> None:
    assert Predictor(SHAPE, sketch()).damage(Schedule.uniform(len(SHAPE.blocks))).damage == Estimate(0.0, (0.0, 0.0))


@pytest.mark.parametrize(("ratios", "why"), [
    ({"fc1": 0.3}, "fc1 of block 0 is not sketched"), ({"fc2": 0.9}, "block 0 drops 90 % of fc2, sketched are ratios up to 80 %"),
])
def test_what_is_not_sketched_is_not_predicted(ratios: dict, why: str) -> None:
    found = Predictor(SHAPE, sketch()).damage(Schedule.uniform(len(SHAPE.blocks), **ratios))
    assert (found.damage, found.why) == (None, why)


def test_a_ratio_between_two_sketched_ones_lies_between_them() -> None:
    predictor = Predictor(SHAPE, sketch())
    low, middle, high = (predictor.damage(Schedule.uniform(len(SHAPE.blocks), vo=ratio)).damage.value for ratio in (0.2, 0.35, 0.5))
    assert low < middle < high


@pytest.mark.parametrize("compensated", [False, True])
def test_measured_schedules_move_the_prediction_and_narrow_its_band(compensated: bool) -> None:
    bare = Predictor(SHAPE, sketch(), compensated)
    draw = np.random.default_rng(2)
    others = trial_schedules(SHAPE, CELLS, {}, 24, 3)
    trials = tuple(Trial(one, 1.6 * bare.damage(one).damage.value * float(np.exp(draw.normal(0, 0.1))), 64) for one in others)
    before, after = bare.damage(schedule()), Predictor(SHAPE, sketch(), compensated, trials).damage(schedule())
    assert (before.calibrated_by, after.calibrated_by) == (0, 24)
    assert after.damage.value == pytest.approx(1.6 * before.damage.value, rel=0.2)
    widths = [np.log(one.damage.ci95[1] / one.damage.ci95[0]) for one in (before, after)]
    assert widths[1] < 0.7 * widths[0] and after.damage.ci95[0] < 1.6 * before.damage.value < after.damage.ci95[1]
    kept = Predictor(SHAPE, replace(sketch(), trials=trials), compensated)
    assert kept.damage(schedule()) == after


@pytest.mark.parametrize("width", [0.3, 1.0])
def test_top1_follows_from_damage_where_two_classes_are_moved_by_a_normal(width: float) -> None:
    draw = np.random.default_rng(4)
    truth = draw.normal(2, 2, 400_000)
    moved = truth + draw.normal(0, width, truth.shape)
    p, q = 1 / (1 + np.exp(-truth)), 1 / (1 + np.exp(-moved))
    kl = float(np.mean(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))))
    found = predicted_change(Estimate(kl, (kl, kl)), truth)
    exact = 100 * float(np.mean(moved > 0) - np.mean(truth > 0))
    assert exact < -0.1 and found.value == pytest.approx(exact, rel=0.15) and found.ci95[0] < exact < found.ci95[1]


def test_heavy_losses_are_not_told_in_points() -> None:
    margins = np.random.default_rng(5).normal(2, 2, 1000)
    assert predicted_change(Estimate(3.0, (2.0, 4.0)), margins) is None
    near = next(found for kl in np.linspace(1, 0, 200) if (found := predicted_change(Estimate(kl, (kl / 2, 2 * kl)), margins)))
    assert -MOST_LOST <= near.value < -MOST_LOST + 1
    assert predicted_change(Estimate(0.0, (0.0, 0.0)), margins) == Estimate(0.0, (0.0, 0.0))


def test_trial_schedules_run_from_light_to_heavy_and_are_drawn_by_seed() -> None:
    found = trial_schedules(SHAPE, CELLS, {"selection": "calibrated"}, 6, 0)
    saved = [1 - count_cost(SHAPE, one).macs / count_cost(SHAPE).macs for one in found]
    assert len(found) == 6 and saved[-2] > 2 * saved[0] > 0 and {one.selection for one in found} == {"calibrated"}
    assert all(max(one.ratios(site)) <= 0.8 and not any(one.ratios("fc1")) for one in found for site in ("qk", "vo", "fc2"))
    assert trial_schedules(SHAPE, CELLS, {"selection": "calibrated"}, 6, 0) == found != trial_schedules(SHAPE, CELLS, {}, 6, 1)
    assert trial_schedules(SHAPE, grid(3, ("qk+vo",), (0.5,)), {}, 6, 0) == []


def test_images_of_which_the_baseline_is_less_sure_have_more_damage() -> None:
    margins = np.random.default_rng(6).normal(2, 2, 500)
    told = Predictor(SHAPE, replace(sketch(), unsure=unsureness(margins)), True)
    plain, same, more = (told.damage(schedule(), one).damage for one in (None, margins, margins / 3))
    assert same.value == pytest.approx(plain.value) and more.value == pytest.approx(plain.value * told.factor(margins / 3))
    assert more.value > 1.5 * plain.value and more.ci95[1] / more.value == pytest.approx(plain.ci95[1] / plain.value)
    assert Predictor(SHAPE, sketch(), True).damage(schedule(), margins).damage == plain, "nothing is known of the sketched images"
