"""`toast recover` as a person runs it: alone, again, and in two processes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from typer.main import get_command

from analysis_cache.database import STORE_VARIABLE
from analysis_cache.store import EvidenceStore
from tests.support.recoveries import same_weights
from toast_core.cli.app import app
from toast_core.cli.recover import note_of
from toast_core.errors import DataError, ModelError, ScheduleError
from toast_core.loading import load_model
from toast_core.schedule.schedule import Schedule
from toast_core.studies.recovery.loop import RecoveryProgress

ROOT = Path(__file__).parents[3]
# a machine that trains models in the background may starve it
TIMEOUT_S = 900
SCHEDULE = Schedule.uniform(12, qk=0.5, vo=0.5, fc2=0.7, selection="calibrated")
# 180 images: 160 to train on, 20 steps of 8
COMMON = [
    "recover", "--model", "demo_vit", "--weights", "random", "--calibration", "fashion-mnist:calibration", "--calibration-images", "20",
    "--train", "fashion-mnist:calibration", "--images", "180", "--validation-share", "0.1111", "--epochs", "1", "--device", "cpu", "--json",
]


@pytest.fixture(autouse=True)
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own store, for these tests."""
    monkeypatch.setenv(STORE_VARIABLE, str(tmp_path / "own.sqlite"))
    return tmp_path / "own.sqlite"


@pytest.fixture
def schedule(tmp_path: Path) -> str:
    """A schedule file."""
    path = tmp_path / "schedule.json"
    path.write_text(SCHEDULE.to_json())
    return str(path)


def toast(*words: object) -> None:
    """The command in this process."""
    get_command(app).main([str(word) for word in words], standalone_mode=False)


def test_it_writes_a_model_that_every_command_takes_and_goes_on_where_it_was(schedule, own_store, tmp_path, capsys):
    small = [*COMMON, "--schedule", schedule, "--images", 60, "--batch-size", 16, "--epochs", 2, "--checkpoint", tmp_path / "kept"]
    toast(*small, "--store", tmp_path / "evidence.sqlite", "-o", tmp_path / "one.safetensors")
    report = json.loads(capsys.readouterr().out)
    assert (report["epochs"], report["start"], report["cost"]["images"]) == (2, "selection", 96)
    model = load_model(weights=tmp_path / "one.safetensors")
    assert model.toast_info.schedule == SCHEDULE and model.toast_info.execution == "compact"
    with EvidenceStore.open(tmp_path / "evidence.sqlite") as store:
        analysis, = store.list_analyses()
        stored, *epochs = [store.get(key).summary for key in analysis.cell_keys]
        assert analysis.finished_utc and epochs == report["history"] and stored["after"] == report["after"]
    toast(*small, "-o", tmp_path / "two.safetensors")
    again = json.loads(capsys.readouterr().out)
    assert again["history"] == report["history"]
    with EvidenceStore.open(own_store) as store:
        assert [one.id for one in store.list_analyses()] == [analysis.id]
    assert same_weights(model, load_model(weights=tmp_path / "two.safetensors"))
    with pytest.raises(ModelError, match="belongs to a run with epochs 2, not 3"):
        toast(*small, "--epochs", 3, "-o", tmp_path / "three.safetensors")
    assert not (tmp_path / "three.safetensors").exists()


def test_what_it_refuses(schedule, tmp_path):
    output = ["-o", tmp_path / "out.safetensors"]
    with pytest.raises(ScheduleError, match="toast recover needs a schedule; pass --schedule FILE or --preset NAME"):
        toast(*COMMON, *output)
    with pytest.raises(DataError, match="fashion-mnist are the test images"):
        toast(*COMMON, "--schedule", schedule, "--train", "fashion-mnist", *output)
    with pytest.raises(DataError, match="give 20 for validation and 160 to train on, where one step takes 512; use more images"):
        toast(*COMMON, "--schedule", schedule, "--batch-size", 512, *output)
    with pytest.raises(ModelError, match="does not end in"):
        toast(*COMMON, "--schedule", schedule, "-o", tmp_path / "out.pt")


def test_a_note_says_loss_accuracy_and_time_left():
    seen = {"validation_top1": 91.234, "validation_agreement": 95.0}
    assert note_of(RecoveryProgress(10, 40, 3, 0.41234, seen, 250.4)) == "epoch 3, loss 0.412, validation top-1 91.23 %, 4 min 10 s left"
    unlabelled = RecoveryProgress(10, 40, 1, 1.0, seen | {"validation_top1": None}, 9)
    assert note_of(unlabelled) == "epoch 1, loss 1.000, validation agreement 95.00 %, 9 s left"


def process(command: list[object]) -> str:
    """Run it to its end; what it printed."""
    done = subprocess.run([str(word) for word in command], cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.kill
def test_two_processes_are_one_with_twice_the_batch_over_twenty_steps(schedule, tmp_path):
    # plain gradient descent shows gradients as they are; Adam divides those that are zero but for rounding by their own size
    recipe = ["--schedule", schedule, "--optimizer", "sgd", "--lr", "0.05", "--distill-blocks"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2, "-m", "toast_core"]
    kept = ["--checkpoint", tmp_path / "kept", "--store", tmp_path / "evidence.sqlite"]
    two = json.loads(process([*torchrun, *COMMON, *recipe, *kept, "--batch-size", 4, "-o", tmp_path / "two.safetensors"]))
    one = json.loads(process([sys.executable, "-m", "toast_core", *COMMON, *recipe, "--batch-size", 8, "-o", tmp_path / "one.safetensors"]))
    assert (two["processes"], one["processes"], two["cost"]["images"], one["cost"]["images"]) == (2, 1, 160, 160)
    ours, theirs = load_file(tmp_path / "one.safetensors"), load_file(tmp_path / "two.safetensors")
    start = load_model("demo_vit", "random").state_dict()
    assert ours.keys() == theirs.keys() and not ours["cls_token"].equal(start["cls_token"])
    for name, value in ours.items():
        difference = float((value.double() - theirs[name].double()).norm())
        assert difference <= 1e-4 * float(value.double().norm()), name
    for row, other in zip(one["history"], two["history"], strict=True):
        assert row["validation_loss"] == pytest.approx(other["validation_loss"], rel=1e-5)
    assert one["history"][1]["training_loss"] == pytest.approx(two["history"][1]["training_loss"], rel=1e-5)
    with EvidenceStore.open(tmp_path / "evidence.sqlite") as store:
        assert len(store.list_analyses()) == 1
    # the same command in one process goes on from what two left: steps of as many images, in batches of as many
    again = [*COMMON, *recipe, *kept[:2], "--batch-size", 4, "--accumulate", 2, "-o", tmp_path / "again.safetensors"]
    assert json.loads(process([sys.executable, "-m", "toast_core", *again]))["history"] == two["history"]


@pytest.mark.kill
def test_gpus_that_are_not_there_are_one_line(schedule, tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2, "-m", "toast_core"]
    command = [*torchrun, *COMMON, "--schedule", schedule, "--device", "cuda", "-o", tmp_path / "out.safetensors"]
    environment = {"CUDA_VISIBLE_DEVICES": "", "PATH": "/usr/bin:/bin", STORE_VARIABLE: str(tmp_path / "own.sqlite")}
    done = subprocess.run([str(word) for word in command], cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, env=environment)
    assert done.returncode != 0
    assert "toast: torchrun started 2 processes on this machine, which has 0 GPUs; use --nproc-per-node 1, or --device cpu" in done.stderr
