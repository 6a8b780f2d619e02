"""Every layout of docs/bring_your_own.md, by the options of its row: the figures are those of the same images in the embedded set."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from tests.support.commands import toast
from tests.support.layouts import COUNT, LABELLED, UNLABELLED
from toast_core.data.load import ImageData, load_data
from toast_core.loading import load_model, read_header
from toast_core.schedule.schedule import Schedule
from toast_core.studies.evaluation.measure import evaluate
from toast_core.studies.evaluation.result import Evaluation


@pytest.fixture(scope="module")
def right() -> Evaluation:
    """demo_vit on the images themselves."""
    model = load_model("demo_vit")
    data = load_data("fashion-mnist", model)
    return evaluate(model, ImageData(data.source, data.transform, np.arange(COUNT), data.order, 0))


@pytest.mark.parametrize("key", LABELLED)
def test_a_layout_gives_the_figures_of_its_images(tmp_path: Path, right: Evaluation, key: str) -> None:
    layout = LABELLED[key]
    place = layout.write(tmp_path / "photos")
    words = shlex.split(layout.options.format(place=place))
    found = json.loads(toast("evaluate", "--model", "demo_vit", *words, "--json"))
    assert found["images"] == COUNT and found["top1"]["value"] == right.outcomes.top1_estimate.value > 70
    assert found["loss"]["value"] == pytest.approx(right.outcomes.loss_estimate.value, rel=1e-5)


@pytest.mark.parametrize("key", UNLABELLED)
def test_a_layout_without_labels_calibrates(tmp_path: Path, key: str) -> None:
    layout, schedule = UNLABELLED[key], tmp_path / "schedule.json"
    place = layout.write(tmp_path / "photos")
    schedule.write_text(Schedule.uniform(12, fc2=0.5, selection="calibrated").to_json())
    words = shlex.split(layout.options.format(place=place))
    toast("apply", "--model", "demo_vit", "--schedule", schedule, *words, "-o", tmp_path / "pruned.safetensors")
    assert read_header(tmp_path / "pruned.safetensors")["schedule"].selection == "calibrated"
    assert len(load_data(place, load_model("demo_vit"), labelled=False)) == COUNT
