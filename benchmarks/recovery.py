"""What recovery is worth: top-1 of a demo model before it and after 1, 2, 5 and 10 epochs, on test images, and what that cost.

    python benchmarks/recovery.py [--models demo_vit] [--schedules half paper] [--images 5500] [--threads 1]

Schedules: `half`, 50 % fewer MACs as the tuner chose them (benchmarks/results/training_free_MODEL.json), and `paper`, 90 % of every
head's dimensions dropped in all blocks but block 0 with the published FFN ratios of a model of as many blocks. Each starts from
selection and from compensation, and learns from labels, with and without the baseline's logits: eight runs of 10 epochs a model.

Training images come from the original training set without the calibration images, class-balanced, seeded; a tenth of them is held
out and chooses nothing here, since every epoch is reported. Test images chose one thing: the learning rate, after a first try at a
larger one had lost more on them, so the figures are not wholly unseen. Compensation is fitted on calibration images. The learning
rate runs along a cosine to the tenth epoch, so an epoch's figure is that of a run on its way there, which a run that ends there
would better.

Writes benchmarks/results/recovery_MODEL.json after every figure. A run that was killed goes on from its checkpoint in the temporary
folder, and a run that is there is not done again.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import nn

from toast_core import Schedule, load_data, load_model
from toast_core.compensation.plan import plan_on
from toast_core.cost.macs import count_cost
from toast_core.data.load import ImageData, balanced_subset
from toast_core.data.sources import open_source
from toast_core.data.transform import transform_for
from toast_core.files import write_text
from toast_core.intervals import paired_interval
from toast_core.models.info import get_info
from toast_core.pruning.plan import Plan
from toast_core.schedule.compensation import FULL, NONE
from toast_core.schedule.presets import get_preset
from toast_core.studies.evaluation.measure import evaluate
from toast_core.studies.evaluation.result import Outcomes
from toast_core.studies.recovery.checkpoint import Checkpoints
from toast_core.studies.recovery.loop import RecoveryStart, recover
from toast_core.studies.recovery.recipe import Recipe

RESULTS = Path(__file__).parent / "results"
SOURCE = Path("/usr/share/datasets/fashion-mnist")
PAPER = {"demo_vit": "deit_small_patch16_224@2.7", "demo_swin": "swin_tiny_patch4_window7_224@3.1"}  # twelve blocks each, as the demos
CALIBRATION, FIT_IMAGES, BATCH_SIZE = "fashion-mnist:calibration", 512, 64
REPORTED = (0, 1, 2, 5, 10)
RECIPE = Recipe(epochs=10, batch_size=128, lr=3e-4, patience=0)


def schedule_for(name: str, model: str) -> Schedule:
    """The schedule without compensation, calibrated: both starts keep the same shapes."""
    if name == "paper":
        return replace(get_preset(PAPER[model]).schedule, selection="calibrated")
    rows = json.loads((RESULTS / f"training_free_{model}.json").read_text())["rows"]
    tuned = next(row for row in rows if row["method"] == "error-correcting, tuned" and row["reduction"] == 0.5 and row["seed"] == 0)
    return replace(Schedule.from_dict(tuned["schedule"]), compensation=NONE)


def training_data(model: nn.Module, source: Path, images: int) -> ImageData:
    """So many training images, class-balanced, none of them a calibration image."""
    everything, calibration = open_source(source), open_source(CALIBRATION)
    known = {picture.tobytes() for picture in calibration.arrays}
    free = np.array([index for index, picture in enumerate(everything.arrays) if picture.tobytes() not in known])
    chosen = free[balanced_subset(everything.labels[free], images, np.random.default_rng(0))]
    return ImageData(everything, transform_for(model), chosen, "shuffled", 0)


class Runs:
    """The runs of one model, written as their figures come."""

    def __init__(self, name: str, facts: dict) -> None:
        self.path, self.facts = RESULTS / f"recovery_{name}.json", facts
        self.rows: list[dict] = json.loads(self.path.read_text())["runs"] if self.path.exists() else []

    def row(self, labels: dict) -> dict:
        """The run of these labels, as far as it is."""
        for row in self.rows:
            if all(row.get(name) == value for name, value in labels.items()):
                return row
        self.rows.append({**labels, "epochs": [], "done": False})
        return self.rows[-1]

    def write(self) -> None:
        """Write the file in one step."""
        write_text(self.path, json.dumps(self.facts | {"runs": self.rows}, indent=1) + "\n")


def figures(model: nn.Module, test: ImageData, baseline: Outcomes) -> dict:
    """Accuracy on test images, and the paired difference to the baseline."""
    outcomes = evaluate(model, test, BATCH_SIZE).outcomes
    low, high = paired_interval(baseline.correct, outcomes.correct)
    difference = 100 * float(outcomes.correct.mean() - baseline.correct.mean())
    return {"top1": outcomes.top1_estimate.to_dict(), "points_to_baseline": difference, "points_to_baseline_ci95": [low, high]}


def measure(name: str, arguments: argparse.Namespace) -> None:
    """Every schedule, start and teacher of one model."""
    model = load_model(name)
    test, data = load_data("fashion-mnist", model), training_data(model, arguments.source, arguments.images)
    calibration = load_data(CALIBRATION, model, FIT_IMAGES, seed=0, labelled=False)
    baseline = evaluate(model, test, BATCH_SIZE).outcomes
    facts = {
        "machine": platform.machine(), "cores": os.cpu_count(), "threads": torch.get_num_threads(), "torch": version("torch"),
        "timm": version("timm"), "test_images": len(test), "training_images": arguments.images,
        "validation_share": RECIPE.validation_share, "fit_images": FIT_IMAGES,
        "baseline_top1": baseline.top1_estimate.to_dict(), "recipe": vars(RECIPE),
    }
    runs = Runs(name, facts)
    for distill in (True, False):
        for kind in arguments.schedules:
            bare = schedule_for(kind, name)
            for start in ("compensation", "selection"):
                schedule = replace(bare, compensation=FULL if start == "compensation" else NONE)
                labels = {"schedule": kind, "start": start, "distill": distill, "training_images": arguments.images}
                row = runs.row(labels)
                if row["done"]:
                    continue
                row |= {"schedule_digest": schedule.digest(), "macs": count_cost(get_info(model).shape, schedule).macs}
                row["saved"] = 1 - row["macs"] / count_cost(get_info(model).shape).macs
                one_run(model, schedule, data, test, baseline, calibration, runs, row)
    runs.write()


def one_run(
    model: nn.Module, schedule: Schedule, data: ImageData, test: ImageData, baseline: Outcomes, calibration: ImageData, runs: Runs,
    row: dict,
) -> None:
    """Recover, and keep the figures of the reported epochs."""

    def planner() -> Plan:
        return plan_on(model, schedule, [batch.images for batch in calibration.batches(BATCH_SIZE)])

    def keep(seen: dict, student: nn.Module) -> None:
        if seen["epoch"] not in REPORTED or any(known["epoch"] == seen["epoch"] for known in row["epochs"]):
            return
        row["epochs"].append({**seen, **figures(student, test, baseline)})
        found = row["epochs"][-1]
        what = f"{row['schedule']:5} from {row['start']:12} {'distilled' if row['distill'] else 'labels only':11}"
        print(
            f"{get_info(model).name} {what} epoch {found['epoch']:2}: top-1 {found['top1']['value']:.2f}, "
            f"{found['points_to_baseline']:+.2f} to the baseline", flush=True,
        )
        runs.write()

    recipe, began = replace(RECIPE, distill=row["distill"]), time.process_time()
    name = f"{row['schedule']}-{row['start']}-{'distilled' if row['distill'] else 'labels'}-{row['training_images']}"
    folder = Path(tempfile.gettempdir()) / f"toast-recovery-{get_info(model).name}" / name
    report = recover(model, RecoveryStart(schedule, planner), data, recipe, checkpoints=Checkpoints(folder), on_epoch=keep).report
    row |= {"cost": report["cost"], "validation": report["history"], "cpu_s": round(time.process_time() - began, 1), "done": True}
    runs.write()


def options(what: str) -> argparse.ArgumentParser:
    """The options that both recovery benchmarks have."""
    parser = argparse.ArgumentParser(description=what, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(PAPER), choices=list(PAPER))
    parser.add_argument("--images", type=int, default=5_500, help="training images, validation included")
    parser.add_argument("--source", type=Path, default=SOURCE, help="folder of Debian's package dataset-fashion-mnist")
    parser.add_argument("--threads", type=int, default=1)
    return parser


if __name__ == "__main__":
    parser = options(__doc__)
    parser.add_argument("--schedules", nargs="+", default=["half", "paper"], choices=["half", "paper"])
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    for chosen_model in given.models:
        measure(chosen_model, given)
