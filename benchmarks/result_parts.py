"""Accuracy, speed, sweeps, exports and waiting, from what their benchmarks wrote, as Markdown; documents.py puts it in place."""

from collections.abc import Mapping, Sequence
from statistics import median

Row = Mapping[str, object]


def accuracy_part(results: Mapping) -> str:
    """The table of the demo models' accuracy, as Markdown; `results` is what benchmarks/demo_accuracy.py wrote."""
    models = list(dict.fromkeys(row["model"] for row in results["rows"]))
    lines = [f"| schedule | {' | '.join(f'`{model}` top-1 (95 %) | GMACs' for model in models)} |", f"|{'---|' * (2 * len(models) + 1)}"]
    for label in dict.fromkeys(row["schedule"] for row in results["rows"]):
        rows = [next(row for row in results["rows"] if (row["schedule"], row["model"]) == (label, model)) for model in models]
        lines.append(f"| {label} | {' | '.join(_accuracy(row) for row in rows)} |")
    return "\n".join(lines)


def _accuracy(row: Row) -> str:
    low, high = row["top1"]["ci95"]
    return f"{row['top1']['value']:.2f} % ({low:.1f} to {high:.1f}) | {row['macs'] / 1e9:.4f}"


def sweep_part(results: Mapping) -> str:
    """What prefix reuse saves of a sweep, and how far its losses are from those of whole forwards, in one sentence."""
    return (
        f"{results['cells']} cells of `{results['model']}` ({results['weights']} weights) on {results['images']} images: "
        f"{results['ratio_median']:.1f} times less CPU time, the median over batches; losses differ by "
        f"{results['largest_loss_difference']:.1e} at most."
    )


def adaptive_part(results: Sequence[tuple[str, Mapping]]) -> str:
    """What adaptive sweeps save, and how often the intervals of measured and of predicted cells cover, model by model."""
    lines = [
        "| model | plain, CPU s | exact | adaptive by images | adaptive, predicting | not measured | covering: measured | "
        "with own images | alone | wrong a sweep, of all cells |",
        f"|{'---|' * 10}",
    ]
    for model, found in results:
        seconds, played = found["cpu_s"], found["played_back"]["predicting"]
        kinds = [played.get(kind) for kind in ("measured", "predicted_beside_own_images", "predicted_alone")]
        shares = " | ".join(f"{kind['covering_share']:.1%}" if kind else "none" for kind in kinds)
        times = " | ".join(
            f"{seconds[way]:.0f} ({seconds['plain_scaled'] / seconds[way]:.1f}x)"
            for way in ("exact_scaled", "adaptive_by_images", "adaptive_predicting")
        )
        alone = played.get("predicted_alone", {"cells": 0.0})["cells"]
        wrong = sum(kind["wrong_decisions"] for kind in kinds if kind)
        lines.append(
            f"| `{model}` | {seconds['plain_scaled']:.0f} | {times} | {alone:.0f} of {found['cells']} | {shares} | {wrong:.2f} |"
        )
    first = results[0][1]
    lines += ["", (
        f"{first['cells']} cells on {first['images']:,} images, {first['threads']} thread. Coverage and decisions: sweeps of "
        f"{first['played_back_on']:,} images played back in {first['played_back']['predicting']['orders']} orders, against what all of "
        "these say; the stated rate is 95 %."
    )]
    return "\n".join(lines)


def latency_part(results: Mapping) -> str:
    """How far latencies read off a table are from measured ones, and what rounding kept counts does, model by model."""
    where = f"{results['threads']} thread, {results['dtype']}, batch {results['batch_size']}, {results['processor']}, random weights"
    lines = [
        f"On {where}:", "",
        "| model | schedules | error, median | error, largest | within 10 % | fastest `multiple_of` at each ratio dropped |",
        f"|{'---|' * 6}",
    ]
    for model, found in results["models"].items():
        errors = [abs(one["error"]) for one in found["interpolation"]["schedules"]]
        within = sum(error <= 0.1 for error in errors)
        lines.append(
            f"| `{model}` | {len(errors)} | {median(errors):.1%} | {max(errors):.1%} | {within} of {len(errors)} | "
            f"{_roundings(found['multiple_of'])} |"
        )
    return "\n".join(lines)


def _roundings(rows: Sequence[Row]) -> str:
    told = []
    for ratio in dict.fromkeys(row["ratio"] for row in rows):
        best = min((row for row in rows if row["ratio"] == ratio), key=lambda row: row["ms"])
        told.append(f"{ratio:g}: {best['multiple_of']} ({best['against_multiple_of_1']:.2f}x of 1)")
    return ", ".join(told)


def speed_part(results: Mapping) -> str:
    """What the published schedules are worth on a CPU, preset by preset."""
    lines = [
        f"{results['processor']}, torch {results['torch']}, timm {results['timm']}, float32, random weights, calibrated selection; process "
        "CPU time, medians of rounds in turns (quartiles):",
        "",
        "| preset | kept in multiples of | batch, threads | MAC ratio | times as fast as timm's fused baseline | share of the MAC ratio | "
        "times as fast as the reference's compact execution |",
        f"|{'---|' * 7}",
    ]
    for row in results["rows"]:
        cpu = row["cpu"]
        reference = _ratio(cpu["over_reference"]) if "over_reference" in cpu else "ViTs only"
        lines.append(
            f"| `{row['preset']}` | {row['multiple_of']} | {row['batch_size']}, {row['threads']} | {row['mac_ratio']:.2f} | "
            f"{_ratio(cpu['speedup'])} | {cpu['fraction_of_mac_ratio']:.0%} | {reference} |"
        )
    loads = [row["load_average"] for row in results["rows"]]
    load = f"its load was {min(loads):.1f} to {max(loads):.1f} while these were taken"
    return "\n".join([*lines, "", f"The machine ({results['cores']} cores) was shared: {load}."])


def _ratio(found: Mapping) -> str:
    low, high = found["quartiles"]
    return f"{found['median']:.2f} ({low:.2f} to {high:.2f})"


def export_part(results: Mapping) -> str:
    """How far exports are from the compact models, over all of them, and what int8 does to the demos' accuracy, size and speed."""
    rows = results["rows"]
    far = {form: max(row[form]["relative_difference"] for row in rows.values()) for form in ("torch_export", "onnx")}
    images = min(row["images"] for row in rows.values())
    lines = [
        f"Largest difference of a logit, relative to the largest one, over {len(rows)} models on {images} images: torch.export "
        f"{far['torch_export']:.1e}, ONNX {far['onnx']:.1e}.", "",
        "| compensated, MACs saved | top-1, float32 | int8, dynamic ranges | int8, static ranges | file | times as fast as float32 |",
        f"|{'---|' * 6}",
        *(_int8_line(model, row) for model, row in rows.items() if "int8" in row),
    ]
    return "\n".join([*lines, "", f"ONNX Runtime on {results['threads']} thread, {results['processor']}, batches of 32; all test images."])


def _int8_line(model: str, row: Mapping) -> str:
    int8 = row["int8"]
    top1 = [f"{int8['top1'][name]:.2f} %" for name in ("onnx", "int8_dynamic", "int8_static")]
    size = f"{row['onnx']['bytes'] / 1e6:.1f} to {int8['bytes']['dynamic'] / 1e6:.1f} MB"
    faster = ", ".join(f"{int8['against_onnx'][name]['speedup']:.2f} ({name})" for name in ("dynamic", "static"))
    saved = 1 - row["macs"] / row["baseline_macs"]
    return f"| `{model}`, {saved:.0%} | {' | '.join(top1)} | {size} | {faster} |"


def desk_part(desk: Mapping, strain: Mapping) -> str:
    """What a person at the dashboard waits for, beside what was wanted, and what the dashboard went through without losing anything."""
    def seconds(found: Mapping) -> str:
        return f"{found['median'] / 1000:.2f} s"

    warm, cold, last, middle = (
        desk["pages_ms"]["overview"]["title"], desk["cold_overview_ms"]["title"], desk["release_ms"]["block 11"],
        desk["release_ms"]["block 6"],
    )
    drag = desk["drag_32_blocks_ms"]["nine-point curves"]["readout"]
    rows = [
        (f"first paint of the Overview, server warm (a bare Streamlit page: {seconds(desk['bare_streamlit_ms'])})", seconds(warm), "2 s"),
        ("first paint of the Overview, server just started", seconds(cold), "5 s"),
        ("drag to totals beside the bar, 32 blocks x 4 sites, predicting (95th percentile)",
         f"{drag['median']:.1f} ms ({drag['p95']:.1f} ms)", "16 ms"),
        ("release to the totals as the server counts them", f"{seconds(last['totals'])}, {seconds(middle['totals'])}", "0.15 s"),
        ("release to a first measured accuracy", f"{seconds(last['first'])}, {seconds(middle['first'])}", "0.5 s"),
        ("release to the accuracy of 1,000 images", f"{seconds(last['final'])}, {seconds(middle['final'])}", "1 s"),
    ]
    killed, memory, cells, sessions = strain["killed"], strain["memory_mb"], strain["cells"], strain["five_sessions"]
    lines = [
        "| what | median | wanted |", "|---|---|---|", *(f"| {what} | {found} | {wanted} |" for what, found, wanted in rows), "",
        f"After a release: an edit of block 11, then of block 6, of 12. Browser, pages and engine share {desk['cores']} cores (load "
        f"average {desk['load_average_before'][0]} before, {desk['load_average_after'][0]} after).", "",
        f"{strain['reload']['reloads']} reloads, 5 sessions for {sessions['seconds']:.0f} s ({sessions['visits']} visits, "
        f"{sessions['edits']} edits), engine and job killed {killed['kills']} times in a sweep: {cells['lost']} of {cells['cells']} cells "
        f"lost, {cells['different']} different, {len(strain['dead'])} dead pages, {len(strain['exceptions'])} exceptions; the page "
        f"server's memory went from {memory['start']['page_server']:.0f} to {memory['end']['page_server']:.0f} MB.",
    ]
    return "\n".join(lines)
