"""How close recovery brings a demo to its baseline at half the MACs, schedule, fit and learning rate chosen on others than judge it.

    python benchmarks/recovery_choice.py [--models demo_vit] [--images 5500] [--threads 1]

The schedule (tuned, 50 % fewer MACs), its compensation and the training images are those of recovery.py. One run of 10 epochs for each
learning rate in LRS; the one with the lowest validation loss after its last epoch is taken, and only then are two sets of images looked
at: the calibration images that neither the tuner nor the fit of this schedule saw (no training image, and no try of recovery was ever
judged on them), and the test images, on which runs at two of these rates had been measured before this choice was made.

Writes benchmarks/results/recovery_choice_MODEL.json once a model is through. A run that was killed goes on from its checkpoint.
"""

import argparse
import json
import os
import platform
import tempfile
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from recovery import BATCH_SIZE, CALIBRATION, FIT_IMAGES, RECIPE, RESULTS, figures, options, schedule_for, training_data
from safetensors.torch import load_file, save_file
from torch import nn

from toast_core import load_data, load_model
from toast_core.compensation.plan import plan_on
from toast_core.cost.macs import count_cost
from toast_core.data.load import ImageData
from toast_core.files import write_text
from toast_core.loading import unfilled
from toast_core.models.info import get_info
from toast_core.pruning.execution.apply import apply_plan
from toast_core.schedule.compensation import FULL
from toast_core.studies.evaluation.measure import evaluate
from toast_core.studies.recovery.checkpoint import Checkpoints
from toast_core.studies.recovery.loop import RecoveryStart, recover

LRS = (1e-4, 3e-4, 5e-4, 1e-3)
TUNE_IMAGES = 768  # those of training_free.py, whose schedule this is


def unseen(model: nn.Module) -> ImageData:
    """The calibration images that neither the tuner nor the fit of this schedule looked at."""
    everything = load_data(CALIBRATION, model)
    seen = [load_data(CALIBRATION, model, images, seed=0, labelled=False).index for images in (TUNE_IMAGES, FIT_IMAGES)]
    left = np.setdiff1d(everything.index, np.concatenate(seen))
    return ImageData(everything.source, everything.transform, left, "sorted", 0)


def measure(name: str, arguments: argparse.Namespace) -> None:
    """One run a learning rate, the choice, and then the images that had no part in it."""
    model, schedule = load_model(name), replace(schedule_for("half", name), compensation=FULL)
    data = training_data(model, arguments.source, arguments.images)
    calibration = load_data(CALIBRATION, model, FIT_IMAGES, seed=0, labelled=False)
    plan = plan_on(model, schedule, [batch.images for batch in calibration.batches(BATCH_SIZE)])
    rows, students = [], {}
    for lr in LRS:
        folder = Path(tempfile.gettempdir()) / f"toast-recovery-choice-{name}" / f"{lr:g}-{arguments.images}"
        last = folder.with_name(f"{folder.name}-last.safetensors")

        def keep(seen: dict, student: nn.Module, lr: float = lr, last: Path = last) -> None:
            print(f"{name}, lr {lr:g}, epoch {seen['epoch']:2}: validation loss {seen['validation_loss']:.4f}", flush=True)
            if seen["epoch"] == RECIPE.epochs:
                save_file({key: value.contiguous() for key, value in student.state_dict().items()}, last)

        start, where = RecoveryStart(schedule, lambda: plan), Checkpoints(folder)
        recovered = recover(model, start, data, replace(RECIPE, lr=lr), checkpoints=where, on_epoch=keep)
        student = unfilled(model, schedule, RECIPE.execution)
        student.load_state_dict(load_file(last))
        rows.append({"lr": lr, **{key: recovered.report[key] for key in ("best_epoch", "history", "cost")}})
        students[lr] = {"last": student.eval(), "kept": recovered.model}
    lr = min(rows, key=lambda row: row["history"][-1]["validation_loss"])["lr"]
    subjects = {"start": apply_plan(model, plan, RECIPE.execution), **students[lr]}
    judged = {}
    for title, images in {"unseen": unseen(model), "test": load_data("fashion-mnist", model)}.items():
        baseline = evaluate(model, images, BATCH_SIZE).outcomes
        judged[title] = {"images": len(images), "baseline_top1": baseline.top1_estimate.to_dict()}
        judged[title] |= {part: figures(subject, images, baseline) for part, subject in subjects.items()}
    shape = get_info(model).shape
    facts = {
        "machine": platform.machine(), "cores": os.cpu_count(), "threads": torch.get_num_threads(), "torch": version("torch"),
        "timm": version("timm"), "training_images": arguments.images, "validation_share": RECIPE.validation_share,
        "schedule_digest": schedule.digest(), "saved": 1 - count_cost(shape, schedule).macs / count_cost(shape).macs,
        "recipe": {key: value for key, value in vars(RECIPE).items() if key != "lr"}, "runs": rows, "lr": lr, "judged": judged,
    }
    path = RESULTS / f"recovery_choice_{name}.json"
    write_text(path, json.dumps(facts, indent=1) + "\n")
    for title, found in judged.items():
        print(f"{name}, lr {lr:g}, {title}: {found['last']['points_to_baseline']:+.2f} points to the baseline")


if __name__ == "__main__":
    given = options(__doc__).parse_args()
    torch.set_num_threads(given.threads)
    for chosen_model in given.models:
        measure(chosen_model, given)
