"""Masked against compact: what is equal is called equal, what is not is not; the record survives JSON."""

import copy
import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import nn

from tests.support.families import schedule_for
from tests.support.greys import grey_data, grey_model
from toast_core.errors import DataError, PlanError
from toast_core.machine import DTYPES
from toast_core.pruning.execution.apply import apply_plan
from toast_core.pruning.planner import make_plan
from toast_core.studies.agreement.measure import EXECUTIONS, compare
from toast_core.studies.agreement.result import TOLERANCE_SHARE, Agreement
from toast_core.studies.evaluation.measure import evaluate
from toast_core.studies.evaluation.result import Estimate
from toast_core.studies.latency.result import Timing

RECORD = Agreement(
    model="demo_vit", selection="calibrated", schedule="ab" * 32, images=1000, batch_size=64,
    headline={name: Estimate(88.0, (86.0, 90.0)) for name in EXECUTIONS}, delta=Estimate(-1.0, (-2.0, 0.0)), same=1000,
    largest_difference=1e-6, largest_logit=10.0, macs={"baseline": 100, "compact": 60}, params={"baseline": 20, "compact": 12},
    timings=(Timing.of(32, [(0.2, 0.1), (0.4, 0.1), (0.3, 0.1)]),), dtype="float32", device="cpu", processor="a processor", threads=2,
    versions={"torch": "2"}, file_sha256="cd" * 32, file_bytes=1234,
)


def executions(kind: str, selection: str = "per_image") -> dict[str, nn.Module]:
    """A tiny model and both executions of one schedule."""
    model = grey_model(kind)
    plan = make_plan(model, schedule_for(model, qk=0.5, vo=0.25, fc2=0.5, selection=selection))
    return {"baseline": model} | {name: apply_plan(model, plan, name) for name in ("masked", "compact")}


@pytest.mark.parametrize("kind", ["vit", "swin"])
def test_both_executions_are_one_function_and_each_outcome_is_what_evaluate_says(kind):
    models, seen = executions(kind), []
    data = grey_data(models["baseline"])
    compared = compare(models, data, 6, lambda done, total: seen.append((done, total)))
    assert seen == [(6, 23), (12, 23), (18, 23), (23, 23)] and compared.same == 23
    assert compared.largest_logit > 0 and compared.largest_difference <= TOLERANCE_SHARE["float32"] * compared.largest_logit
    for name in EXECUTIONS:
        expected = evaluate(models[name], data, 6).outcomes
        assert np.array_equal(compared.outcomes[name].predicted, expected.predicted)
        assert np.array_equal(compared.outcomes[name].index, expected.index)


def test_a_compact_model_of_other_weights_is_noticed_on_whichever_batch_it_differs():
    models = executions("vit")
    models["compact"] = copy.deepcopy(models["compact"])
    with torch.no_grad():
        models["compact"].head.bias[3] += 0.75
    compared = compare(models, grey_data(models["baseline"]), 6)
    assert compared.largest_difference == pytest.approx(0.75, abs=1e-4)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_no_numbers_never_pass_for_equal(value):
    models = executions("vit")
    models["compact"] = copy.deepcopy(models["compact"])
    with torch.no_grad():
        models["compact"].head.bias[0] = value
    with pytest.raises(PlanError, match="not finite numbers; check the weights"):
        compare(models, grey_data(models["baseline"]), 6)


def test_images_that_cannot_be_read_are_one_line(monkeypatch):
    models = executions("vit")
    data = grey_data(models["baseline"])
    monkeypatch.setattr(type(data), "batches", lambda self, size: iter(()))
    data.skipped.append("a.png")
    data.reasons.append("it is empty")
    with pytest.raises(DataError, match="none of the 23 images of greys could be read"):
        compare(models, data, 6)


class TestRecord:
    """The verdict follows the figures, and the figures survive JSON."""

    def test_it_survives_json(self) -> None:
        assert Agreement.from_dict(json.loads(json.dumps(RECORD.to_dict()))) == RECORD

    @pytest.mark.parametrize(("name", "value"), [
        ("top1", {}), ("top1", None), ("timings", 3), ("timings", [{}]), ("dtype", "int4"), ("macs", {"baseline": 1}),
        ("delta", {"value": 1}), ("images", "many"), ("largest_logit", None), ("versions", None),
    ])
    def test_what_others_wrote_wrongly_is_refused(self, name: str, value: object) -> None:
        with pytest.raises((KeyError, TypeError, ValueError)):
            Agreement.from_dict({**RECORD.to_dict(), name: value})

    def test_a_field_that_lacks_is_refused(self) -> None:
        values = RECORD.to_dict()
        del values["file_sha256"]
        with pytest.raises(KeyError):
            Agreement.from_dict(values)

    def test_equal_and_different_are_said_with_their_figures(self) -> None:
        assert RECORD.is_equal and RECORD.sentence() == (
            "Masked equals compact: on 1,000 images the largest difference of a logit is 1.0e-06, within the tolerance of 1.0e-03 "
            "(0.0001 of the largest logit, 10.0, for rounding in float32), and 1,000 of 1,000 predictions are the same."
        )
        other = dataclasses.replace(RECORD, largest_difference=0.5, same=990, selection="per_image")
        assert not other.is_equal and other.sentence().startswith("Masked and compact differ: ")
        assert "above the tolerance of 1.0e-03" in other.sentence() and "990 of 1,000" in other.sentence()
        assert "change places where two scores tie" in other.sentence()

    def test_every_dtype_has_a_tolerance(self) -> None:
        assert set(DTYPES) <= set(TOLERANCE_SHARE)
