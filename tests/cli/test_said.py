"""Commands say what they guessed of the images, and a guessed order of classes never becomes names in a file."""

import json
import warnings
from pathlib import Path

import pytest
from PIL import Image

from tests.support.commands import at_work, run_toast
from tests.support.folders import make_folder, pixels
from toast_core.loading import load_model
from toast_core.schedule.compensation import FULL
from toast_core.schedule.schedule import Schedule

MODEL = ("--model", "demo_tiny", "--weights", "random", "--num-classes", "12")
KEPT = ("--store", "s.sqlite", "--random-classifier")
WRITE = ("--schedule", "s.json", "--data", "photos", "-o", "p.safetensors")
DOUBT = "class folders are numbered alphabetically, so output 2 is 10"
COMMANDS = {
    "sensitivity": ("analyze", *MODEL, *KEPT, "--data", "photos", "--metrics", "sensitivity", "--ratios", "0.5", "--sites", "fc2"),
    "composition": ("analyze", *MODEL, *KEPT, "--data", "photos", "--metrics", "composition", "--schedule", "s.json"),
    "certify": ("certify", *MODEL, "--random-classifier", "--data", "photos", "--schedule", "s.json", "-o", "c.json"),
    "recover": (
        "recover", *MODEL, *KEPT, "--train", "photos", "--schedule", "s.json", "--epochs", "1", "--batch-size", "4",
        "--validation-share", "0.5", "-o", "r.safetensors",
    ),
    "apply": ("apply", *MODEL, *WRITE),
}


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders 0 to 11, which the two orders number differently, and a file that lists one image and one that is not there."""
    with at_work(tmp_path_factory.mktemp("said")) as root:
        make_folder(root / "photos", {str(number): 1 for number in range(12)})
        Path("s.json").write_text(Schedule.uniform(3, fc2=0.5, selection="per_image").to_json())
        yield root


@pytest.mark.parametrize("name", COMMANDS)
def test_a_guessed_order_is_said_by_every_command(name: str) -> None:
    status, out, said = run_toast(*COMMANDS[name], "--json")
    assert status == 0 and said.count(DOUBT) == 1, said
    document = json.loads(out)
    assert document["class_to_index"]["10"] == 2 and "input_size" in document["transform"]
    assert sum(line.startswith(DOUBT) for line in document["notes"]) == 1
    if name == "composition":
        assert document["composition"]["sentence"].endswith("guessed order of classes, see the notes: choose one with --class-order.")


@pytest.mark.parametrize(("order", "stored"), [(None, None), ("natural", tuple(map(str, range(12)))), ("alphabetical", ...)])
def test_names_of_a_guessed_order_are_not_stored(order: str | None, stored: object) -> None:
    assert run_toast("apply", *MODEL, *WRITE, *(() if order is None else ("--class-order", order)))[0] == 0
    names = load_model(weights="p.safetensors").toast_info.classes
    assert names == (tuple(sorted(map(str, range(12)))) if stored is ... else stored)
    said = run_toast("evaluate", "--weights", "p.safetensors", "--data", "photos", "--random-classifier")[2]
    assert (DOUBT in said) == (order is None)


def test_the_file_of_a_recovery_takes_no_guess_either() -> None:
    assert run_toast(*COMMANDS["recover"])[0] == 0 and load_model(weights="r.safetensors").toast_info.classes is None


def test_calibration_images_left_aside_are_said(folder: Path) -> None:
    make_folder(folder / "fit", {"any": 24})
    (folder / "fit" / "any" / "000.png").write_bytes(b"")
    (folder / "fit" / "notes.txt").write_text("text")
    Path("c.json").write_text(Schedule.uniform(3, fc2=0.5, selection="calibrated").to_json())
    asked = ("apply", *MODEL, "--schedule", "c.json", "--calibration", "fit", "-o", "c.safetensors", "--json")
    status, out, said = run_toast(*asked)
    assert status == 0 and json.loads(out)["notes"] == [
        "calibration images: left aside: 1 file that is no image by its name (notes.txt)",
        "calibration images: skipped 1 of 24 images, fit/any/000.png: it is empty",
    ]
    budget = ("--reduction", "0.05", "--ratios", "0.5", "--sites", "fc2", "-o", "t.json")
    tuned = run_toast("tune", *MODEL, *KEPT[:2], "--calibration", "fit", *budget)
    assert "toast: calibration images: skipped 1 of 24 images, fit/any/000.png: it is empty" in tuned[2].splitlines(), tuned
    for file in (folder / "fit" / "any").iterdir():
        file.write_bytes(b"")
    for settings in ({}, {"compensation": FULL}):
        Path("c.json").write_text(Schedule.uniform(3, fc2=0.5, selection="calibrated", **settings).to_json())
        status, _, said = run_toast(*asked)
        assert status == 2 and said.startswith("toast: none of the 24 images of fit could be read; first fit/any/0"), said


def test_images_that_name_no_classes_are_said_when_a_file_is_written() -> None:
    status, out, said = run_toast("apply", *MODEL, *WRITE, "--num-classes", "11", "--json")
    assert status == 0 and "the file takes no class names from the images: photos has 12 classes" in said
    assert json.loads(out)["notes"] == [line.removeprefix("toast: ") for line in said.splitlines()]


def test_what_pillow_warns_of_a_file_is_no_line_of_ours(folder: Path) -> None:
    make_folder(folder / "tags", {str(number): 1 for number in range(12)})
    image = Image.fromarray(pixels(1))
    image.save(folder / "tags" / "0" / "000.png", exif=b"Exif\0\0II*\0\xff\xff\xff\xff broken")
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        status, _, said = run_toast("evaluate", *MODEL, "--random-classifier", "--data", "tags", "--class-order", "natural")
    assert status == 0 and "Corrupt" not in said and not [one for one in found if "PIL" in one.filename]
