"""A backbone without a classifier from evaluation to certificate, by the command line, on a tiny model and folders of images."""

import json
from pathlib import Path

import pytest

from tests.support.commands import at_work, run_toast, toast
from tests.support.folders import make_folder
from toast_core.schedule.schedule import Schedule
from toast_core.studio import Studio

MODEL = ("--model", "demo_tiny", "--weights", "random", "--num-classes", "0")
FIT = ("--calibration", "fit", "--calibration-images", "30")


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images to measure on, as many to compare with, some without classes, and a tuned schedule."""
    with at_work(tmp_path_factory.mktemp("features")) as root:
        make_folder(root / "val", {"bag": 6, "coat": 5, "shirt": 7})
        make_folder(root / "fit", {"bag": 10, "coat": 10, "shirt": 10})
        make_folder(root / "one", {"any": 8})
        asked = ("--reduction", "0.4", "--ratios", "0.5,0.9", "--batch-size", "8")
        toast("tune", *MODEL, *FIT, *asked, "-o", "tuned.json", "--store", "s.sqlite")
        toast("apply", *MODEL, *FIT, "--schedule", "tuned.json", "-o", "pruned.safetensors")
        yield root


def test_a_schedule_is_compared_with_the_baseline_and_its_neighbours() -> None:
    found = json.loads(toast("evaluate", *MODEL, *FIT, "--data", "val", "--schedule", "tuned.json", "--json"))
    assert found["task"] == "features" and 0 < found["cosine"]["value"] < 1 and found["tokens"]["value"] < 1
    assert found["neighbours"] == {"k": 20, "bank": "fit", "images": 30, "digest": found["neighbours"]["digest"]}
    assert found["class_to_index"] is None and "top1" not in found and 0 <= found["knn"]["value"] <= 100
    text = toast("evaluate", *MODEL, *FIT, "--data", "val", "--schedule", "tuned.json")
    assert f"feature cosine  {found['cosine']['value']:.4f}  (95 %: " in text and "20 nearest of 30 images of fit by cosine" in text


@pytest.mark.parametrize("place", ["one", "one/any"])
def test_labels_are_not_needed(place: str) -> None:
    found = json.loads(toast("evaluate", *MODEL, "--data", place, "--json"))
    assert found["cosine"]["value"] == 1 and "knn" not in found and "not labelled" in found["notes"][-1]


def test_the_file_alone_is_measured_by_its_neighbours() -> None:
    whole = json.loads(toast("evaluate", *MODEL, *FIT, "--data", "val", "--schedule", "tuned.json", "--execution", "compact", "--json"))
    alone = json.loads(toast("evaluate", "--weights", "pruned.safetensors", *FIT, "--data", "val", "--json"))
    assert alone["knn"] == whole["knn"] and alone["macs"] == whole["macs"] and "cosine" not in alone
    status, _, said = run_toast("evaluate", "--weights", "pruned.safetensors", "--data", "val")
    assert status == 2 and "neither its baseline nor labelled images" in said


def test_from_python_it_is_the_same() -> None:
    found = json.loads(toast("evaluate", *MODEL, *FIT, "--data", "val", "--schedule", "tuned.json", "--execution", "compact", "--json"))
    studio = Studio("demo_tiny", weights="random", num_classes=0, data="val", calibration="fit", calibration_images=30, device="cpu")
    figures = studio.evaluate(Schedule.from_json(Path("tuned.json").read_bytes())).to_dict()
    assert all(figures[key] == found[key] for key in ("cosine", "tokens", "knn"))


def test_a_sweep_is_a_table_of_cosines() -> None:
    sweep = ("--metrics", "sensitivity", "--sites", "fc2", "--ratios", "0.5")
    words = ("analyze", *MODEL, *FIT, *sweep, "--data", "val", "--store", "s.sqlite")
    rows = json.loads(toast(*words, "--json"))["sensitivity"]
    assert len(rows) == 3 and all(row["cosine"] == pytest.approx(1 - row["distance"]) for row in rows)
    text = toast(*words)
    assert " cosine " in text and " tokens " in text and "top-1" not in text


def test_a_certificate_states_cosines_and_holds() -> None:
    words = ("certify", *MODEL, *FIT, "--data", "val", "--batch-size", "6", "--schedule", "tuned.json", "--export", "pruned.safetensors")
    text = toast(*words, "-o", "c.json")
    assert "feature cosine" in text and "feature off compact by" in text and "same class as compact" in text
    forms = json.loads(Path("c.json").read_text())["forms"]
    assert forms[0]["cosine"]["value"] == 1 and forms[1]["cosine"]["value"] < 1 and set(forms[3]) == set(forms[2])
    assert "top1" not in forms[0] and forms[2]["knn_count"] == forms[3]["knn_count"]
    assert "every claim holds" in toast("certify", "--check", "c.json")
    changed = json.loads(Path("c.json").read_text())
    changed["forms"][2]["cosine"]["value"] = 0.5
    Path("c.json").write_text(json.dumps(changed))
    status, out, _ = run_toast("certify", "--check", "c.json")
    assert status == 1 and "compact: cosine is" in out and "it was edited" in out


def test_it_is_exported_and_timed() -> None:
    text = toast("export", "--weights", "pruned.safetensors", "--format", "safetensors", "-o", "again.safetensors")
    assert "largest difference of a feature" in text
    assert "batch 1" in toast("bench", *MODEL, "--schedule", "tuned.json", "--batch-sizes", "1", "--pairs", "5")


@pytest.mark.parametrize(("words", "says"), [
    (("analyze", "--metrics", "composition", "--data", "val", "--schedule", "tuned.json", *FIT), "composition compares a classifier's"),
    (("evaluate", "--data", "val", "--task", "classification"), "num-classes is 0"),
    (("recover", "--schedule", "tuned.json", "--train", "fit", *FIT, "-o", "r.safetensors", "--no-labels"), "recovery learns a"),
])
def test_what_needs_answers_is_refused(words: tuple[str, ...], says: str) -> None:
    status, _, said = run_toast(words[0], *MODEL, *words[1:])
    assert status == 2 and says in said and "Traceback" not in said


def test_a_demo_without_its_classifier_goes_from_file_to_file(tmp_path: Path) -> None:
    """Its class names leave with the classifier, so that what is written of it can be read."""
    schedule, file = tmp_path / "s.json", tmp_path / "p.safetensors"
    schedule.write_text(Schedule.uniform(12, fc2=0.5, selection="per_image").to_json())
    toast("apply", "--model", "demo_vit", "--num-classes", "0", "--schedule", schedule, "-o", file)
    beside = ("--calibration", "fashion-mnist:calibration", "--calibration-images", "20")
    assert "k-NN top-1" in toast("evaluate", "--weights", file, "--data", "fashion-mnist", "--images", "8", *beside)
