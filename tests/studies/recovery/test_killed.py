"""A recovery killed at any moment ends with the weights of one that nobody disturbed."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.recoveries import RECIPE, recovered, same_weights, undisturbed
from toast_core.studies.recovery.checkpoint import FILE, Checkpoints

ROOT = Path(__file__).parents[3]
# a machine that trains models in the background may starve it
TIMEOUT_S = 900
STEPS = 36


@pytest.mark.kill
def test_killed_five_times_it_ends_with_the_same_weights_bit_for_bit(tmp_path):
    command = [sys.executable, "-m", "tests.support.killed_recovery", str(tmp_path), "5"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert found.returncode == 0, found.stderr
    said = json.loads(found.stdout)
    *killed, last = said["lives"]
    assert len(killed) == 5 and all(one["signal"] == 9 and one["last"] < STEPS for one in killed)
    assert last["ended"] and last["last"] == STEPS
    # it went on, and not from the beginning: each life began within the steps between two checkpoints of where the last one was seen
    for before, after in zip(said["lives"], said["lives"][1:], strict=False):
        assert before["last"] - 2 < after["first"] and after["first"] > 1
    assert said["same_weights"] and said["same_history"] and said["best_epoch"] > 0


class Stop(Exception):
    """Stands for whatever ends a process between two steps."""


@pytest.mark.parametrize(("at", "optimizer"), [(1, "adamw"), (9, "adamw"), (13, "muon"), (18, "lamb"), (26, "adafactor")])
def test_stopped_after_any_step_it_goes_on_to_the_same_end(tmp_path, at, optimizer):
    recipe = replace(RECIPE, optimizer=optimizer)

    def stop(told):
        if told.images_done == at * RECIPE.batch_size:
            raise Stop

    with pytest.raises(Stop):
        recovered(recipe, checkpoints=Checkpoints(tmp_path, 4), progress=stop)
    seen = []
    second = recovered(recipe, checkpoints=Checkpoints(tmp_path, 4), progress=lambda told: seen.append(told.images_done))
    assert seen[0] > RECIPE.batch_size or at < 4
    whole = undisturbed(recipe)
    assert same_weights(second.model, whole.model) and second.report["history"] == whole.report["history"]
    again = recovered(recipe, checkpoints=Checkpoints(tmp_path), progress=lambda told: pytest.fail("a finished run has no steps left"))
    assert same_weights(again.model, whole.model)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
