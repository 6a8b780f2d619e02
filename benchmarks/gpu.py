"""What the published schedules are worth on an accelerator: speed, the card's share of its own peak, the sweep's cost, accuracy.

    python -m benchmarks.gpu [--device cuda] [--out benchmarks/results/gpu.json]      # hours, unattended; goes on where it stopped
    python -m benchmarks.gpu --device cpu --small                                    # tiny sizes, to see that it runs

Needs PyTorch 2.9 or newer, timm, this package, and one NVIDIA GPU. Each row is written when it is measured, and a row that is there is
not measured again. What does not fit into memory, or does not run, is a row that says so.

- speed: timm's own model against our calibrated compact one in interleaved pairs, eager against eager and compiled against compiled.
  Weights and images are random: they do not matter for speed. Kept counts as published (multiple_of 1) and rounded up to 8.
- peak: the fastest of a few large square matrix products in the same dtype, on the same card.
- sweep: cells a second of the fc1, fc2 and fc1+fc2 grid with prefix reuse on a few random images; hours for 50,000 images follow from
  it, are not measured, and are labelled so.
- accuracy: both demo models, half of their MACs gone, compensated, nothing trained; every test image. The fit runs on the CPU.
"""

import argparse
import gc
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.training_free import BATCH_SIZE, pruned_by, uniform_at
from toast_core import apply_plan, collect_statistics, count_macs, load_data, load_model, make_plan
from toast_core.data.load import Batch
from toast_core.data.noise import random_images
from toast_core.errors import DeviceError, ToastError
from toast_core.files import write_text
from toast_core.intervals import paired_interval
from toast_core.machine import cast, dtype_named, pick_device, processor_name
from toast_core.schedule.compensation import FULL
from toast_core.schedule.presets import presets
from toast_core.studies.evaluation.measure import evaluate
from toast_core.studies.latency.pairs import forward_seconds, time_models
from toast_core.studies.sensitivity.cells import DEFAULT_RATIOS, grid
from toast_core.studies.sensitivity.measure import Sweep

RESULTS = Path(__file__).parent / "results"
SITES = ("fc1", "fc2", "fc1+fc2")
EXTRAPOLATED_IMAGES = 50_000
REDUCTION = 0.5
PEAK_REPEATS = 20


@dataclass(frozen=True)
class Scale:
    """How much is measured. `image_size` None is each model's own."""

    presets: tuple[str, ...]
    batch_sizes: tuple[int, ...]
    pairs: int
    image_size: int | None
    matrix_sizes: tuple[int, ...]
    sweep_models: tuple[str, ...]
    sweep_images: int
    sweep_ratios: tuple[float, ...]
    test_images: int
    fit_images: int
    dtypes: tuple[str, ...] = ("bfloat16", "float32")
    multiples: tuple[int, ...] = (8, 1)
    demos: tuple[str, ...] = ("demo_vit", "demo_swin")


def strongest_first() -> tuple[str, ...]:
    """All published schedules: the one of fewest MACs of each architecture, then the others."""
    names = sorted(presets(), key=lambda name: presets()[name].reported.gmacs)
    first = list({presets()[name].model: name for name in reversed(names)}.values())[::-1]
    return (*first, *(name for name in names if name not in first))


WHOLE = Scale(
    strongest_first(), (128, 256, 32, 1), 100, None, (4096, 8192, 16384),
    ("deit_small_patch16_224", "vit_large_patch16_224.mae", "vit_huge_patch14_224.mae"), 64, DEFAULT_RATIOS, 10_000, 512,
)
SMALL = Scale(
    ("deit_tiny_patch16_224@0.76", "swin_tiny_patch4_window7_224@3.1"), (1, 2), 5, 32, (64,), ("deit_tiny_patch16_224",), 2, (0.5, 0.9),
    20, 20,
)


class Report:
    """Measured rows, written as they come.

    Raises:
        SystemExit: the file's rows come from another machine, version or scale.
    """

    def __init__(self, path: Path, facts: dict) -> None:
        self.path, self.facts, self.rows = path, facts, []
        if path.exists():
            known = json.loads(path.read_text())
            differing = sorted(name for name, value in facts.items() if known.get(name) != value)
            if differing:
                raise SystemExit(f"{path} was measured with another {', '.join(differing)}; choose another --out, or move it away")
            self.rows = known["rows"]

    def row(self, measure: Callable[[], dict], **labels: object) -> dict:
        """Return the row with these labels, measured unless it is there; what cannot run is a row with the reason."""
        for known in self.rows:
            if all(known.get(name) == value for name, value in labels.items()):
                return known
        start = time.perf_counter()
        try:
            found = measure()
        except (ToastError, torch.OutOfMemoryError) as error:
            out_of_memory = "out of memory" in str(error)
            found = {"outcome": "out of memory" if out_of_memory else "cannot run", "reason": str(error).splitlines()[0][:300]}
        row = {**labels, "outcome": "measured", **found}
        row |= {"date": datetime.now(UTC).isoformat(timespec="seconds"), "took_s": round(time.perf_counter() - start, 1)}
        self.rows.append(row)
        print(json.dumps(row), flush=True)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_text(self.path, json.dumps(self.facts | {"rows": self.rows}, indent=1) + "\n")
        free()
        return row


def free() -> None:
    """Give back what the last row held, so that it does not crowd out the next one."""
    gc.collect()
    torch.compiler.reset()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def peak(dtype: str, sizes: tuple[int, ...], device: torch.device) -> dict:
    """Floating-point operations a second of the fastest square product: the median of its repeats."""
    found = {}
    for size in sizes:
        left = torch.randn(size, size, generator=torch.Generator().manual_seed(0)).to(device, dtype_named(dtype))
        seconds = [forward_seconds(left.matmul, left) for _ in range(PEAK_REPEATS + 3)][3:]
        found[size] = 2 * size**3 / statistics.median(seconds)
    best = max(found, key=found.get)
    return {"matrix_size": best, "flops": found[best]}


def models_of(preset: str, multiple_of: int, image_size: int | None, device: torch.device) -> tuple[nn.Module, nn.Module]:
    """The baseline and the calibrated compact model of a published schedule, on the device, with random weights."""
    chosen = presets()[preset]
    model = load_model(chosen.model, weights="random", img_size=image_size).to(device)
    schedule = replace(chosen.schedule, selection="calibrated", multiple_of=multiple_of)
    statistics_of = collect_statistics(model, [random_images(model, 2)])
    return model, apply_plan(model, make_plan(model, schedule, statistics_of), "compact")


def speed(
    models: Callable[[], tuple[nn.Module, nn.Module]], batch_size: int, dtype: str, compiled: bool, pairs: int, peak_flops: float
) -> dict:
    """One pair of models on the clock, and what of the MAC ratio and of the card's peak that is."""
    baseline, compact = models()
    timed = time_models(baseline, compact, random_images(baseline, batch_size), dtype, compiled, pairs)
    macs = {"baseline": count_macs(baseline), "compact": count_macs(compact)}
    ratio, speedup = macs["baseline"] / macs["compact"], timed.timing.speedup[0]
    rates = {"baseline": timed.timing.throughput(timed.timing.baseline_ms), "compact": timed.timing.throughput(timed.timing.compact_ms)}
    return timed.to_dict() | {
        "weights": "random", "macs": macs, "mac_ratio": ratio, "speedup_median": speedup, "fraction_of_mac_ratio": speedup / ratio,
        "fraction_of_peak": {name: 2 * macs[name] * rates[name][0] / peak_flops for name in macs},
    }


def sweep(name: str, dtype: str, images: int, ratios: tuple[float, ...], image_size: int | None, device: torch.device) -> dict:
    """Cells a second with prefix reuse on one batch, after a batch that only warms up."""
    model = cast(load_model(name, weights="random", img_size=image_size).to(device), dtype)
    pixels = random_images(model, images)
    batch = Batch(pixels, torch.zeros(images, dtype=torch.long), np.arange(images))
    measured = Sweep(model, collect_statistics(model, [pixels[:2].to(device, dtype_named(dtype))]), selection="calibrated")
    cells = grid(len(measured.suffix.blocks), SITES, ratios)
    measured.measure(batch, cells[: len(SITES) * len(ratios)])
    start = time.perf_counter()
    measured.measure(batch, cells)  # ends with outcomes on the CPU: nothing is still running
    seconds = time.perf_counter() - start
    return {
        "weights": "random", "cells": len(cells), "images": images, "images_at_once": measured.limit.most or images, "seconds": seconds,
        "cells_per_s": len(cells) / seconds,
        "extrapolated": {
            "images": EXTRAPOLATED_IMAGES, "hours": seconds / images * EXTRAPOLATED_IMAGES / 3600,
            "how": "seconds an image times images; not measured, and decoding is not in it",
        },
    }


def accuracy(name: str, test_images: int, fit_images: int, device: torch.device) -> dict:
    """Top-1 of a demo model and of its compact form at half the MACs: fitted on the CPU, evaluated on the device."""
    model = load_model(name)
    schedule = uniform_at(model.toast_info.shape, REDUCTION, "calibrated", FULL, seed=0)
    compact = pruned_by(model, schedule, fit_images).to(device)
    test = load_data("fashion-mnist", model, test_images)
    before, after = (evaluate(one, test, BATCH_SIZE) for one in (model.to(device), compact))
    correct = [one.outcomes.correct for one in (before, after)]
    return {
        "test_images": len(test), "calibration_images": fit_images, "saved": 1 - after.macs / before.macs,
        "baseline_top1": before.outcomes.top1_estimate.to_dict(), "compact_top1": after.outcomes.top1_estimate.to_dict(),
        "points_to_baseline": 100 * float(correct[1].mean() - correct[0].mean()),
        "points_to_baseline_ci95": list(paired_interval(*correct)), "schedule": schedule.to_dict(),
    }


def settings(scale: Scale) -> Iterator[tuple[str, str, int, bool, int]]:
    """Preset, dtype, batch size, compiled, multiple_of: what is asked of a card first comes first."""
    for preset in scale.presets:
        for multiple_of in scale.multiples:
            for dtype in scale.dtypes:
                for compiled in (True, False):
                    yield from ((preset, dtype, size, compiled, multiple_of) for size in scale.batch_sizes)


def measure(report: Report, scale: Scale, device: torch.device) -> None:
    """Every row that the report lacks."""
    peaks = {dtype: report.row(lambda d=dtype: peak(d, scale.matrix_sizes, device), part="peak", dtype=dtype) for dtype in scale.dtypes}
    for demo in scale.demos:
        report.row(lambda d=demo: accuracy(d, scale.test_images, scale.fit_images, device), part="accuracy", model=demo)
    for name in scale.sweep_models:
        for dtype in scale.dtypes:
            report.row(
                lambda n=name, d=dtype: sweep(n, d, scale.sweep_images, scale.sweep_ratios, scale.image_size, device),
                part="sweep", model=name, dtype=dtype,
            )
    for preset, dtype, batch_size, compiled, multiple_of in settings(scale):
        if "flops" not in peaks[dtype]:
            continue  # its row says why
        labels = {"preset": preset, "dtype": dtype, "batch_size": batch_size, "compiled": compiled, "multiple_of": multiple_of}
        report.row(
            lambda p=preset, m=multiple_of, b=batch_size, d=dtype, c=compiled: speed(
                lambda: models_of(p, m, scale.image_size, device), b, d, c, scale.pairs, peaks[d]["flops"]
            ),
            part="speed", **labels,
        )


def main(device_name: str, small: bool, out: Path) -> Report:
    """Measure what is not there yet; returns all rows.

    Raises:
        DeviceError: no such device.
    """
    device = pick_device(device_name)
    facts = {
        "processor": processor_name(device), "machine": platform.machine(), "cores": os.cpu_count(), "threads": torch.get_num_threads(),
        "python": platform.python_version(), "torch": version("torch"), "timm": version("timm"), "cuda": torch.version.cuda,
        "float32_matmul_precision": torch.get_float32_matmul_precision(), "scale": "small" if small else "whole",
    }
    report = Report(out, facts)
    measure(report, SMALL if small else WHOLE, device)
    return report


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny sizes: shows that it runs, measures nothing of use")
    parser.add_argument("--out", type=Path, help="where the rows go (default benchmarks/results/gpu.json, gpu_small.json with --small)")
    given = parser.parse_args()
    try:
        main(given.device, given.small, given.out or RESULTS / ("gpu_small.json" if given.small else "gpu.json"))
    except DeviceError as error:
        raise SystemExit(f"gpu.py: {error}") from error
