"""A pruned model's file says how images become input and what the classes are: evaluated alone, it gives the figure it was made at."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.support.commands import toast
from toast_core.data.sources import open_source
from toast_core.loading import load_model, read_header
from toast_core.models.info import get_info
from toast_core.schedule.schedule import Schedule

CHOSEN = ("--class-order", "natural", "--mean", "0.5", "--std", "0.25", "--crop-mode", "squash", "--exif-rotate")


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """demo_vit's head spread over 12 outputs, images in folders 0 to 11 as timm's training numbers them, and a schedule."""
    root = tmp_path_factory.mktemp("numbered")
    state = {key: value.clone() for key, value in load_model("demo_vit").state_dict().items()}
    outputs = [0, 10, 11, 3, 4, 5, 6, 7, 8, 9]  # of the ten classes; 1 and 2 are classes without images of their own
    weight, bias = torch.zeros(12, 96), torch.full((12,), -50.0)
    weight[outputs], bias[outputs] = state["head.weight"], state["head.bias"]
    save_file(state | {"head.weight": weight, "head.bias": bias}, root / "twelve.safetensors")
    source = open_source("fashion-mnist")
    for name in range(12):
        (root / "photos" / str(name)).mkdir(parents=True)
        Image.fromarray(source.arrays[name]).save(root / "photos" / str(name) / "any.png")
    for position in range(60):
        name = outputs[int(source.labels[position])]
        Image.fromarray(source.arrays[position]).save(root / "photos" / str(name) / f"{position}.png")
    (root / "schedule.json").write_text(Schedule.uniform(12, vo=0.25).to_json())
    return root


def top1(*words: str | Path) -> tuple[float, dict]:
    document = json.loads(toast("evaluate", *words, "--json"))
    return document["top1"]["value"], document


def test_order_decides_and_the_doubt_is_said(numbered: Path) -> None:
    model = ("--model", "demo_vit", "--weights", numbered / "twelve.safetensors", "--data", numbered / "photos")
    guessed, document = top1(*model)
    assert "numbered alphabetically" in document["notes"][0] and document["class_to_index"]["10"] == 2
    right, document = top1(*model, "--class-order", "natural")
    assert document["class_to_index"]["10"] == 10 and document["notes"] == []
    assert right > 70 and guessed < 25


def test_a_pruned_file_alone_gives_the_same_figure(numbered: Path, tmp_path: Path) -> None:
    what = ("--model", "demo_vit", "--weights", numbered / "twelve.safetensors", "--schedule", numbered / "schedule.json", *CHOSEN)
    photos, file = ("--data", numbered / "photos"), tmp_path / "pruned.safetensors"
    there, first = top1(*what, *photos)
    toast("apply", *what, *photos, "-o", file)
    alone, second = top1("--weights", file, *photos)
    assert alone == there and second["loss"]["value"] == pytest.approx(first["loss"]["value"], rel=1e-5)
    assert all(second[name] == first[name] for name in ("transform", "class_to_index", "images"))
    info = get_info(load_model(weights=file))
    assert info.classes == tuple(map(str, range(12))) and info.class_order == "natural" and info.preprocessing.exif_rotate
    assert read_header(file)["version"] == 2


def test_a_model_of_timms_own_input_is_written_as_before(tmp_path: Path, numbered: Path) -> None:
    file = tmp_path / "pruned.safetensors"
    toast("apply", "--model", "demo_vit", "--weights", "random", "--schedule", numbered / "schedule.json", "-o", file)
    assert read_header(file)["version"] == 1 and get_info(load_model(weights=file)).classes is None


def test_a_certificate_says_it_and_its_check_compares_it(numbered: Path, tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    what = ("--model", "demo_vit", "--weights", numbered / "twelve.safetensors", "--schedule", numbered / "schedule.json", *CHOSEN)
    toast("certify", *what, "--data", numbered / "photos", "--images", "24", "--batch-size", "8", "-o", file)
    document = json.loads(file.read_text())
    assert document["input"]["class_order"] == "natural" and document["input"]["classes"] == list(map(str, range(12)))
    assert "exif_rotate" in document["input"]["transform"] and document["asked"]["mean"] == "0.5"
    toast("certify", "--check", file)
