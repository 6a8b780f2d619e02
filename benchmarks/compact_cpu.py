"""Does the MAC ratio become time on a CPU? timm's fused model, our calibrated compact one and the reference's compact execution, in turns.

    OMP_NUM_THREADS=1 python -m benchmarks.compact_cpu [--presets P ...] [--batch-size 4] [--rounds 15] [--threads 1] [--multiple-of 1]

Weights and images are random (they do not matter for speed). Every round runs all models of a preset on the same batch, every other
round backwards; a figure is the median of the rounds' ratios, in process CPU time (on one thread the latency of an idle machine) and in
wall time. The reference's execution (reference_execution.py) exists for ViTs. Writes benchmarks/results/compact_cpu.json after each
preset; rows of the same preset, batch size, threads and multiple_of are replaced.
"""

import argparse
import json
import os
import platform
import statistics
import time
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn

from benchmarks.reference_execution import reference_model
from toast_core import apply_plan, collect_statistics, count_macs, load_model, make_plan
from toast_core.data.noise import random_images
from toast_core.files import write_text
from toast_core.machine import processor_name
from toast_core.schedule.presets import get_preset

RESULTS = Path(__file__).parent / "results" / "compact_cpu.json"
PRESETS = (
    "deit_small_patch16_224@2.5", "deit_tiny_patch16_224@0.8", "swin_tiny_patch4_window7_224@3.1", "swin_small_patch4_window7_224@5.4",
    "deit_base_patch16_224@10.4", "swin_base_patch4_window7_224@8.8",
)
CLOCKS = ("cpu", "wall")
WARM_UP = 2
KEY = ("preset", "batch_size", "threads", "multiple_of")


def seconds(model: nn.Module, images: torch.Tensor) -> tuple[float, float]:
    """Return CPU and wall seconds of one forward."""
    cpu, wall = time.process_time(), time.perf_counter()
    with torch.inference_mode():
        model(images)
    return time.process_time() - cpu, time.perf_counter() - wall


def in_rounds(models: dict[str, nn.Module], images: torch.Tensor, rounds: int) -> list[dict[str, tuple[float, float]]]:
    """Time every model once a round, every other round backwards, after rounds that only warm up."""
    found = []
    for number in range(WARM_UP + rounds):
        order = list(models) if number % 2 == 0 else list(models)[::-1]
        found.append({name: seconds(models[name], images) for name in order})
    return found[WARM_UP:]


def ratio(found: list[dict], slow: str, fast: str, clock: int) -> dict:
    """How many times faster one model is than another: the median of the rounds, with quartiles."""
    ratios = [one[slow][clock] / one[fast][clock] for one in found]
    first, median, third = statistics.quantiles(ratios, n=4)
    return {"median": median, "quartiles": [first, third]}


def measure(preset: str, batch_size: int, rounds: int, multiple_of: int) -> dict:
    """One preset's row."""
    chosen = get_preset(preset)
    model = load_model(chosen.model, weights="random")
    images = random_images(model, batch_size)
    schedule = replace(chosen.schedule, selection="calibrated", multiple_of=multiple_of)
    compact = apply_plan(model, make_plan(model, schedule, collect_statistics(model, [images])), "compact")
    models = {"baseline": model, "compact": compact}
    if model.toast_info.shape.family == "vit":
        models["reference"] = reference_model(model, chosen.schedule)
    found, mac_ratio = in_rounds(models, images, rounds), count_macs(model) / count_macs(compact)
    figures = {}
    for clock, name in enumerate(CLOCKS):
        speedup = ratio(found, "baseline", "compact", clock)
        figures[name] = {
            "median_s": {one: statistics.median(row[one][clock] for row in found) for one in models},
            "speedup": speedup, "fraction_of_mac_ratio": speedup["median"] / mac_ratio,
        }
        if "reference" in models:
            figures[name] |= {
                "over_reference": ratio(found, "reference", "compact", clock),
                "reference_speedup": ratio(found, "baseline", "reference", clock),
            }
    return {
        "preset": preset, "selection": "calibrated", "multiple_of": multiple_of, "weights": "random", "batch_size": batch_size,
        "rounds": rounds, "threads": torch.get_num_threads(), "dtype": "float32", "mac_ratio": mac_ratio, **figures,
        "date": datetime.now(UTC).isoformat(timespec="seconds"), "load_average": os.getloadavg()[0],
    }


def main(presets: list[str], batch_size: int, rounds: int, multiple_of: int) -> None:
    """Measure presets one after the other; each row is written as it comes."""
    facts = {
        "processor": processor_name(torch.device("cpu")), "machine": platform.machine(), "cores": os.cpu_count(),
        "torch": version("torch"), "timm": version("timm"),
    }
    for preset in presets:
        row = measure(preset, batch_size, rounds, multiple_of)
        known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        kept = [one for one in known.get("rows", []) if any(one[name] != row[name] for name in KEY)]
        if kept and {name: known[name] for name in facts} != facts:
            raise SystemExit(f"{RESULTS.name} has rows of another machine or version; move it away first")
        RESULTS.parent.mkdir(exist_ok=True)
        write_text(RESULTS, json.dumps(facts | {"rows": [*kept, row]}, indent=1) + "\n")
        cpu = row["cpu"]
        over = f", {cpu['over_reference']['median']:.2f}x the reference" if "over_reference" in cpu else ""
        print(
            f"{preset} multiple_of {multiple_of}: {cpu['speedup']['median']:.2f}x of {row['mac_ratio']:.2f} "
            f"({cpu['fraction_of_mac_ratio']:.0%}){over}", flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=PRESETS)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--multiple-of", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    main(given.presets, given.batch_size, given.rounds, given.multiple_of)
