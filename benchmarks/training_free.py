"""What training-free compensation is worth: top-1 of both demo models at 20 to 60 % fewer MACs, method by method, on test images.

    python benchmarks/training_free.py [--models demo_vit] [--reductions 0.4 0.5] [--seeds 0] [--sizes 32 512] [--images 2000]

Methods, each at the MACs it is counted with: selection per image and calibrated, with fc2's bias set, one-shot affine (folding and
projection on the baseline's activations) and error-correcting, all at one ratio for qk, vo and fc2 in every block; error-correcting
with the tuner's schedule, and with the schedules of the usual shapes at the same budget. The first seed takes every method, the
others the compensated ones. A seed draws the calibration images and, per image, the token sample. Calibration sizes are compared
at 40 %. Everything that is chosen is chosen on calibration images; test images are only evaluated.

Writes benchmarks/results/training_free_MODEL.json after every row and goes on from it: rows that are there are not measured again.
What the tuner measured is kept in a store in the temporary folder.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn

from analysis_cache.store import EvidenceStore
from toast_core import load_data, load_model
from toast_core.budget.front import SHAPES
from toast_core.budget.words import read_budget
from toast_core.compensation.plan import plan_on
from toast_core.cost.macs import count_cost
from toast_core.cost.shapes import ModelShape
from toast_core.data.load import ImageData
from toast_core.files import write_text
from toast_core.intervals import paired_interval
from toast_core.models.info import get_info
from toast_core.pruning.execution.apply import apply_plan
from toast_core.pruning.planner import make_plan
from toast_core.schedule.compensation import FULL, NONE, Compensation
from toast_core.schedule.schedule import Schedule
from toast_core.studies.evaluation.measure import evaluate
from toast_core.studies.evaluation.result import Outcomes
from toast_core.studies.subject import Subject
from toast_core.studies.tuning.measure import tune
from toast_core.studies.tuning.request import TuningRequest
from toast_core.studies.tuning.store import TuningStore

RESULTS = Path(__file__).parent / "results"
CALIBRATION = "fashion-mnist:calibration"
FIT_IMAGES = 512
TUNE_IMAGES = 768
BATCH_SIZE = 64
METHODS = {
    "selection, per image": ("per_image", NONE),
    "selection, calibrated": ("calibrated", NONE),
    "selection and bias": ("calibrated", Compensation("bias", "select", "one_shot")),
    "one-shot affine": ("calibrated", Compensation("fold", "project", "one_shot")),
    "error-correcting": ("calibrated", FULL),
}
SIZED = ("selection, calibrated", "one-shot affine", "error-correcting")
TUNED = "error-correcting, tuned"
SIZED_AT = 0.4


def uniform_at(shape: ModelShape, reduction: float, selection: str, compensation: Compensation, seed: int) -> Schedule:
    """The smallest ratio, the same for qk, vo and fc2 of every block, that saves this fraction of MACs as they are counted.

    Heads have few dimensions, so that their common ratio overshoots; fc2's then gives back what is left over.
    """
    settings = {"selection": selection, "compensation": compensation, "seed": seed}

    def at(heads: float, hidden: float) -> Schedule:
        return Schedule.uniform(len(shape.blocks), qk=heads, vo=heads, fc2=hidden, **settings)

    def smallest(schedule_at: Callable[[float], Schedule]) -> float:
        low, high = 0.0, 0.99
        for _ in range(30):
            middle = (low + high) / 2
            met = count_cost(shape, schedule_at(middle)).macs <= (1 - reduction) * count_cost(shape).macs
            low, high = (low, middle) if met else (middle, high)
        return high

    heads = smallest(lambda ratio: at(ratio, ratio))
    return at(heads, smallest(lambda ratio: at(heads, ratio)))


def pruned_by(model: nn.Module, schedule: Schedule, images: int) -> nn.Module:
    """The model under a schedule, fitted on so many calibration images drawn by the schedule's seed."""
    if schedule.selection == "per_image":
        return apply_plan(model, make_plan(model, schedule), "masked")
    data = load_data(CALIBRATION, model, images, seed=schedule.seed, labelled=False)
    return apply_plan(model, plan_on(model, schedule, [batch.images for batch in data.batches(BATCH_SIZE)]), "compact")


class Table:
    """Measured rows of one model, written as they come."""

    def __init__(self, name: str, facts: dict) -> None:
        self.path, self.facts = RESULTS / f"training_free_{name}.json", facts
        self.rows: list[dict] = json.loads(self.path.read_text())["rows"] if self.path.exists() else []

    def add(self, model: nn.Module, test: ImageData, baseline: Outcomes, schedule: Schedule, images: int, **labels: object) -> None:
        """Measure a schedule and keep its row, unless it is there."""
        row = {
            **labels,
            "model": get_info(model).name,
            "seed": schedule.seed,
            "test_images": len(test),
            "calibration_images": images if schedule.needs_calibration else None,
            "schedule": schedule.to_dict(),
        }
        if any(all(known[name] == value for name, value in row.items()) for known in self.rows if row.keys() <= known.keys()):
            return
        start = time.process_time()
        result = evaluate(pruned_by(model, schedule, images), test, BATCH_SIZE)
        low, high = paired_interval(baseline.correct, result.outcomes.correct)
        row |= {
            "macs": result.macs,
            "saved": 1 - result.macs / count_cost(get_info(model).shape).macs,
            "top1": result.outcomes.top1_estimate.to_dict(),
            "points_to_baseline": 100 * float(result.outcomes.correct.mean() - baseline.correct.mean()),
            "points_to_baseline_ci95": [low, high],
            "cpu_s": round(time.process_time() - start, 2),
        }
        self.rows.append(row)
        print(
            f"{row['model']:9} {row['method']:26} seed {row['seed']} fit on {images:4}  {100 * row['saved']:5.1f} % fewer MACs  "
            f"top-1 {row['top1']['value']:.2f}, {row['points_to_baseline']:+.2f} ({low:+.2f} to {high:+.2f})",
            flush=True,
        )
        self.write()

    def write(self) -> None:
        """Write the file in one step."""
        RESULTS.mkdir(exist_ok=True)
        write_text(self.path, json.dumps(self.facts | {"rows": self.rows}, indent=1) + "\n")


def measure(name: str, arguments: argparse.Namespace) -> None:
    """Every method at every reduction and seed, then the calibration sizes."""
    model = load_model(name)
    shape, test = get_info(model).shape, load_data("fashion-mnist", model, arguments.images)
    baseline = evaluate(model, test, BATCH_SIZE).outcomes
    facts = {
        "machine": platform.machine(), "cores": os.cpu_count(), "threads": torch.get_num_threads(), "torch": version("torch"),
        "test_images": len(test), "tune_images": TUNE_IMAGES, "fit_images": FIT_IMAGES, "baseline_top1": baseline.top1_estimate.to_dict(),
    }
    table = Table(name, facts)
    store = Path(tempfile.gettempdir()) / f"toast-training-free-{name}.sqlite"
    with EvidenceStore.open(store) as evidence:
        for seed in arguments.seeds:
            calibration = load_data(CALIBRATION, model, TUNE_IMAGES, seed=seed, labelled=False)
            stored = TuningStore(evidence, Subject.of(model, calibration, BATCH_SIZE, "tuning"))
            for reduction in arguments.reductions:
                labels = {"reduction": reduction}
                for method, settings in METHODS.items():
                    if seed == arguments.seeds[0] or settings[1] != NONE:
                        table.add(model, test, baseline, uniform_at(shape, reduction, *settings, seed), FIT_IMAGES, method=method, **labels)
                request = TuningRequest(read_budget(shape, reduction=reduction), seed=seed, batch_size=BATCH_SIZE)
                tuned = tune(model, calibration, request, store=stored)
                table.add(model, test, baseline, tuned.schedule, FIT_IMAGES, method=TUNED, chosen=tuned.report["chosen"], **labels)
                if seed == arguments.seeds[0]:
                    table.facts.setdefault("audit", {})[str(reduction)] = tuned.report["audit"]
                    for row in tuned.report["candidates"]:
                        if row["name"] in SHAPES:
                            schedule = Schedule.from_dict(row["schedule"])
                            method = f"error-correcting, {row['name']}"
                            table.add(model, test, baseline, schedule, FIT_IMAGES, method=method, **labels)
    for size in arguments.sizes:
        for method in SIZED:
            schedule = uniform_at(shape, SIZED_AT, *METHODS[method], arguments.seeds[0])
            table.add(model, test, baseline, schedule, size, method=method, reduction=SIZED_AT, compared="calibration size")
    table.write()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000, help="test images, class-balanced; 10000 are all")
    parser.add_argument("--models", nargs="+", default=["demo_vit", "demo_swin"])
    parser.add_argument("--reductions", nargs="+", type=float, default=[0.4, 0.5, 0.2, 0.3, 0.6])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--sizes", nargs="*", type=int, default=[32, 128, 512, 2048, 5000])
    given = parser.parse_args()
    for chosen_model in given.models:
        measure(chosen_model, given)
