"""Outputs that are no finite numbers give no figure, whatever the task."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from tests.support.backbones import grey_backbone, patterns
from tests.support.greys import grey_data, grey_model
from toast_core.data.load import ImageData
from toast_core.errors import PlanError
from toast_core.studies.evaluation.measure import Beside, evaluate
from toast_core.studies.sensitivity.cells import Cell
from toast_core.studies.sensitivity.measure import Sweep
from toast_core.studies.tasks.bank import bank_for


def spoiled(model: nn.Module, value: float) -> nn.Module:
    """A copy whose last norm has one number that is no finite one."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        model.norm.bias[0] = value
    return model


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_give_no_accuracy(value: float) -> None:
    model = spoiled(grey_model(), value)
    data = grey_data(model)
    with pytest.raises(PlanError, match=rf"logits of 6 of 6 images .* first image {data.index[0]}, computed in float32; check the weights"):
        evaluate(model, data, 6)


def test_a_short_dtype_is_named_with_a_wider_one() -> None:
    model = copy.deepcopy(grey_model())
    with torch.no_grad():
        model.head.bias += 1e5  # beyond float16
    with pytest.raises(PlanError, match="computed in float16; use dtype float32"):
        evaluate(model, grey_data(model), 6, dtype="float16")
    assert evaluate(model, grey_data(model), 6).to_dict()["images"] == 23


def test_cells_give_no_accuracy() -> None:
    model = spoiled(grey_model(), float("nan"))
    (batch,) = grey_data(model, 4).batches(4)
    with pytest.raises(PlanError, match="logits of 4 of 4 images are not finite"):
        Sweep(model, selection="per_image").measure(batch, [Cell(0, "fc2", 0.5)])


def calibration(model: nn.Module) -> ImageData:
    """Known images, which are not those that are measured."""
    return patterns(model, 8, seed=1)


def test_features_have_no_neighbours_where_nothing_else_compares_them() -> None:
    model = spoiled(grey_backbone(), float("nan"))
    data = patterns(model, 8)
    bank, _ = bank_for(data, calibration(model))
    with pytest.raises(PlanError, match="features of 8 of 8 images are not finite"):
        evaluate(model, data, 8, beside=Beside(None, bank))


def test_one_spoiled_image_of_the_bank_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    model = grey_backbone()
    data, known = patterns(model, 8), calibration(model)
    (batch,) = known.batches(8)
    batch.images[3] = np.nan
    monkeypatch.setattr(known, "batches", lambda size: iter([batch]))
    bank, _ = bank_for(data, known)
    with pytest.raises(PlanError, match=f"known images of 1 of 8 images are not finite numbers, first image {batch.index[3]},"):
        evaluate(model, data, 8, beside=Beside(model, bank))
