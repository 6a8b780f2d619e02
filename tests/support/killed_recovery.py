"""A recovery that is killed again and again, in a process of its own that can be forked: torch is loaded once, on one thread.

    python -m tests.support.killed_recovery FOLDER TIMES

A life is a child that does the whole of `recover` with one checkpoint folder. It is killed after a random number of steps and a random
wait, TIMES times; then one life is left alone. Prints JSON: the steps each life began and stopped at, whether the weights are those of a
run that nobody disturbed, bit for bit, and whether the histories are.
"""

import json
import os
import random
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from tests.support.recoveries import RECIPE, recovered
from toast_core.studies.recovery.checkpoint import Checkpoints
from toast_core.studies.recovery.loop import RecoveryProgress

LONGEST_WAIT_S = 0.05
HARD = replace(RECIPE, epochs=4, mixup=0.4, cutmix=0.4, distill_blocks=True)  # everything that draws or remembers: 36 steps


def life(folder: Path, pipe: int) -> None:
    """One life in a child, which writes the number of each step done into the pipe."""

    def told(seen: RecoveryProgress) -> None:
        os.write(pipe, seen.images_done.to_bytes(4, "little"))

    found = recovered(HARD, checkpoints=Checkpoints(folder, 2), progress=told)
    save_file(found.model.state_dict(), folder / "result.safetensors")
    (folder / "history.json").write_text(json.dumps(found.report["history"]))


def start(folder: Path) -> tuple[int, int]:
    """A child and the end of its pipe to read from."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        try:
            life(folder, writer)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    os.close(writer)
    return child, reader


def main(folder: Path, times: int) -> dict:
    """Kill it so often, then let it end."""
    rng, lives = random.Random(0), []
    for number in range(times + 1):
        child, reader = start(folder)
        patience = rng.randint(1, 7) if number < times else 10**9
        steps = []
        while len(steps) < patience and (word := os.read(reader, 4)):
            steps.append(int.from_bytes(word, "little") // RECIPE.batch_size)
        if number < times:
            time.sleep(rng.random() * LONGEST_WAIT_S)
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        os.close(reader)
        lives.append({"first": steps[0], "last": steps[-1], "signal": os.WTERMSIG(status), "ended": os.waitstatus_to_exitcode(status) == 0})
    calm = recovered(HARD)
    disturbed, own = load_file(folder / "result.safetensors"), calm.model.state_dict()
    same = disturbed.keys() == own.keys() and all(torch.equal(disturbed[name], own[name]) for name in own)
    history = json.loads((folder / "history.json").read_text()) == json.loads(json.dumps(calm.report["history"]))
    return {"lives": lives, "same_weights": same, "same_history": history, "best_epoch": calm.report["best_epoch"]}


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]))))
