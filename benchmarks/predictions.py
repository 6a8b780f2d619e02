"""How far predictions of whole schedules can be trusted: random schedules of a demo, predicted from a sketch and measured.

    python benchmarks/predictions.py MODEL [--plain 150] [--compensated 150] [--images 1000]

10 to 70 % of the MACs saved at qk, vo and fc2, every second schedule mostly in a few adjacent blocks. The sketch is of 64 calibration
images, with the trials that it makes by default; fits and scores are of 384 others. Measured are KL to the baseline and the change of top-1
on test images. Each schedule is predicted from the sketch alone, and as the desk does it: from the sketch and the schedules measured before
it. Beside them stands the sum of single cells' damages from the same calibrated sketch. Writes
benchmarks/results/predictions_MODEL.json.
"""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from analysis_cache.store import EvidenceStore
from toast_core.budget.curves import read_curves
from toast_core.cost.macs import count_cost, kept_counts
from toast_core.cost.shapes import ModelShape
from toast_core.data.load import Batch, load_data
from toast_core.files import write_text
from toast_core.pruning.execution.apply import apply_plan
from toast_core.schedule.compensation import FULL, NONE
from toast_core.schedule.schedule import BlockSchedule, Schedule
from toast_core.setup import Setup
from toast_core.studies.evaluation.measure import margins
from toast_core.studies.sketch.job import SketchRun
from toast_core.studies.sketch.prediction import Predictor, predicted_change
from toast_core.studies.sketch.result import Trial
from toast_core.studies.sketch.store import analyze_sketch
from toast_core.workbench import Workbench

RESULTS = Path(__file__).parent / "results"
SITES = ("qk", "vo", "fc2")
CALIBRATION, SKETCHED = 448, 64


def random_schedules(shape: ModelShape, count: int, seed: int) -> list[Schedule]:
    """Schedules that save 10 to 70 % of the MACs."""
    draw, blocks, whole, found = np.random.default_rng(seed), len(shape.blocks), count_cost(shape).macs, []
    for number in range(count):
        target, share = draw.uniform(0.1, 0.7), draw.uniform(0, 1, (blocks, len(SITES)))
        if number % 2:
            near = (np.arange(blocks) - draw.integers(blocks)) % blocks < draw.integers(2, max(3, blocks // 2))
            share = np.where(near[:, None], (1 + share) / 2, share / 4)
        low, high = 0.0, 8.0
        for _ in range(30):
            scale = (low + high) / 2
            entries = (BlockSchedule(**dict(zip(SITES, map(float, row), strict=True))) for row in np.minimum(scale * share, 0.9).round(3))
            schedule = Schedule(tuple(entries), selection="calibrated")
            low, high = (scale, high) if count_cost(shape, schedule).macs > (1 - target) * whole else (low, scale)
        found.append(schedule)
    return found


def logits_of(model: nn.Module, batches: list[Batch]) -> torch.Tensor:
    """The model's logits of all batches, float64."""
    with torch.inference_mode():
        return torch.cat([model(batch.images) for batch in batches]).double()


def summed(curves: dict, shape: ModelShape, schedule: Schedule) -> float:
    """The sum of single cells' damages."""
    kept = [kept_counts(block, schedule, index) for index, block in enumerate(shape.blocks)]
    return sum(
        curves[index, site].damage(counts[site]) for index, counts in enumerate(kept) for site in SITES
        if counts[site] < shape.blocks[index].site_width(site)
    )


def measured(name: str, counts: dict[bool, int], images: int) -> dict:
    """The figures of one demo, by whether schedules are compensated."""
    place = "fashion-mnist:calibration"
    workbench = Workbench.load(Setup(model=name, data=place, calibration=place, calibration_images=CALIBRATION, images=SKETCHED))
    model, shape = workbench.model, workbench.shape
    test = list(load_data("fashion-mnist", model, images).batches(100))
    labels, before = torch.cat([batch.labels for batch in test]), logits_of(model, test)
    margin, found = margins(before, labels).numpy(), {}
    for compensated, count in counts.items():
        run = SketchRun(SITES, selection="calibrated", compensation=compensated)
        subject = run.subject(workbench)
        with tempfile.TemporaryDirectory() as folder, EvidenceStore.open(Path(folder) / "sketch.sqlite") as store:
            request = run.request(workbench, subject)
            sketch = analyze_sketch(subject, store, request)[1]
        predictor, curves = Predictor(shape, sketch, compensated), read_curves(sketch.rows(), shape)
        alone, learning, seen = [], [], []
        for schedule in random_schedules(shape, count, 1):
            schedule = Schedule(schedule.blocks, selection="calibrated", compensation=FULL if compensated else NONE)
            after = logits_of(apply_plan(model, workbench.plan(schedule), "compact").eval(), test)
            p, q = before.log_softmax(1), after.log_softmax(1)
            hits = (after.argmax(1) == labels).double() - (before.argmax(1) == labels).double()
            known = {
                "saved": 1 - count_cost(shape, schedule).macs / count_cost(shape).macs, "kl": float((p.exp() * (p - q)).sum(1).mean()),
                "change": 100 * float(hits.mean()), "summed": summed(curves, shape, schedule),
            }
            alone.append(known | told(predictor, schedule, margin))
            learning.append(known | told(replace(predictor, more=tuple(seen)), schedule, margin))
            seen.append(Trial(schedule, known["kl"] / predictor.factor(margin), images))
            print(name, compensated, len(alone), known, alone[-1]["predicted"], learning[-1]["predicted"], flush=True)
        kind = "compensated" if compensated else "plain"
        found[kind] = {"trials": len(sketch.trials), "alone": summary(alone), "learning": summary(learning)}
    return found


def told(predictor: Predictor, schedule: Schedule, margin: np.ndarray) -> dict:
    """What is predicted of a schedule."""
    damage = predictor.damage(schedule, margin).damage
    change = predicted_change(damage, margin)
    return {
        "predicted": damage.value, "band": list(damage.ci95), "predicted_change": change and change.value,
        "change_band": change and list(change.ci95),
    }


def summary(rows: list[dict]) -> dict:
    """Coverage, ratios and errors, and the rows themselves."""
    def ratios(key: str, most: float = 1.0) -> np.ndarray:
        return np.array([row[key] / row["kl"] for row in rows if row["saved"] <= most])

    told = [row for row in rows if row["predicted_change"] is not None]
    light = [abs(row["predicted_change"] - row["change"]) for row in told if row["change"] > -5]
    return {
        "count": len(rows),
        "kl_inside_band": float(np.mean([row["band"][0] <= row["kl"] <= row["band"][1] for row in rows])),
        "band_factor": float(np.median([row["band"][1] / row["predicted"] for row in rows])),
        "median_predicted_over_measured": float(np.median(ratios("predicted"))),
        "median_predicted_over_measured_to_half_saved": float(np.median(ratios("predicted", 0.5))),
        "log_deviation": float(np.log(ratios("predicted")).std()),
        "median_summed_over_measured": float(np.median(ratios("summed"))),
        "median_summed_over_measured_to_half_saved": float(np.median(ratios("summed", 0.5))),
        "summed_log_deviation": float(np.log(ratios("summed")).std()),
        "change_told": len(told) / len(rows),
        "change_inside_band": float(np.mean([row["change_band"][0] <= row["change"] <= row["change_band"][1] for row in told])),
        "change_mean_error_where_less_than_5_points_are_lost": float(np.mean(light)),
        "schedules": rows,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=("demo_vit", "demo_swin"))
    parser.add_argument("--plain", type=int, default=150)
    parser.add_argument("--compensated", type=int, default=150)
    parser.add_argument("--images", type=int, default=1000)
    arguments = parser.parse_args()
    numbers = {False: arguments.plain, True: arguments.compensated}
    result = measured(arguments.model, numbers, arguments.images)
    RESULTS.mkdir(exist_ok=True)
    write_text(RESULTS / f"predictions_{arguments.model}.json", json.dumps(result, indent=1) + "\n")
