"""Is a schedule's latency what the table of block shapes says, and does `multiple_of` pay?

    python benchmarks/latency_table.py [--models deit_small_patch16_224,...] [--batch-size 1] [--schedules 20] [--clock cpu|wall]

The compact models of random schedules, the baseline and the parts of the table take turns in the same rounds, so that what is compared
is the interpolation and not two moments of a shared machine. Then one schedule of uniform ratios is timed with kept counts rounded up
to multiples of 1, 4, 8 and 16, in turns as well. Weights are random (they do not matter for speed). `--clock cpu` counts the process's
CPU time, which on one thread is the latency of an idle machine. Writes benchmarks/results/latency_table.json.
"""

import argparse
import json
import random
import statistics
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch

from toast_core import apply_plan, collect_statistics, count_macs, load_model, make_plan
from toast_core.data.noise import random_images
from toast_core.files import write_text
from toast_core.machine import processor_name
from toast_core.schedule.schedule import BlockSchedule, Schedule
from toast_core.schedule.sites import SITES
from toast_core.studies.latency.measure import BASELINE, in_turns, table_of, table_trials

RESULTS = Path(__file__).parent / "results"
CLOCKS = {"cpu": time.process_time, "wall": time.perf_counter}
MULTIPLES = (1, 4, 8, 16)
UNIFORM = (0.15, 0.3, 0.45, 0.6)


def random_schedule(blocks: int, rng: random.Random) -> Schedule:
    """Each site of each block untouched with a chance of a third, else dropped by 0 to 0.9; half of them with qk and vo alike."""
    alike = rng.random() < 0.5

    def entry() -> BlockSchedule:
        ratios = {site: round(rng.uniform(0, 0.9), 3) if rng.random() > 1 / 3 else 0.0 for site in SITES}
        return BlockSchedule(**(ratios | {"vo": ratios["qk"]} if alike else ratios))

    return Schedule(tuple(entry() for _ in range(blocks)), selection="calibrated")


def interpolation(model: torch.nn.Module, images: torch.Tensor, count: int, clock: str, rounds: int) -> dict:
    """Predicted against measured latency of random schedules."""
    collected, rng = collect_statistics(model, [images]), random.Random(0)
    schedules = [random_schedule(len(model.toast_info.shape.blocks), rng) for _ in range(count)]
    compacts = {f"schedule {number}": apply_plan(model, make_plan(model, one, collected)) for number, one in enumerate(schedules)}
    trials = table_trials(model, images) | {name: (compact, images) for name, compact in compacts.items()}
    start = time.perf_counter()
    ms, done = in_turns(trials, rounds, CLOCKS[clock])
    took = time.perf_counter() - start
    table = table_of(model, len(images), ms, done)
    rows = []
    for (name, compact), schedule in zip(compacts.items(), schedules, strict=True):
        predicted = table.predict_ms(schedule)
        rows.append({
            "digest": schedule.digest()[:12], "qk_equals_vo": schedule.ratios("qk") == schedule.ratios("vo"),
            "macs_ratio": count_macs(compact) / count_macs(model), "measured_ms": ms[name], "predicted_ms": predicted,
            "error": predicted / ms[name] - 1,
        })
    errors = [abs(row["error"]) for row in rows]
    return {
        "rounds": done, "parts": len(trials) - count - 1, "seconds": round(took, 1), "baseline_ms": ms[BASELINE],
        "scale": table.scale, "median_error": statistics.median(errors), "max_error": max(errors), "schedules": rows,
    }


def rounding(model: torch.nn.Module, images: torch.Tensor, clock: str, rounds: int) -> list[dict]:
    """What rounding kept counts up costs and gives, at uniform ratios of qk, vo and fc2."""
    collected, rows, trials, macs = collect_statistics(model, [images]), [], {BASELINE: (model, images)}, {}
    for ratio in UNIFORM:
        plain = Schedule.uniform(len(model.toast_info.shape.blocks), qk=ratio, vo=ratio, fc2=ratio, selection="calibrated")
        for multiple_of in MULTIPLES:
            compact = apply_plan(model, make_plan(model, replace(plain, multiple_of=multiple_of), collected))
            trials[f"{ratio} {multiple_of}"], macs[ratio, multiple_of] = (compact, images), count_macs(compact) / count_macs(model)
    ms, _ = in_turns(trials, rounds, CLOCKS[clock])
    for ratio in UNIFORM:
        for multiple_of in MULTIPLES:
            own = ms[f"{ratio} {multiple_of}"]
            rows.append({
                "ratio": ratio, "multiple_of": multiple_of, "macs_ratio": macs[ratio, multiple_of], "ms": own,
                "speedup": ms[BASELINE] / own, "against_multiple_of_1": ms[f"{ratio} 1"] / own,
            })
    return rows


def main(models: list[str], batch_size: int, schedules: int, clock: str, rounds: int) -> dict:
    found = {}
    for name in models:
        model = load_model(name, weights="random")
        images = random_images(model, batch_size)
        found[name] = {
            "interpolation": interpolation(model, images, schedules, clock, rounds), "multiple_of": rounding(model, images, clock, rounds),
        }
        errors = found[name]["interpolation"]
        print(f"{name}: error {errors['median_error']:.1%} in the median, {errors['max_error']:.1%} at most", flush=True)
    return {
        "weights": "random", "batch_size": batch_size, "dtype": "float32", "device": "cpu", "threads": torch.get_num_threads(),
        "clock": clock, "processor": processor_name(torch.device("cpu")), "torch": version("torch"), "models": found,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="deit_tiny_patch16_224,deit_small_patch16_224,swin_tiny_patch4_window7_224")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--schedules", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    result = main(arguments.models.split(","), arguments.batch_size, arguments.schedules, arguments.clock, arguments.rounds)
    RESULTS.mkdir(exist_ok=True)
    write_text(RESULTS / "latency_table.json", json.dumps(result, indent=1) + "\n")
