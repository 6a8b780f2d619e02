"""Peak memory of compensating a ViT-H: 32 blocks, width 1280, hidden 5120, random weights.

    python benchmarks/huge_memory.py [--images 4] [--fitting error_correcting]

Half of qk, vo and fc2 of every block is dropped, folded and projected, and the compact model made, in a process of its own. Memory does
not depend on how many images there are beyond one batch: sums are updated batch by batch. Writes benchmarks/results/huge_memory.json.
"""

import argparse
import json
import resource
import time
from importlib.metadata import version
from pathlib import Path

import torch

from toast_core import load_model
from toast_core.compensation.plan import plan_on
from toast_core.cost.macs import count_cost
from toast_core.data.noise import random_images
from toast_core.files import write_text
from toast_core.models.info import get_info
from toast_core.pruning.execution.apply import apply_plan
from toast_core.schedule.compensation import Compensation
from toast_core.schedule.schedule import Schedule

MODEL = "vit_huge_patch14_224"
RESULTS = Path(__file__).parent / "results"


def peak_gb() -> float:
    """The most resident memory that this process has had, in GB of 10^9 bytes."""
    return round(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9, 2)


def main(images: int, fitting: str) -> dict:
    """Compensate and report."""
    model = load_model(MODEL, "random")
    loaded = peak_gb()
    shape = get_info(model).shape
    schedule = Schedule.uniform(
        len(shape.blocks), qk=0.5, vo=0.5, fc2=0.5, selection="calibrated", compensation=Compensation("fold", "project", fitting)
    )
    since = time.process_time()
    batches = [random_images(model, 1, seed) for seed in range(images)]
    plan = plan_on(model, schedule, batches)
    planned = peak_gb()
    compact = apply_plan(model, plan, "compact")
    with torch.inference_mode():
        finite = bool(compact(batches[0]).isfinite().all())
    return {
        "model": MODEL, "weights": "random", "images": images, "batch_size": 1, "fitting": fitting, "outputs_finite": finite,
        "macs_saved": round(1 - count_cost(shape, schedule).macs / count_cost(shape).macs, 3),
        "peak_gb": {"model": loaded, "planned": planned, "compact": peak_gb()}, "cpu_s": round(time.process_time() - since),
        "threads": torch.get_num_threads(), "torch": version("torch"),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--fitting", default="error_correcting", choices=["one_shot", "sequential", "error_correcting"])
    arguments = parser.parse_args()
    result = main(arguments.images, arguments.fitting)
    print(json.dumps(result, indent=1))
    write_text(RESULTS / "huge_memory.json", json.dumps(result, indent=1) + "\n")
