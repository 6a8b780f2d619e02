"""What a setup says about a model, and that the images that name its classes are listed once."""

from pathlib import Path

import pytest

from tests.support.commands import at_work, toast
from tests.support.folders import make_folder
from toast_core.data import sources
from toast_core.schedule.schedule import Schedule

MODEL = ("--model", "demo_tiny", "--weights", "random", "--num-classes", "3", "--random-classifier", "--device", "cpu")
COMMANDS = {
    "evaluate": ("evaluate", *MODEL, "--data", "val"),
    "analyze": ("analyze", *MODEL, "--data", "val", "--metrics", "sensitivity", "--sites", "fc2", "--ratios", "0.5", "--store", "s.sqlite"),
    "apply": ("apply", *MODEL[:6], "--data", "val", "--schedule", "s.json", "-o", "p.safetensors"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_is_listed_once(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    walked, walk = [], sources.walk
    monkeypatch.setattr(sources, "walk", lambda path: walked.append(path) or walk(path))
    with at_work(tmp_path):
        make_folder(tmp_path / "val", {"bag": 2, "coat": 2, "shirt": 2})
        (tmp_path / "s.json").write_text(Schedule.uniform(3, fc2=0.5, selection="per_image").to_json())
        toast(*COMMANDS[name])
    assert walked == [Path("val")]
