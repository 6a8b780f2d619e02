"""Comparing, without a page: pairs and damage, candidates and the front, lineage, the audit and what it teaches."""

import math

import numpy as np
import pytest

from dashboard.evidence.audit import MIN_IMAGES, audit
from dashboard.evidence.candidates import candidates, change_to, on_same_images, pareto, stored_evaluations
from dashboard.evidence.damage import damage_of, holm, mcnemar, paired_change
from dashboard.evidence.draft import Draft, Result
from dashboard.evidence.find import find_evidence
from dashboard.evidence.prediction import MIN_LEARNED, Interaction, effects, joint_loss, learn, predict, predict_change
from dashboard.evidence.starting_points import starting_points
from dashboard.pages.compare.audit import coverage_in_words, learned_in_words
from dashboard.pages.compare.evaluation import lacking, run_of
from dashboard.pages.compare.lineage import in_tree_order, parent_of, step_in_accuracy
from tests.support.evaluations import BASE, CURVES, DRAFT, IMAGES, LABELS, LESS, VIT, WAS, arrays, schedules
from toast_core.intervals import paired_interval
from toast_core.schedule.schedule import Schedule
from toast_core.studies.evaluation.result import Estimate

# ---------- pairs and damage


def test_only_images_that_both_have_seen_are_paired():
    before, after = arrays(WAS, LABELS), arrays(LESS[100:], LABELS[100:], 100)
    order = np.random.default_rng(0).permutation(len(after["index"]))
    shuffled = {name: values[order] for name, values in after.items()}
    change, images = paired_change(before, shuffled)
    assert images == IMAGES - 100 and change.value == pytest.approx(100 * (LESS[100:].mean() - WAS[100:].mean()))
    assert change.ci95 == paired_interval(WAS[100:], LESS[100:])
    assert paired_change(before, arrays(WAS, LABELS, 10_000)) is None and damage_of(before, arrays(WAS, LABELS, 10_000)) is None


def test_damage_counts_by_class_and_lists_the_surest_mistakes_first():
    found = damage_of(arrays(WAS, LABELS), arrays(LESS, LABELS))
    assert (found.images, found.newly_wrong, found.newly_right) == (600, 20, 0)
    worst = found.classes[0]
    assert (worst.label, worst.images, worst.newly_wrong, worst.is_clear) == (3, 60, 20, True)
    assert worst.change.value == pytest.approx(-100 / 3) and len(found.classes) == 10
    assert not any(one.is_clear for one in found.classes[1:])
    assert found.confusion == (((3, 4), 20),) and set(found.label) == {3} and set(found.predicted) == {4}
    assert list(found.wrong) == sorted(np.flatnonzero(WAS & ~LESS), reverse=True)


def test_mcnemar_is_the_exact_binomial_and_holm_steps_down():
    assert mcnemar(0, 0) == 1.0 and mcnemar(5, 5) == 1.0
    assert mcnemar(10, 0) == pytest.approx(2 / 1024) and mcnemar(1, 9) == mcnemar(9, 1) == pytest.approx(2 * 11 / 1024)
    assert 0 < mcnemar(3000, 2000) < 1e-40
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0] and holm([]) == []


def result(schedule: Schedule, delta: float, images: int = 1000, half: float = 0.5) -> Result:
    """What was measured while editing."""
    def estimate(value: float) -> dict:
        return {"value": value, "ci95": [value - half, value + half]}

    return Result(schedule, {"images": images, "top1": estimate(92 + delta), "baseline": estimate(92.0), "delta_top1": estimate(delta)})


def results(*found: Result) -> dict[str, Result]:
    """By digest."""
    return {one.schedule.digest(): one for one in found}


def draft(number: int, schedule: Schedule, parent: int | None = None, origin: str = "Baseline") -> Draft:
    """A draft as the book gives it."""
    return Draft(number, f"Draft {number}", parent, origin, schedule, b"", True, 0, 0.0, 0.0)


def test_what_is_known_best_counts_and_says_how(evaluated):
    stored = stored_evaluations(find_evidence(evaluated, "demo_vit", "b" * 64))
    assert {name: one.images for name, one in stored.items()} == {"baseline": IMAGES, DRAFT.digest(): IMAGES}
    edited, guessed = BASE.with_ratio(2, "fc2", 0.4), BASE.with_ratio(1, "fc2", 0.3)
    drafts = [draft(1, DRAFT), draft(2, edited), draft(3, guessed), draft(4, BASE.with_ratio(0, "qk", 0.99))]
    found = candidates(VIT, DRAFT, drafts, starting_points(VIT, BASE), stored, results(result(edited, -1.0)), CURVES)
    known = {one.key: (one.badge, one.images) for one in found}
    assert known["baseline"] == ("measured", IMAGES) and known["draft-1"] == ("measured", IMAGES)
    assert known["draft-2"] == ("measured", 1000) and known["draft-3"] == ("predicted", 0) and known["draft-4"] == (None, 0)
    assert known["uniform-30"][0] == "predicted" and "in-hand" not in known
    by_key = {one.key: one for one in found}
    change, images = change_to(by_key["draft-1"], by_key["baseline"])
    assert images == IMAGES and change.value == pytest.approx(-100 * 20 / 600)
    assert change_to(by_key["draft-2"], by_key["baseline"]) == (Estimate(-1.0, (-1.5, -0.5)), 1000)
    assert change_to(by_key["draft-2"], by_key["draft-1"]) is None and change_to(by_key["draft-3"], by_key["baseline"]) is None
    assert [one.key for one in on_same_images(found)] == ["baseline", "draft-1"]
    assert [one.key for one in lacking(list(by_key.values())[:1], IMAGES)] == []
    assert lacking([by_key["draft-1"]], 10_000) == [by_key["draft-1"]]


def test_evaluations_of_other_images_do_not_count(evaluated):
    assert stored_evaluations(find_evidence(evaluated, "demo_vit", "c" * 64)) == {}


def test_beside_candidates_measured_while_editing_the_baseline_is_of_the_same_images(evaluated):
    sweeps = {"baseline": stored_evaluations(find_evidence(evaluated, "demo_vit"))["baseline"]}
    found = candidates(VIT, BASE, [], starting_points(VIT, BASE), sweeps, results(result(DRAFT, -1.0)), CURVES)
    assert (found[0].headline.value, found[0].images) == (92.0, 1000) and found[0].evaluation is sweeps["baseline"]
    assert candidates(VIT, BASE, [], starting_points(VIT, BASE), sweeps, {}, CURVES)[0].images == IMAGES


def test_an_unnamed_schedule_in_hand_is_a_candidate_once():
    points = starting_points(VIT, BASE)
    keys = [one.key for one in candidates(VIT, DRAFT, [], points, {}, {}, None)]
    assert keys == ["baseline", "uniform-30", "uniform-50", "paper-shaped-steps", "in-hand"]
    assert "in-hand" not in [one.key for one in candidates(VIT, points[1].schedule, [], points, {}, {}, None)]


def test_the_front_has_no_one_that_is_beaten():
    assert pareto([(1.0, 90.0), (0.5, 80.0), (0.6, 79.0), (0.7, 85.0), (0.7, 84.0), (1.2, 90.0)]) == [1, 3, 0]
    assert pareto([]) == []


def test_lineage_is_in_tree_order_with_steps_only_where_they_were_measured():
    one, two, three = BASE.with_ratio(1, "fc2", 0.1), BASE.with_ratio(1, "fc2", 0.2), BASE.with_ratio(1, "fc2", 0.3)
    drafts = [draft(5, three, 9, "gone"), draft(3, two, 1, "Draft 1"), draft(1, one)]
    found = candidates(VIT, BASE, drafts, starting_points(VIT, BASE), {}, results(result(one, -1.0), result(two, -1.4)), CURVES)
    own = [candidate for candidate in found if candidate.draft]
    assert [(candidate.key, depth) for candidate, depth in in_tree_order(own)] == [("draft-1", 0), ("draft-3", 1), ("draft-5", 0)]
    by_key = {candidate.key: candidate for candidate in found}
    assert parent_of(by_key["draft-1"], found).key == "baseline" and parent_of(by_key["draft-5"], found) is None
    assert step_in_accuracy(by_key["draft-1"], by_key["baseline"]) == Estimate(-1.0, (-1.5, -0.5))
    assert step_in_accuracy(by_key["draft-3"], by_key["draft-1"]) == pytest.approx(-0.4)
    assert step_in_accuracy(by_key["draft-5"], by_key["draft-3"]) is None


# ---------- the audit and what it teaches


def truth(schedule: Schedule, weight: float) -> float:
    """A measured difference that follows the learned form exactly."""
    points = effects(CURVES, VIT, schedule)
    return sum(point.delta for point in points) + weight * joint_loss(points)


def test_effects_are_of_pruned_sites_and_their_joint_loss_is_of_pairs():
    schedule = BASE.with_ratio(2, "fc2", 0.5).with_ratio(4, "vo", 0.5).with_ratio(5, "fc1", 0.5).with_ratio(6, "qk", 0.1)
    points = effects(CURVES, VIT, schedule)
    a, b, c, d = (point.delta for point in points)
    assert d > 0 > a and joint_loss(points) == pytest.approx(a * b + a * c + a * d + b * c + b * d + c * d)
    assert joint_loss(effects(CURVES, VIT, DRAFT)) == 0 and joint_loss([]) == 0 and joint_loss(points[3:] * 2) == 0
    assert effects(CURVES, VIT, BASE.with_ratio(0, "vo", 0.95)) is None


def test_an_interaction_is_learned_from_eight_on_and_only_where_it_helps_on_those_left_out():
    joints = [0.5 * step for step in range(1, 13)]
    misses = [-1.3 * joint for joint in joints]
    found = learn(joints, misses)
    assert found.error < 0.3 * found.plain and found.schedules == 12 and found.most == 6.0
    assert found.correction(3.0) == pytest.approx(-3.9, rel=0.1) and found.misses[1] < 0.3 * found.misses[0]
    assert found.correction(100.0) == found.correction(6.0) and found.correction(0.0) == 0
    assert found.spread(3.0) == pytest.approx(4 * found.spread(0.0))
    assert learn(joints[: MIN_LEARNED - 1], misses[: MIN_LEARNED - 1]) is None
    assert learn(joints, [1.0, -1.0] * 6) is None and learn([0.0] * 12, misses) is None


def test_the_error_on_those_left_out_is_that_of_learning_without_them():
    draw = np.random.default_rng(5)
    joints = draw.uniform(0, 6, 10)
    misses = -1.1 * joints + draw.normal(0, 0.4, 10) * (1 + joints)
    found, terms, targets = learn(list(joints), list(misses)), joints / (1 + joints), misses / (1 + joints)
    penalty, squares = float(np.mean(terms**2)), []
    for left in range(10):
        kept = np.arange(10) != left
        weight = terms[kept] @ targets[kept] / (terms[kept] @ terms[kept] + penalty)
        squares.append((targets[left] - weight * terms[left]) ** 2)
    assert found.error == pytest.approx(math.sqrt(np.mean(squares)))


def test_a_learned_interaction_moves_and_widens_the_prediction_of_several_sites_only():
    interaction, several = Interaction(-1.2, 10.0, 9, 0.4, 1.2, (2.0, 0.6)), BASE.with_ratio(2, "fc2", 0.5).with_ratio(4, "vo", 0.5)
    plain, taught = predict_change(CURVES, VIT, several), predict_change(CURVES, VIT, several, interaction)
    joint = joint_loss(effects(CURVES, VIT, several))
    assert joint > 0 and taught.value == pytest.approx(plain.value - 1.2 * joint)
    assert taught.value - taught.ci95[0] == pytest.approx(math.hypot(plain.value - plain.ci95[0], 1.959963984540054 * 0.4 * (1 + joint)))
    assert predict(CURVES, VIT, DRAFT, interaction) == predict(CURVES, VIT, DRAFT)


def test_the_audit_checks_each_measured_schedule_once_and_learns(evaluated):
    stored = stored_evaluations(find_evidence(evaluated, "demo_vit", "b" * 64))
    found = [result(schedule, truth(schedule, -1.5)) for schedule in dict.fromkeys(schedules(20))]
    extra = [result(BASE, 0.0), result(DRAFT, -0.1), result(schedules(1, 9)[0], -1.0, MIN_IMAGES - 1)]
    other = [result(Schedule.uniform(12, fc2=0.3), -1.0)]
    audited = audit(CURVES, VIT, "calibrated", stored, [*found, *extra, *other])
    assert len(audited.checks) == 1 + len(found) and audited.checks[0].measured.value == pytest.approx(-100 * 20 / 600)
    assert audited.interaction.schedules == len(found) and audited.interaction.error < audited.interaction.plain
    assert audited.interaction.weight == pytest.approx(-1.5, rel=0.2)
    assert audited.inside == sum(one.predicted.ci95[0] <= one.measured.value <= one.predicted.ci95[1] for one in audited.checks)
    assert f"**{audited.inside} of {len(audited.checks)}** measured schedules" in coverage_in_words(audited)
    assert "**A correction is used**" in learned_in_words(audited.interaction, len(audited.checks))
    alone = audit(CURVES, VIT, "per_image", stored, other)
    assert len(alone.checks) == 1 and alone.interaction is None and "1 is measured" in learned_in_words(None, 1)


def test_runs_ask_for_all_images():
    assert run_of(DRAFT) == {"kind": "evaluation", "schedule": DRAFT.to_dict(), "images": None}
