"""Features against plain loops: cosines, k-NN, sweeps and tuning of a backbone without a classifier."""

import json

import numpy as np
import pytest
import torch

from analysis_cache.store import EvidenceStore
from tests.support.backbones import CLASSES, grey_backbone, patterns
from tests.support.families import REPRESENTATIVE, images_for, named, relative_error, schedule_for
from toast_core.budget.problem import Budget
from toast_core.compensation.plan import plan_on
from toast_core.cost.macs import count_cost
from toast_core.errors import DataError, PlanError
from toast_core.models.info import get_info
from toast_core.pruning.execution.apply import apply_plan
from toast_core.pruning.planner import make_plan
from toast_core.schedule.schedule import Schedule
from toast_core.studies.evaluation.measure import Beside, evaluate
from toast_core.studies.evaluation.store import analyze_evaluation
from toast_core.studies.sensitivity.cells import grid
from toast_core.studies.sensitivity.store import SweepRequest, analyze_sensitivity
from toast_core.studies.sensitivity.suffix import Suffix
from toast_core.studies.sensitivity.sweep import Rule
from toast_core.studies.subject import Subject
from toast_core.studies.tasks.backbone import output_of
from toast_core.studies.tasks.bank import bank_for
from toast_core.studies.tasks.features import FeatureCells, FeatureOutcomes
from toast_core.studies.tasks.neighbours import nearest_classes
from toast_core.studies.tasks.registry import task_of
from toast_core.studies.tuning.measure import tune
from toast_core.studies.tuning.request import TuningRequest
from toast_core.studies.tuning.store import TuningStore

PRUNED = {"fc2": 0.5, "vo": 0.3}


def by_hand(one: torch.Tensor, other: torch.Tensor) -> float:
    """The cosine of two vectors, in float64."""
    one, other = one.double().flatten(), other.double().flatten()
    return float((one @ other) / (one.norm() * other.norm()))


@pytest.mark.parametrize("kind", ["vit", "registers", "swin"])
def test_cosines_equal_a_loop_over_images_and_patches(kind: str) -> None:
    model = grey_backbone(kind)
    data = patterns(model, 9)
    pruned = apply_plan(model, make_plan(model, schedule_for(model, **PRUNED)), "masked")
    found = evaluate(pruned, data, 4, beside=Beside(model)).outcomes
    images = torch.cat([batch.images for batch in data.batches(9)])
    for position in range(9):
        with torch.inference_mode():
            one = images[position : position + 1]
            own, whole = pruned(one), model(one)
            tokens = [each.forward_features(one).flatten(1, -2)[0] for each in (pruned, model)]
        prefix = getattr(model, "num_prefix_tokens", 0)
        patches = [by_hand(a, b) for a, b in zip(tokens[0][prefix:], tokens[1][prefix:], strict=True)]
        assert found.cosine[position] == pytest.approx(by_hand(own, whole), abs=1e-5)
        assert found.tokens[position] == pytest.approx(np.mean(patches), abs=1e-5)
    assert found.cosine.min() > 0 and found.cosine.max() < 1
    assert list(found.estimates()) == ["cosine", "tokens"]


def test_the_baseline_is_itself_and_equals_its_own_features_exactly() -> None:
    model = grey_backbone()
    found = evaluate(model, patterns(model, 8), 4)
    assert (found.outcomes.cosine == 1).all() and (found.outcomes.tokens == 1).all()
    assert found.to_dict()["cosine"] == {"value": 1.0, "ci95": [1.0, 1.0]}
    assert repr(found).startswith("Evaluation(feature cosine 1.0000 (95 %: 1.0000 to 1.0000), 8 images, baseline")
    json.dumps(found.to_dict(), allow_nan=False)
    assert evaluate(model, patterns(model, 1), 4).to_dict()["cosine"]["ci95"] == [-1.0, 1.0]
    with pytest.raises(DataError, match="no classifier"):
        _ = found.answers


def test_neighbours_vote_as_a_plain_loop_does_ties_included() -> None:
    rng = np.random.default_rng(3)
    # whole numbers make many similarities equal; the last query is nothing at all
    queries, bank = rng.integers(-1, 2, (30, 3)).astype(np.float32), rng.integers(-1, 2, (50, 3)).astype(np.float32)
    queries[-1] = 0
    labels = rng.integers(0, 5, 50)

    def cosine(one: np.ndarray, other: np.ndarray) -> float:
        lengths = np.linalg.norm(one) * np.linalg.norm(other)
        return round(float(one @ other) / lengths, 12) if lengths else 0.0

    for neighbours in (1, 2, 7, 20, 500):
        expected = []
        for query in queries:
            ranked = sorted(range(len(bank)), key=lambda place, query=query: (-cosine(query, bank[place]), place))[:neighbours]
            votes = [int(labels[place]) for place in ranked]
            expected.append(min(set(votes), key=lambda one: (-votes.count(one), one)))
        rounded = nearest_classes(queries, bank, labels, neighbours)
        assert (rounded == expected).mean() > 0.9  # sums are rounded in another order, so that a tie may break elsewhere
    assert nearest_classes(bank, bank, np.arange(50), 1)[0] == 0


def test_labelled_folders_are_told_apart_by_the_calibration_images() -> None:
    model = grey_backbone()
    data, calibration = patterns(model, 40), patterns(model, 60, seed=1, name="bank")
    bank, notes = bank_for(data, calibration)
    assert not notes and bank.to_dict() == {"k": 20, "bank": "bank", "images": 60, "digest": bank.digest}
    found = evaluate(model, data, 16, beside=Beside(model, bank)).outcomes
    features, known = (model(next(one.batches(64)).images).detach().numpy() for one in (data, calibration))
    known_labels = calibration.source.labels[calibration.index]
    assert (found.neighbour == nearest_classes(features, known, known_labels)).all()
    estimate = found.estimates()["knn"]
    assert estimate.value == 100 * (found.neighbour == data.source.labels[data.index]).mean() > 60
    assert estimate.ci95[0] < estimate.value <= estimate.ci95[1]


def test_classes_are_matched_by_name_and_what_cannot_be_compared_is_said() -> None:
    model = grey_backbone()
    data = patterns(model, 10)
    turned = tuple(reversed(CLASSES))
    bank, notes = bank_for(data, patterns(model, 10, seed=1, classes=turned, name="turned"))
    assert list(bank.numbers) == [3, 2, 1, 0] and not notes
    bank, notes = bank_for(data, patterns(model, 10, seed=1, classes=("left", "right", "up", "dark"), name="other"))
    assert list(bank.numbers) == [1, 2, 6, 0] and "no image of 1 of 4 classes, first stripes" in notes[0]
    for calibration, reason in (
        (None, "pass --calibration DATA"), (data, "would be its own neighbour"),
        (patterns(model, 10, seed=1, classes=("a", "b"), name="strange"), "no class of strange"),
    ):
        bank, notes = bank_for(data, calibration)
        assert bank is None and reason in notes[0]
    assert bank_for(patterns(model, 5, classes=("all",)), data)[1] == ("k-NN is left out: the images are not labelled",)


def test_a_pruned_file_alone_is_measured_by_its_neighbours_or_not_at_all() -> None:
    model = grey_backbone()
    data = patterns(model, 12)
    pruned = apply_plan(model, make_plan(model, schedule_for(model, **PRUNED)), "compact")
    with pytest.raises(DataError, match="neither its baseline nor labelled images"):
        evaluate(pruned, data, 4)
    bank, _ = bank_for(data, patterns(model, 20, seed=1, name="bank"))
    assert list(evaluate(pruned, data, 4, beside=Beside(None, bank)).outcomes.estimates()) == ["knn"]


def test_features_that_are_not_finite_are_refused() -> None:
    model = grey_backbone()
    output = task_of(get_info(model).shape).forward(model, torch.full((1, 1, 32, 32), torch.nan))
    with pytest.raises(PlanError, match="not finite"):
        task_of(get_info(model).shape).cell(output, output, torch.zeros(1))


def test_figures_of_a_row_are_those_of_its_images() -> None:
    cells = FeatureCells(np.array([0.5, 1.0], np.float32), np.array([0.25, 0.75], np.float32))
    row = cells.row(cells)
    assert (row["cosine"], row["tokens"], row["distance"], row["images"]) == (0.75, 0.5, 0.25, 2)
    assert row["cosine_delta"] == -0.25 and row["ci95"] == [pytest.approx(-0.74, abs=1e-4), 0.0]  # no cosine is above 1
    assert cells.interval(cells) == (pytest.approx(-25 - 49, abs=0.01), pytest.approx(-25 + 49, abs=0.01)) and cells.kept() is None
    two, one = (FeatureOutcomes(*(values for _ in FeatureOutcomes.NAMES)) for values in (np.arange(2), np.ones(1)))
    joined = two.joined(one)
    assert list(joined.index) == [0, 1, 1]


@pytest.mark.parametrize("kind", ["vit", "swin"])
def test_a_sweep_equals_a_whole_forward_of_every_cell_and_is_stored(kind: str, tmp_path) -> None:
    model = grey_backbone(kind)
    data = patterns(model, 10)
    cells = grid(len(get_info(model).shape.blocks), ("qk", "fc1+fc2"), (0.5,))
    with EvidenceStore.open(tmp_path / "store.sqlite") as store:
        subject = Subject.of(model, data, 4, "sensitivity")
        analysis, rows = analyze_sensitivity(subject, store, SweepRequest(cells, Rule(), None, {"selection": "per_image"}))
        for cell, row in zip(cells, rows, strict=True):
            pruned = apply_plan(model, make_plan(model, cell.schedule(len(get_info(model).shape.blocks), selection="per_image")), "masked")
            whole = evaluate(pruned, data, 4, beside=Beside(model)).outcomes
            assert row["cosine"] == pytest.approx(whole.cosine.mean(dtype=np.float64), abs=1e-5)
            assert row["tokens"] == pytest.approx(whole.tokens.mean(dtype=np.float64), abs=1e-5)
            assert row["distance"] == pytest.approx(1 - row["cosine"], abs=1e-9) and row["images"] == 10
        again = analyze_sensitivity(subject, store, SweepRequest(cells, Rule(), None, {"selection": "per_image"}))
        assert again[0].id == analysis.id and again[1] == rows
        schedule = schedule_for(model, **PRUNED)
        evaluation = analyze_evaluation(subject, store, schedule, "masked")
        stored = store.get(evaluation.cell_keys[0])
        expected = evaluate(apply_plan(model, make_plan(model, schedule), "masked"), data, 4, beside=Beside(model)).outcomes
        assert stored.identity.detail["task"] == "features" and np.array_equal(stored.arrays["cosine"], expected.cosine)
        assert set(stored.summary) == {"images", "cosine", "tokens"}


def test_adaptive_sweeps_stop_on_cosines() -> None:
    same = FeatureCells(np.full(64, 0.999, np.float32), np.ones(64, np.float32))
    rule = Rule("adaptive", 2.0, 2.0)
    assert rule.decided(same, same, 64) and not Rule().decided(same, same, 64)
    wild = FeatureCells(np.tile([0.0, 1.0], 4).astype(np.float32), np.ones(8, np.float32))
    near = FeatureCells(wild.cosine + 0.5, wild.tokens)
    assert rule.decided(wild, FeatureCells(wild.cosine - 0.9, wild.tokens), 64) and not rule.decided(wild, near, 8)


def test_tuning_finds_features_nearer_than_uniform_s_at_the_same_cost(tmp_path) -> None:
    model = grey_backbone()
    data, held = patterns(model, 90), patterns(model, 60, seed=5, name="held out")
    shape = get_info(model).shape
    same = Schedule.uniform(len(shape.blocks), vo=0.5, fc2=0.5, selection="calibrated")
    budget = Budget("macs", count_cost(shape, same).macs)
    request = TuningRequest(budget, sites=("vo", "fc2"), ratios=(0.25, 0.5, 0.9), batch_size=30)
    with EvidenceStore.open(tmp_path / "store.sqlite") as store:
        kept = TuningStore(store, Subject.of(model, data, 30, "tuning"))
        tuned = tune(model, data, request, with_front=True, store=kept)
        assert tune(model, data, request, with_front=True, store=kept).report["candidates"] == tuned.report["candidates"]
    report = tuned.report
    assert report["task"] == "features" and "distance" in {row["name"] for row in report["candidates"]} and "predicted_distance" in report
    assert set(report["curves"][0]) == {"block", "site", "ratio", "distance", "distance95", "calibrated_by", "images", "draws"}
    assert "feature cosine" in repr(tuned) and "agreement" not in report["candidates"][0] and "kl" not in str(report["front"])
    assert all(row["distance_ci95"][0] <= row["distance"] <= row["distance_ci95"][1] for row in report["candidates"] if row["images"])
    assert report["achieved"]["macs"] <= budget.limit and isinstance(tuned.schedule, Schedule)
    images = [batch.images for batch in data.batches(30)]
    cosine = {}
    for row in report["candidates"]:
        if row["name"] in ("uniform", report["chosen"]):
            pruned = apply_plan(model, plan_on(model, Schedule.from_dict(row["schedule"]), images), "compact")
            cosine[row["name"]] = evaluate(pruned, held, 30, beside=Beside(model)).outcomes.estimates()["cosine"].value
            assert 0.99 * budget.limit < row["macs"] <= budget.limit
    assert cosine[report["chosen"]] > cosine["uniform"]


@pytest.mark.parametrize("name", REPRESENTATIVE)
def test_the_last_block_s_output_gives_what_the_whole_model_says(name: str) -> None:
    model = named(name).build()
    model.reset_classifier(0)
    suffix, images = Suffix(model), images_for(name, 2)
    with torch.inference_mode():
        found, whole = suffix.output(suffix.start(images), 0), output_of(model, images)
        assert torch.equal(whole.pooled, model(images))
    assert whole.tokens.shape[1] == suffix.adapter.layout(model, len(suffix.blocks) - 1).patches
    assert relative_error(found.pooled, whole.pooled) < 1e-5 and relative_error(found.tokens, whole.tokens) < 1e-5
