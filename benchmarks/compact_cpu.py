"""Does the MAC ratio become time? timm's own model against our calibrated compact one, paired in one process on the CPU.

    python benchmarks/compact_cpu.py [--preset deit_small_patch16_224@2.5] [--batch-size 8] [--pairs 15] [--threads N]

Weights are random (they do not matter for speed). Each pair runs both models on the same input, in alternating order; the figure
is the median of the pairs' ratios, in process CPU time and in wall time. Writes benchmarks/results/compact_cpu.json.
"""

import argparse
import json
import platform
import statistics
import time
from dataclasses import replace
from pathlib import Path

import torch

from toast_core import apply_plan, collect_statistics, count_macs, load_model, make_plan
from toast_core.schedule.presets import get_preset

RESULTS = Path(__file__).parent / "results"


def seconds(model: torch.nn.Module, images: torch.Tensor) -> tuple[float, float]:
    """Return CPU and wall seconds of one forward."""
    cpu, wall = time.process_time(), time.perf_counter()
    with torch.inference_mode():
        model(images)
    return time.process_time() - cpu, time.perf_counter() - wall


def paired(first: torch.nn.Module, second: torch.nn.Module, images: torch.Tensor, pairs: int) -> list[tuple[tuple, tuple]]:
    """Time both models in alternating order after a warm-up of three each."""
    for _ in range(3):
        seconds(first, images)
        seconds(second, images)
    rows = []
    for index in range(pairs):
        order = (first, second) if index % 2 == 0 else (second, first)
        measured = {id(model): seconds(model, images) for model in order}
        rows.append((measured[id(first)], measured[id(second)]))
    return rows


def main(preset: str, batch_size: int, pairs: int, multiple_of: int) -> dict:
    chosen = get_preset(preset)
    schedule = replace(chosen.schedule, selection="calibrated", multiple_of=multiple_of)
    model = load_model(chosen.model, weights="random")
    size = model.toast_info.shape.image_size
    images = torch.randn(batch_size, 3, size, size, generator=torch.Generator().manual_seed(0))
    statistics_of = collect_statistics(model, [images])
    compact = apply_plan(model, make_plan(model, schedule, statistics_of), "compact")
    rows = paired(model, compact, images, pairs)
    mac_ratio = count_macs(model) / count_macs(compact)
    figures = {}
    for position, clock in enumerate(("cpu", "wall")):
        ratios = [base[position] / new[position] for base, new in rows]
        figures[clock] = {
            "baseline_s": statistics.median(base[position] for base, _ in rows),
            "compact_s": statistics.median(new[position] for _, new in rows),
            "speedup": statistics.median(ratios),
            "speedup_range": [min(ratios), max(ratios)],
            "fraction_of_mac_ratio": statistics.median(ratios) / mac_ratio,
        }
    return {
        "preset": preset,
        "selection": "calibrated",
        "multiple_of": multiple_of,
        "weights": "random",
        "batch_size": batch_size,
        "pairs": pairs,
        "threads": torch.get_num_threads(),
        "dtype": "float32",
        "device": "cpu",
        "machine": platform.machine(),
        "torch": torch.__version__,
        "mac_ratio": mac_ratio,
        **figures,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="deit_small_patch16_224@2.5")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--multiple-of", type=int, default=1)
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    result = main(arguments.preset, arguments.batch_size, arguments.pairs, arguments.multiple_of)
    print(json.dumps(result, indent=1))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "compact_cpu.json").write_text(json.dumps(result, indent=1) + "\n")
