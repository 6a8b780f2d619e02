"""What a sweep costs, and how the cost grows: with images, cells, the blocks after the pruned one, width and workers.

    OMP_NUM_THREADS=1 python benchmarks/scale.py [--only local,ray,...]   # measures, prints the slopes, writes results/scale.json
    python benchmarks/scale.py --write                                    # writes the tables of docs/scale.md from that file

Weights and images are random: only the cost counts. CPU time of the process, so that other programs on the machine weigh little;
with workers also the wall clock, which they do weigh on. scale_model.py derives other sizes from the slopes.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scale_model import check, derive, tables, write_tables

from analysis_cache.key import METRIC_VERSIONS, CellIdentity
from analysis_cache.store import EvidenceStore
from toast_core import load_data, load_model
from toast_core.cost.macs import count_cost
from toast_core.data.load import Batch
from toast_core.data.numbered import NumberedBatches
from toast_core.executors import LOCAL, open_executor
from toast_core.files import write_text
from toast_core.studies.redundancy.moments import Moments
from toast_core.studies.sensitivity.cells import SITE_GROUPS, Cell, CellOutcomes
from toast_core.studies.sensitivity.measure import Sweep
from toast_core.studies.sensitivity.parts import PartKeys, StoreParts
from toast_core.studies.sensitivity.sweep import SweepWork
from toast_core.studies.tasks.registry import TASKS

RESULTS = Path(__file__).parent / "results" / "scale.json"
FAMILY = {192: "deit_tiny_patch16_224", 384: "deit_small_patch16_224", 768: "deit_base_patch16_224"}
SIZE, BATCH = 112, 16
SITES, RATIOS = tuple(SITE_GROUPS), (0.3, 0.6, 0.9)
REPEATS = 3


def model_of(width: int) -> torch.nn.Module:
    return load_model(FAMILY[width], weights="random", img_size=SIZE)


def batch_of(images: int) -> Batch:
    x = torch.randn(images, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    return Batch(x, torch.zeros(images, dtype=torch.long), np.arange(images))


def cpu_s(run: Callable[[], object], repeats: int = REPEATS) -> float:
    """The least CPU time of a few runs, after one that is not counted: what shares the caches only ever adds to it."""
    return beside(run, lambda: None, repeats)[0]


def beside(run: Callable[[], object], other: Callable[[], object], repeats: int = REPEATS) -> tuple[float, float, float]:
    """The least CPU time of two runs in alternation, and the median of their ratio, on which a drift of the machine falls on both."""
    seen = []
    for number in range(repeats + 1):
        times = []
        for each in (run, other):
            start = time.process_time()
            each()
            times.append(time.process_time() - start)
        if number:
            seen.append(times)
    ratios = [one / max(two, 1e-9) for one, two in seen]
    return min(one for one, _ in seen), min(two for _, two in seen), statistics.median(ratios)


def line(x: list[float], y: list[float]) -> dict[str, float]:
    """Least squares: intercept, slope, R2."""
    slope, intercept = np.polyfit(x, y, 1)
    left = np.asarray(y) - (intercept + slope * np.asarray(x))
    return {"intercept": float(intercept), "slope": float(slope), "r2": float(1 - left.var() / np.var(y))}


def cells_of(block: int, ratios: tuple[float, ...] = RATIOS, sites: tuple[str, ...] = SITES) -> list[Cell]:
    return [Cell(block, site, ratio) for site in sites for ratio in ratios]


def forwards(model: torch.nn.Module, batch: Batch, count: int) -> Callable[[], None]:
    """A run of so many forwards."""

    def run() -> None:
        with torch.inference_mode():
            for _ in range(count):
                model(batch.images)

    return run


def held(sweep: Sweep, batch: Batch, cells: list[Cell]) -> Callable[[], object]:
    """A run of cells alone, the batch's block inputs being held."""
    sweep.measure(batch, [])
    return lambda: sweep.measure(batch, cells)


def measure_local() -> dict:
    """Images, cells and the suffix on the narrowest model."""
    model = model_of(192)
    sweep, depth = Sweep(model), 12
    whole = batch_of(BATCH)
    images = [8, 16, 24, 32, 48]
    by_images = [cpu_s(lambda count=count: sweep.measure(batch_of(count), cells_of(9))) for count in images]
    counts = [1, 2, 4, 6, 9]
    by_cells = [
        cpu_s(held(sweep, whole, cells_of(6, tuple(round(0.1 * step, 1) for step in range(1, 1 + count))))) for count in counts
    ]
    last, *by_suffix = [
        beside(held(sweep, whole, cells_of(depth - 1 - after)), forwards(model, whole, 4)) for after in range(depth)
    ]
    prefix = beside(lambda: sweep.measure(batch_of(BATCH), []), forwards(model, whole, 1))
    return {
        "images": {"x": images, "cpu_s": by_images, "cells": len(cells_of(9))},
        "cells": {"x": [len(SITES) * count for count in counts], "cpu_s": by_cells, "images": BATCH},
        # the last block runs for the class token alone and is cheaper, so it is left out of the line
        "suffix": {
            "x": list(range(1, depth)), "forwards": [ratio * 4 for *_, ratio in by_suffix], "cpu_s": [cpu for cpu, *_ in by_suffix],
            "last_block_forwards": 4 * last[2], "cells": len(cells_of(0)), "images": BATCH, "blocks": depth, "prefix_forwards": prefix[2],
        },
    }


def measure_width() -> dict:
    """A cell in the middle of models of three widths, beside a whole forward."""
    rows = []
    for width in FAMILY:
        model, batch = model_of(width), batch_of(4)
        cells = cells_of(6)
        cpu, forward, ratio = beside(held(Sweep(model), batch, cells), forwards(model, batch, 4))
        rows.append(
            {
                "width": width, "macs": count_cost(model.toast_info.shape).macs, "forward_cpu_s": forward / 4 / len(batch.index),
                "cell_cpu_s": cpu / len(batch.index) / len(cells), "cell_forwards": ratio * 4 / len(cells),
            }
        )
    return {"rows": rows, "block": 6, "blocks": 12}


@dataclass
class Timed:
    """Work that also says what it took its worker; `empty` does nothing but return outcomes of the same size."""

    work: SweepWork
    empty: bool = False

    def __call__(self, task: tuple[int, tuple[Cell, ...]]) -> tuple[float, object]:
        start = time.process_time()
        if self.empty:
            zero = np.zeros(BATCH, np.float32)
            return 0.0, {cell: CellOutcomes(zero > 0, zero > 0, zero, zero, zero) for cell in task[1]}
        result = self.work(task)
        return time.process_time() - start, result.cells

    def move(self, device: str) -> None:
        self.work.move(device)


def measure_workers(batches: int = 6) -> dict:
    """The same tasks in this process, on one worker and on two, in alternation; and tasks that do nothing."""
    torch.set_num_threads(1)
    model = load_model("demo_vit")
    data = load_data("fashion-mnist", model, batches * BATCH)
    tasks = [(number, tuple(cells_of(block))) for number in range(batches) for block in range(12)]
    rows: list[dict] = []

    def run(executor: object, workers: int, name: str) -> None:
        work = Timed(SweepWork(Sweep(model), NumberedBatches(data, BATCH, executor.in_order)))
        list(executor.map(work, tasks[:24], group=lambda task: task[0]))  # starts the workers, and makes the cells' plans
        wall, cpu, inside = time.perf_counter(), time.process_time(), 0.0
        for _, (spent, _) in executor.map(work, tasks, group=lambda task: task[0]):
            inside += spent
        rows.append(
            {
                "executor": name, "workers": workers, "wall_s": time.perf_counter() - wall, "work_cpu_s": inside,
                "driver_cpu_s": time.process_time() - cpu - (inside if executor.in_order else 0), "load": os.getloadavg()[0],
            }
        )
        print(json.dumps(rows[-1]), flush=True)

    empty = {}
    for _ in range(2):
        run(LOCAL, 1, "local")
        for workers in (1, 2):
            with open_executor("ray", "cpu", workers) as executor:
                run(executor, workers, "ray")
                if workers == 1:
                    work = Timed(SweepWork(Sweep(model), NumberedBatches(data, BATCH, False)), empty=True)
                    list(executor.map(work, tasks[:24], group=lambda task: task[0]))
                    wall, cpu = time.perf_counter(), time.process_time()
                    count = sum(1 for _ in executor.map(work, 4 * tasks, group=lambda task: task[0]))
                    empty = {
                        "tasks": count, "wall_ms_a_task": 1000 * (time.perf_counter() - wall) / count,
                        "driver_cpu_ms_a_task": 1000 * (time.process_time() - cpu) / count,
                    }
    return {
        "model": "demo_vit", "cells": sum(len(cells) for _, cells in tasks), "images_a_cell": BATCH, "tasks": len(tasks),
        "cells_a_task": len(cells_of(0)), "cores": os.cpu_count(), "runs": rows, "empty": empty,
    }


def measure_driver() -> dict:
    """What the process that asks does itself: decoding, storing, and adding up moments."""
    rng = np.random.default_rng(0)
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "images" / "one").mkdir(parents=True)
        smooth = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        for number in range(64):
            picture = Image.fromarray(np.roll(smooth, number, 0)).resize((500, 375), Image.Resampling.BICUBIC)
            picture.save(root / "images" / "one" / f"{number}.jpg", quality=90)
        model = load_model(FAMILY[192], weights="random", num_classes=1)
        data = load_data(root / "images", model)
        found["decode"] = {"images": 64, "pixels": [500, 375], "to": 224, "cpu_s": cpu_s(lambda: list(data.batches(16)))}
        parts, cells, images = 40, 54, 64
        identity = CellIdentity(
            "sensitivity", METRIC_VERSIONS["sensitivity"], "m", "0" * 64, "0" * 64, parts * images, "0" * 64, "t", None, None, "shuffled",
            images, 0, "float32", "cpu",
        )
        with EvidenceStore.open(root / "parts.db") as store:
            keeper = StoreParts(store, PartKeys(identity, "none", {}), TASKS["classification"])
            grid = [Cell(0, f"site{number}", 0.5) for number in range(cells)]
            start = time.process_time()
            for number in range(parts):
                values = rng.random((cells, 3, images)).astype(np.float32)
                hits = values[:, 0] < 0.5
                keeper.save(number, 0, {c: CellOutcomes(h, h, *v) for c, h, v in zip(grid, hits, values, strict=True)})
            spent = time.process_time() - start
        size = sum(path.stat().st_size for path in root.glob("parts.db*"))
        found["parts"] = {"parts": parts, "cells": cells, "images": images, "cpu_ms_a_part": 1000 * spent / parts, "bytes": size}
        whole = 10_000
        with EvidenceStore.open(root / "cells.db") as store:
            for number in range(10):
                values = rng.random((2, whole)).astype(np.float16)
                arrays = {"correct": values[0] < 0.5, "top5": values[0] < 0.9, "loss": values[0], "margin": values[1]}
                store.put(CellIdentity(**{**vars(identity), "images": whole, "details": {"block": number}}), {"top1": 50.0}, arrays)
        size = sum(path.stat().st_size for path in root.glob("cells.db*"))
        found["cells"] = {"cells": 10, "images": whole, "bytes": size}
    channels, tokens = 1024, 2048
    moments, x = Moments.zeros(channels), torch.randn(tokens, channels, generator=torch.Generator().manual_seed(0))
    found["moments"] = {"channels": channels, "tokens": tokens, "cpu_s": cpu_s(lambda: moments.add(x))}
    return found


def measure_check() -> dict:
    """A whole grid of another model, to hold the slopes against."""
    model, ratios = load_model("demo_vit"), tuple(step / 10 for step in range(1, 10))
    batch = next(load_data("fashion-mnist", model, BATCH).batches(BATCH))
    sweep, cells = Sweep(model), [cell for block in range(12) for cell in cells_of(block, ratios)]
    cpu, forward, ratio = beside(lambda: sweep.measure(Batch(batch.images, batch.labels, batch.index), cells), forwards(model, batch, 100))
    return {
        "model": "demo_vit", "blocks": 12, "cells": len(cells), "cells_a_block": len(cells) // 12, "images": BATCH,
        "cpu_s": cpu / BATCH, "forward_cpu_s": forward / 100 / BATCH, "forwards": ratio * 100,
    }


MEASURES = {
    "local": measure_local, "width": measure_width, "workers": measure_workers, "driver": measure_driver, "check": measure_check,
}


def fit(measured: dict) -> dict:
    """The slopes, in the units that other models share: blocks and forwards."""
    local, width, workers, driver = (measured[name] for name in ("local", "width", "workers", "driver"))
    suffix = local["suffix"]
    each = [value / suffix["cells"] * suffix["blocks"] for value in suffix["forwards"]]
    rows = width["rows"]
    by_way = {
        name: {
            key: statistics.median(row[key] for row in workers["runs"] if f"{row['executor']} {row['workers']}" == name)
            for key in ("wall_s", "work_cpu_s", "driver_cpu_s")
        }
        for name in ("local 1", "ray 1", "ray 2")
    }
    cell_images = workers["cells"] * workers["images_a_cell"]
    cells, parts = driver["cells"], driver["parts"]
    return {
        "images": line(local["images"]["x"], local["images"]["cpu_s"]),
        "cells": line(local["cells"]["x"], local["cells"]["cpu_s"]),
        "suffix_blocks": line(suffix["x"], each),
        "prefix_forwards": suffix["prefix_forwards"],
        "width_exponent": {
            name: line([float(np.log(row["width"])) for row in rows], [float(np.log(row[f"{name}_cpu_s"])) for row in rows])
            for name in ("forward", "cell")
        },
        "gmacs_per_cpu_s": {str(row["width"]): row["macs"] / row["forward_cpu_s"] / 1e9 for row in rows},
        "cell_forwards": {str(row["width"]): row["cell_forwards"] for row in rows},
        "workers": {
            "cell_images_per_s": {name: cell_images / way["wall_s"] for name, way in by_way.items()},
            "cores_received": {name: way["work_cpu_s"] / way["wall_s"] for name, way in by_way.items()},
            "cell_images_per_cpu_s": {
                name: cell_images / (way["work_cpu_s"] + way["driver_cpu_s"]) for name, way in by_way.items()
            },
            "task_wall_ms": workers["empty"]["wall_ms_a_task"],
            "task_driver_cpu_ms": workers["empty"]["driver_cpu_ms_a_task"],
            "cell_wall_ms": workers["empty"]["wall_ms_a_task"] / workers["cells_a_task"],
        },
        "decode_ms": 1000 * driver["decode"]["cpu_s"] / driver["decode"]["images"],
        "part_store_ms": parts["cpu_ms_a_part"],
        "part_bytes_per_cell_image": parts["bytes"] / parts["parts"] / parts["cells"] / parts["images"],
        "cell_bytes_per_image": cells["bytes"] / cells["cells"] / cells["images"],
        "moments_gmacs_per_cpu_s": driver["moments"]["tokens"] * driver["moments"]["channels"] ** 2 / driver["moments"]["cpu_s"] / 1e9,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(MEASURES), help=f"what to measure anew, of {', '.join(MEASURES)}; '': only fit")
    parser.add_argument("--write", action="store_true", help="write the tables of docs/scale.md from the results, measuring nothing")
    arguments = parser.parse_args()
    if arguments.write:
        write_tables(tables(json.loads(RESULTS.read_text())))
        return
    torch.set_num_threads(1)
    measured = json.loads(RESULTS.read_text())["measured"] if RESULTS.exists() else {}
    for name in filter(None, arguments.only.split(",")):
        measured[name] = MEASURES[name]()
        print(name, json.dumps(measured[name]), flush=True)
        write_text(RESULTS, json.dumps({"measured": measured}, indent=1) + "\n")  # minutes of work
    fits = fit(measured)
    print(json.dumps(fits, indent=1))
    where = {"machine": platform.machine(), "cores": os.cpu_count(), "torch": torch.__version__, "threads": 1, "weights": "random"}
    results = {"where": where, "measured": measured, "fits": fits, "check": check(fits, measured["check"]), "derived": derive(fits)}
    write_text(RESULTS, json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
