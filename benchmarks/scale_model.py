"""From the measured slopes to ViT-H: time, memory, storage and network on 1, 8 and 64 GPUs; and the tables of docs/scale.md.

Everything is derived from `fits` of results/scale.json, from the model's shape, and from ASSUMED, which nothing here measured.
"""

import re
from pathlib import Path

from toast_core import load_model
from toast_core.cost.macs import count_cost
from toast_core.cost.shapes import ModelShape
from toast_core.files import write_text
from toast_core.studies.redundancy.measure import accumulator_bytes
from toast_core.studies.sensitivity.memory import sweep_need

DOCUMENT = Path(__file__).parents[1] / "docs" / "scale.md"
MODEL, IMAGES, SITES, RATIOS, BATCH = "vit_huge_patch14_224", 50_000, 6, 9, 64
GPUS = (1, 8, 64)
OUTCOME_BYTES = 14  # of one cell on one image in memory: two hits, and loss, KL and margin in float32
ASSUMED = {
    "gpu_tmacs_per_s": (50, "TMAC/s of one GPU in a forward of this model (100 TFLOP/s)"),
    "gpu_float64_tmacs_per_s": (5, "TMAC/s of one GPU in float64 matrix products"),
    "link_gb_per_s": (1.25, "GB/s of a node's network link (10 Gbit/s)"),
    "cores_a_gpu": (8, "CPU cores beside each GPU, to decode with"),
    "image_kb": (110, "kB of a JPEG file"),
}


def cell_forwards(fits: dict, blocks: int, after: int, widest: bool) -> float:
    """What a cell costs in forwards of a model of so many blocks, with so many blocks after its own.

    `widest` scales the slopes by what a cell cost in the widest measured model, relative to the narrowest.
    """
    line, by_width = fits["suffix_blocks"], fits["cell_forwards"]
    narrow, wide = (by_width[str(width)] for width in (min(map(int, by_width)), max(map(int, by_width))))
    return (line["intercept"] + line["slope"] * after) / blocks * (wide / narrow if widest else 1)


def sweep_forwards(fits: dict, blocks: int, cells_a_block: int, widest: bool = True) -> float:
    """What a whole sweep costs an image, in forwards: each block's input once, and every cell."""
    return fits["prefix_forwards"] + cells_a_block * sum(cell_forwards(fits, blocks, after, widest) for after in range(blocks))


def derive(fits: dict) -> dict:
    """The whole derivation, as plain numbers: seconds, bytes, counts."""
    shape = load_model(MODEL, weights="none").toast_info.shape
    cost, blocks = count_cost(shape), len(shape.blocks)
    assumed = {name: value for name, (value, _) in ASSUMED.items()}
    forward_s = cost.macs / assumed["gpu_tmacs_per_s"] / 1e12
    link = assumed["link_gb_per_s"] * 1e9
    batches = -(-IMAGES // BATCH)
    decode_batch_s = BATCH * fits["decode_ms"] / 1000 / assumed["cores_a_gpu"]
    model_bytes = 4 * cost.params
    shared = {
        "model": MODEL, "images": IMAGES, "blocks": blocks, "cells": blocks * SITES * RATIOS, "gmacs": cost.macs / 1e9,
        "forward_ms": 1000 * forward_s, "batches": batches, "decode_batch_ms": 1000 * decode_batch_s, "model_bytes": model_bytes,
    }
    sweep = _sweep(fits, shape, forward_s, batches, decode_batch_s)
    moments = _moments(shape, forward_s, assumed["gpu_float64_tmacs_per_s"] * 1e12)
    rows = []
    for gpus in GPUS:
        busy_s = sweep["gpu_s"] / gpus
        spread_s = gpus * model_bytes / link
        collect_s = gpus * moments["bytes"] / link
        rounds = -(-batches // gpus)
        rows.append(
            {
                "gpus": gpus,
                "sweep_s": max(busy_s + sweep["longest_task_s"], sweep["driver_s"]) + spread_s,
                "sweep_driver_busy": sweep["driver_s"] / max(busy_s, sweep["driver_s"]),
                "model_spread_s": spread_s,
                "model_spread_bytes": gpus * model_bytes,
                "redundancy_gpu_s": moments["gpu_s"] / gpus,
                "redundancy_collect_s": collect_s,
                "redundancy_bytes": gpus * moments["bytes"],
                "redundancy_s": moments["gpu_s"] / gpus + collect_s + spread_s,
                "evaluation_s": rounds * (BATCH * forward_s + decode_batch_s) + spread_s,
            }
        )
    return {
        "shared": shared,
        "sweep": sweep,
        "moments": moments,
        "rows": rows,
        "ceilings": {
            "sweep_gpus": sweep["gpu_s"] / sweep["driver_s"],
            "redundancy_gpus": (moments["gpu_s"] * link / moments["bytes"]) ** 0.5,
            "evaluation_decoding_share": decode_batch_s / (decode_batch_s + BATCH * forward_s),
            "evaluation_gpus": (IMAGES * forward_s * link / model_bytes) ** 0.5,
        },
    }


def _sweep(fits: dict, shape: ModelShape, forward_s: float, batches: int, decode_batch_s: float) -> dict:
    """Sensitivity of every cell on every image, on one GPU; and what falls to the process that asks."""
    blocks, cells_a_block = len(shape.blocks), SITES * RATIOS
    forwards = sweep_forwards(fits, blocks, cells_a_block)
    longest = BATCH * forward_s * (fits["prefix_forwards"] + cells_a_block * cell_forwards(fits, blocks, blocks - 1, True))
    cells, tasks = blocks * cells_a_block, batches * blocks
    need = sweep_need(shape)
    fixed, each = need.fixed, need.each
    return {
        "forwards_an_image": forwards,
        "forwards_an_image_without_reuse": cells + 1,
        "gpu_s": IMAGES * forwards * forward_s + batches * decode_batch_s,
        "decode_share": batches * decode_batch_s / (IMAGES * forwards * forward_s),
        "tasks": tasks,
        "longest_task_s": longest + decode_batch_s,
        "lost_with_a_worker_s": longest,
        "driver_s": tasks * (fits["workers"]["task_driver_cpu_ms"] + fits["part_store_ms"]) / 1000,
        "worker_bytes": fixed + BATCH * each,
        "driver_bytes": 2 * cells * IMAGES * OUTCOME_BYTES,
        "parts_bytes": round(cells * IMAGES * fits["part_bytes_per_cell_image"]),
        "cells_bytes": round(cells * IMAGES * fits["cell_bytes_per_image"]),
        "results_bytes": cells * IMAGES * OUTCOME_BYTES,
        "read_bytes": IMAGES * ASSUMED["image_kb"][0] * 1000,
    }


def _moments(shape: ModelShape, forward_s: float, macs_per_s: float) -> dict:
    """Redundancy of every block in one pass, on one GPU; and one worker's sums."""
    gram = sum(block.tokens * (block.hidden**2 + block.width**2) for block in shape.blocks)
    return {
        "gram_gmacs_an_image": gram / 1e9,
        "gpu_s": IMAGES * (forward_s + gram / macs_per_s),
        "bytes": sum(accumulator_bytes(block) for block in shape.blocks),
    }


def check(fits: dict, measured: dict) -> dict:
    """A sweep of another model, as the slopes predict it and as it was measured."""
    predicted = sweep_forwards(fits, measured["blocks"], measured["cells_a_block"], widest=False)
    return {"predicted_forwards": predicted, "measured_forwards": measured["forwards"], "ratio": measured["forwards"] / predicted}


def tables(results: dict) -> dict[str, str]:
    """The tables of docs/scale.md by name, in Markdown."""
    fits, derived = results["fits"], results["derived"]
    workers, sweep, shared, rows = fits["workers"], derived["sweep"], derived["shared"], derived["rows"]
    runs, ceilings = results["measured"]["workers"], derived["ceilings"]
    checked, r2 = results["check"], " (R2 {:.3f})"
    suffix, width = fits["suffix_blocks"], fits["width_exponent"]
    return {
        "slopes": _table(
            ["what grows", "slope", "measured on"],
            [
                ["images", _s(fits["images"]["slope"]) + " of CPU an image" + r2.format(fits["images"]["r2"]), "18 cells of block 9"],
                ["cells", _s(fits["cells"]["slope"]) + " of CPU a cell" + r2.format(fits["cells"]["r2"]), "block 6, 16 images"],
                [
                    "blocks after the pruned one",
                    f"{suffix['slope']:.2f} blocks each, {suffix['intercept']:+.2f} beside them" + r2.format(suffix["r2"]),
                    "18 cells of every block but the last",
                ],
                ["width, a forward", f"width to the power {width['forward']['slope']:.2f}", ", ".join(fits["cell_forwards"])],
                ["width, a cell", f"width to the power {width['cell']['slope']:.2f}", "the same, block 6 of 12"],
                [
                    "a cell of block 6 of 12, in forwards",
                    ", ".join(f"{value:.2f}" for value in fits["cell_forwards"].values()), "widths " + ", ".join(fits["cell_forwards"]),
                ],
            ],
        ),
        "check": _table(
            ["sweep", "predicted", "measured", "measured / predicted"],
            [
                [
                    f"{results['measured']['check']['model']}, {results['measured']['check']['cells']} cells, in forwards of an image",
                    f"{checked['predicted_forwards']:.0f}", f"{checked['measured_forwards']:.0f}", f"{checked['ratio']:.2f}",
                ]
            ],
        ),
        "workers": _table(
            ["executor, workers", "cell-images a second", "cores that the work got", "cell-images a second of CPU, the driver's included"],
            [
                [name, f"{value:.0f}", f"{workers['cores_received'][name]:.2f}", f"{workers['cell_images_per_cpu_s'][name]:.0f}"]
                for name, value in workers["cell_images_per_s"].items()
            ],
        )
        + _in_words(workers, runs),
        "assumed": _table(["assumed, not measured", ""], [[f"{value:g}", what] for value, what in ASSUMED.values()]),
        "sweep": _table(
            ["GPUs", "sensitivity", "driver busy", "model sent"],
            [
                [str(row["gpus"]), _time(row["sweep_s"]), f"{row['sweep_driver_busy']:.1%}", _bytes(row["model_spread_bytes"])]
                for row in rows
            ],
        ),
        "sweep_needs": _table(
            ["", ""],
            [
                ["cells", f"{shared['cells']}, {shared['batches']} batches of {BATCH}, {sweep['tasks']} tasks"],
                [
                    "forwards an image",
                    f"{sweep['forwards_an_image']:.0f}; {sweep['forwards_an_image_without_reuse']} without reuse",
                ],
                ["memory of a worker", _bytes(sweep["worker_bytes"])],
                ["memory of the driver, outcomes", _bytes(sweep["driver_bytes"])],
                ["store while it runs, parts", _bytes(sweep["parts_bytes"])],
                ["store at the end, cells", _bytes(sweep["cells_bytes"])],
                ["network, results to the driver", _bytes(sweep["results_bytes"])],
                ["network, images from storage", _bytes(sweep["read_bytes"])],
                ["lost with a worker, at most", _time(sweep["lost_with_a_worker_s"]) + " of one GPU"],
                ["decoding, of a GPU's time", f"{sweep['decode_share']:.2%}"],
            ],
        ),
        "redundancy": _table(
            ["GPUs", "redundancy", "of it on GPUs", "of it collecting sums", "sums sent"],
            [
                [
                    str(row["gpus"]), _time(row["redundancy_s"]), _time(row["redundancy_gpu_s"]), _time(row["redundancy_collect_s"]),
                    _bytes(row["redundancy_bytes"]),
                ]
                for row in rows
            ],
        ),
        "evaluation": _table(
            ["GPUs", "evaluation", "of it sending the model"],
            [[str(row["gpus"]), _time(row["evaluation_s"]), _time(row["model_spread_s"])] for row in rows],
        ),
        "ceilings": _table(
            ["what breaks", "where"],
            [
                ["evaluation: sending the model takes longer than running it", _gpus(ceilings["evaluation_gpus"])],
                ["redundancy: collecting sums takes longer than taking them", _gpus(ceilings["redundancy_gpus"])],
                ["sensitivity: the driver has no time left", _gpus(ceilings["sweep_gpus"])],
                ["evaluation: a GPU's time spent waiting for its batch to be decoded", f"{ceilings['evaluation_decoding_share']:.0%}"],
            ],
        ),
    }


def _in_words(workers: dict, runs: dict) -> str:
    """What the table of workers comes to, beside what a task costs."""
    by_wall, by_cpu, cores = (workers[name] for name in ("cell_images_per_s", "cell_images_per_cpu_s", "cores_received"))
    loads = [row["load"] for row in runs["runs"]]
    return (
        f"\n\nTwo workers gave {by_wall['ray 2'] / by_wall['ray 1']:.2f} times the throughput of one, on the "
        f"{cores['ray 2']:.2f} cores that other programs left them of {runs['cores']}, and one worker {cores['ray 1']:.2f}; load averages "
        f"were {min(loads):.1f} to {max(loads):.1f}. For the same CPU time, two workers did {by_cpu['ray 2'] / by_cpu['local 1']:.0%} of "
        f"what one process does alone: that share is what two free cores would keep of twice the throughput. A task that does nothing "
        f"takes {workers['task_wall_ms']:.1f} ms there and back, {workers['cell_wall_ms']:.2f} ms for each of its "
        f"{runs['cells_a_task']} cells, and {workers['task_driver_cpu_ms']:.1f} ms of the driver's CPU."
    )


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def _s(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _time(seconds: float) -> str:
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.1f} {name}" if seconds / unit < 10 else f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86_400:.1f} days"


def _bytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _gpus(count: float) -> str:
    return f"about {count:.2g} GPUs" if count < 100 else f"about {round(count, -2 if count < 10_000 else -3):.0f} GPUs"


def placed(text: str, found: dict[str, str]) -> str:
    """The document with each table between its markers."""
    for name, table in found.items():
        marker = re.compile(rf"(<!-- scale:{name} -->\n).*?(\n<!-- end -->)", re.DOTALL)
        text, count = marker.subn(lambda match, table=table: match[1] + table + match[2], text)
        if count != 1:
            raise SystemExit(f"{DOCUMENT.name} has {count} places for the table {name}")
    return text


def write_tables(found: dict[str, str]) -> None:
    """Write the tables into docs/scale.md."""
    write_text(DOCUMENT, placed(DOCUMENT.read_text(), found))
