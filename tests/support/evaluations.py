"""Evaluations as the store has them, made up: the baseline, and a draft that loses a third of class 3. For the tests of comparing."""

import random
from pathlib import Path

import numpy as np

from analysis_cache.analysis import Analysis
from analysis_cache.key import METRIC_VERSIONS, CellIdentity, digest_of_subset
from analysis_cache.staleness import digest_of_weights
from analysis_cache.store import EvidenceStore
from dashboard.engine.client import shipped_shape
from dashboard.evidence.prediction import read_curves
from tests.support import curves as made_up
from toast_core.intervals import wilson_percent
from toast_core.schedule.schedule import Schedule
from toast_core.studies.evaluation.result import Estimate

VIT = shipped_shape("demo_vit")
BASE = Schedule.uniform(12, selection="calibrated")
DRAFT = BASE.with_ratio(3, "fc2", 0.5)
IMAGES = 600
CURVES = read_curves(made_up.rows(), "calibrated")


def arrays(correct: np.ndarray, labels: np.ndarray, start: int = 0) -> dict[str, np.ndarray]:
    """Per-image outcomes on the images from `start`; a wrong one is taken for the next class."""
    predicted = np.where(correct, labels, (labels + 1) % 10)
    index = np.arange(start, start + len(labels))
    return {"index": index, "label": labels, "predicted": predicted, "margin": np.where(correct, 1.0, -np.arange(len(labels)) / 100)}


LABELS = np.arange(IMAGES) % 10
WAS = np.arange(IMAGES) % 20 != 7  # 5 % wrong, all of class 7
LESS = WAS & ~((LABELS == 3) & (np.arange(IMAGES) % 30 < 10))  # a third of class 3 is lost


def schedules(count: int, seed: int = 1) -> list[Schedule]:
    """Schedules with two to nine mild sites."""
    draw, found = random.Random(seed), []
    for _ in range(count):
        schedule = BASE
        for _ in range(draw.randint(2, 9)):
            schedule = schedule.with_ratio(draw.randrange(12), draw.choice(["qk", "vo", "fc2"]), draw.choice([0.3, 0.5, 0.7]))
        found.append(schedule)
    return found


def put_evaluation(store: EvidenceStore, schedule: Schedule, correct: np.ndarray, images: int = IMAGES) -> None:
    """Store an evaluation as the job does, on the images that the stand-in engine measures on."""
    weights = Path(made_up.toast_core.__file__).parent / made_up.WEIGHTS
    digest, _ = digest_of_weights(weights, weights.stat().st_mtime_ns)
    outcomes = arrays(correct[:images], LABELS[:images])
    identity = CellIdentity(
        "evaluation", METRIC_VERSIONS["evaluation"], "demo_vit", digest, "b" * 64, images, digest_of_subset(outcomes["index"]), "made up",
        schedule.digest(), None if schedule.is_baseline else schedule.selection, "shuffled", 64, 0, "float32", "cpu",
        {"execution": "baseline" if schedule.is_baseline else "masked"},
    )
    request = {**identity.to_dict(), "metric": "evaluation", "schedule": schedule.to_dict(), "weights_file": made_up.WEIGHTS}
    store.put_analysis(Analysis(request, "evaluation", (identity.key,), made_up.TIME, made_up.TIME))
    hits = int(correct[:images].sum())
    top1 = Estimate(100 * hits / images, wilson_percent(hits, images)).to_dict()
    store.put(identity, {"images": images, "top1": top1}, outcomes)
