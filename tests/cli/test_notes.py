"""What loading guessed, left aside or drew is said once by every command that loads a model, on stderr and in its JSON."""

import json
from pathlib import Path

import pytest
import torch

from tests.support.commands import at_work, run_toast
from tests.support.families import tiny_demo
from tests.support.folders import make_folder
from toast_core.command import TAKES
from toast_core.schedule.schedule import Schedule

BASE = ("--model", "demo_tiny", "--weights", "w.pth", "--num-classes", "3")
SCHEDULE = ("--schedule", "s.json")
SAID = ("took the prefix module. off the names of", "the classifier of demo_tiny is random: its answers say nothing")
COMMANDS = {
    "evaluate": ("--data", "val", "--random-classifier"),
    "analyze": ("--data", "val", "--metrics", "redundancy", "--store", "s.sqlite"),
    "flops": SCHEDULE,
    "bench": (*SCHEDULE, "--batch-sizes", "1", "--pairs", "5"),
    "tune": ("--calibration", "val", "--calibration-images", "24", "--reduction", "0.3", "--ratios", "0.5", "-o", "t.json",
             "--store", "s.sqlite"),
    "apply": (*SCHEDULE, "-o", "p.safetensors"),
    "export": (*SCHEDULE, "--format", "safetensors", "-o", "e.safetensors"),
    "recover": (*SCHEDULE, "--train", "val", "--random-classifier", "--epochs", "1", "--warmup-epochs", "0", "--batch-size", "4", "-o",
                "r.safetensors", "--store", "s.sqlite"),
    "certify": (*SCHEDULE, "--data", "val", "--random-classifier", "--batch-size", "4", "-o", "c.json"),
}


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with headless weights under a prefix, images and a schedule."""
    with at_work(tmp_path_factory.mktemp("notes")) as root:
        make_folder(root / "val", {"bag": 8, "coat": 8, "shirt": 8})
        torch.save({f"module.{name}": value for name, value in tiny_demo(0).state_dict().items()}, "w.pth")
        (root / "s.json").write_text(Schedule.uniform(3, fc2=0.5, selection="per_image").to_json())
        yield root


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_them_once_and_in_json(command: str) -> None:
    device = ("--device", "cpu") if "device" in TAKES[command] else ()
    status, out, err = run_toast(command, *BASE, *COMMANDS[command], *device, "--json")
    assert status == 0, err
    for words in SAID:
        assert err.count(f"toast: {words}") == 1
        assert any(note.startswith(words) for note in json.loads(out)["notes"])


def test_a_check_of_a_certificate_says_them() -> None:
    run_toast("certify", *BASE, *COMMANDS["certify"], "--device", "cpu")
    _, out, err = run_toast("certify", "--check", "c.json", "--json", "--device", "cpu")
    assert err.count(SAID[1]) == 1 and SAID[1] in json.loads(out)["notes"]


def test_a_pruned_file_still_says_that_its_classifier_is_random() -> None:
    run_toast("apply", *BASE, *COMMANDS["apply"], "--device", "cpu")
    _, _, err = run_toast("evaluate", "--weights", "p.safetensors", "--data", "val", "--random-classifier", "--device", "cpu")
    assert err.count(SAID[1]) == 1
