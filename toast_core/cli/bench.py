"""`toast bench`: throughput and latency of baseline and compact on this machine, and its latency table."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from toast_core.cli.lists import sizes_of, words_of
from toast_core.cli.opened import open_workbench
from toast_core.cli.options import Json, Wanted, takes_schedule, takes_setup
from toast_core.cli.output import Bar, print_json
from toast_core.cost.latency import LatencyTable
from toast_core.errors import ScheduleError
from toast_core.machine import DTYPES
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup

if TYPE_CHECKING:
    from torch import nn

    from toast_core.studies.latency.result import Latencies
    from toast_core.workbench import Workbench

_NOTE = "weights do not matter for speed"
_PAIRS = 100


@takes_setup("bench")
@takes_schedule
def bench(
    setup: Setup,
    wanted: Wanted,
    batch_sizes: Annotated[str, typer.Option(help="comma-separated")] = "1,8,32",
    dtype: Annotated[str, typer.Option(help="comma-separated: float32, bfloat16, float16")] = "float32",
    compiled: Annotated[bool, typer.Option("--compile", help="also time both models under torch.compile")] = False,
    pairs: Annotated[int, typer.Option(min=5, help="forwards of each model at most; p99 needs 100")] = _PAIRS,
    threads: Annotated[int | None, typer.Option(min=1, help="of the CPU; default: PyTorch's own choice")] = None,
    table: Annotated[bool, typer.Option("--table", help="measure and keep the latency table that toast tune --latency-ms uses")] = False,
    as_json: Json = False,
) -> None:
    """Time the baseline against the compact model of a schedule, in interleaved pairs on random inputs.

    With --table, each part of a block is timed at a grid of kept counts instead, at the first batch size and dtype, and kept in the
    evidence store; with a schedule as well, its latency is predicted from the table beside the measured one.
    """
    sizes, dtypes = sizes_of(batch_sizes), words_of(dtype, DTYPES, "dtype")
    import torch

    from toast_core.machine import cast

    if threads is not None:
        torch.set_num_threads(threads)
    wanted.schedule()
    workbench = open_workbench(setup)
    chosen = wanted.schedule(workbench.info.schedule)
    if chosen is None and not table:
        raise ScheduleError("toast bench needs a schedule or --table; pass --schedule FILE, --preset NAME (see toast presets) or --table")
    baseline, compact = _models(workbench, chosen)
    document: dict[str, Any] = _setting(baseline, workbench.info.weights, chosen)
    found = _measured(cast(baseline, dtypes[0]), sizes[0], setup.store) if table else None
    if found is not None:
        document["table"] = found.to_dict() | {"digest": found.digest(), "scale": found.scale}
        document["predicted_ms"] = found.predict_ms(chosen)
    rows = []
    for each in dtypes if compact is not None else ():
        for size in sizes:
            rows += [_timed(baseline, compact, size, each, how, pairs) for how in ((False, True) if compiled else (False,))]
    document["latencies"] = [row.to_dict() for row in rows]
    if as_json:
        print_json(document | {"notes": list(workbench.info.told)})
    else:
        _print(document, rows, found, chosen)


def latency_table(model: Any, batch_size: int, store: str | None) -> LatencyTable:
    """Return this machine's table of a baseline model from the store; measured first, with a progress bar, where there is none."""
    from analysis_cache.store import EvidenceStore
    from toast_core.studies.latency.store import table_for

    with EvidenceStore.open(store) as evidence, Bar("latency table") as advance:
        return table_for(evidence, model, batch_size, advance)


def measured_latency(workbench: "Workbench", schedule: Schedule, table: LatencyTable | None) -> dict:
    """Time the compact model of a schedule against its baseline at the table's batch size; nothing where no table was used."""
    if table is None:
        return {}
    baseline, compact = _models(workbench, schedule)
    row = _timed(baseline, compact, table.batch_size, table.dtype, False, _PAIRS)
    return {"latency": {"predicted_ms": table.predict_ms(schedule), "table_baseline_ms": table.baseline_ms, **row.to_dict()}}


def print_latency(report: dict) -> None:
    """Print what `measured_latency` gave, if anything."""
    if found := report.get("latency"):
        (baseline, *_), (compact, *_) = found["baseline_ms"], found["compact_ms"]
        speedup, low, high = found["speedup"]
        print(
            f"latency of {found['batch_size']} images: {compact:.2f} ms measured ({found['predicted_ms']:.2f} predicted), baseline "
            f"{baseline:.2f} ms; {speedup:.2f} times as fast (quartiles {low:.2f} to {high:.2f} of {found['pairs']} pairs)"
        )


def _models(workbench: "Workbench", schedule: Schedule | None) -> "tuple[nn.Module, nn.Module | None]":
    """The baseline and, with a schedule, its compact form; where a pruned file was given, that file's model and a random baseline."""
    from toast_core.loading import load_model
    from toast_core.pruning.execution.apply import apply_plan

    model, info = workbench.model, workbench.info
    if info.execution != "baseline":
        device = next(model.parameters()).device
        return load_model(info.name, "random", info.shape.num_classes, info.shape.image_size, device), model
    if schedule is None:
        return model, None
    return model, apply_plan(model, workbench.plan_for_timing(schedule), "compact")


def _measured(model: Any, batch_size: int, store: str | None) -> LatencyTable:
    """Measure the table anew, with a progress bar, and keep it."""
    from analysis_cache.store import EvidenceStore
    from toast_core.studies.latency.store import put_table

    with EvidenceStore.open(store) as evidence, Bar("latency table") as advance:
        return put_table(evidence, model, batch_size, advance)


def _timed(baseline: Any, compact: Any, size: int, dtype: str, compiled: bool, pairs: int) -> "Latencies":
    from toast_core.data.noise import random_images
    from toast_core.studies.latency.pairs import time_models

    with Bar(f"batch {size}, {dtype}{', compiled' if compiled else ''}") as advance:
        return time_models(baseline, compact, random_images(baseline, size), dtype, compiled, pairs, lambda done: advance(done, pairs))


def _setting(baseline: Any, weights: str, schedule: Schedule | None) -> dict[str, Any]:
    """What the figures hold for."""
    from importlib.metadata import version

    import torch

    from toast_core.cost.macs import count_cost
    from toast_core.machine import processor_name

    info, device = baseline.toast_info, next(baseline.parameters()).device
    return {
        "model": info.name,
        "weights": f"{weights}; {_NOTE}",
        "inputs": "random, seed 0",
        "schedule_digest": schedule.digest() if schedule else None,
        "selection": schedule.selection if schedule else None,
        "macs": {"baseline": count_cost(info.shape).macs, **({"compact": count_cost(info.shape, schedule).macs} if schedule else {})},
        "device": str(device),
        "processor": processor_name(device),
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("torch", "timm")},
    }


def _print(document: dict, rows: list["Latencies"], table: LatencyTable | None, schedule: Schedule | None) -> None:
    where = f"{document['processor']}, {document['threads']} threads, torch {document['versions']['torch']}"
    print(f"{document['model']} ({document['weights']}) on {where}")
    if table is not None:
        print(
            f"latency table at batch {table.batch_size}, {table.dtype}: kept, {table.rounds} rounds; baseline {table.baseline_ms:.2f} ms "
            f"measured, {table.baseline_ms / table.scale:.2f} ms as the sum of its parts"
        )
        if schedule is not None:
            print(f"predicted for the schedule: {document['predicted_ms']:.2f} ms")
    for row in rows:
        print(_line(row))
    if rows:
        print(f"MAC ratio {document['macs']['baseline'] / document['macs']['compact']:.2f}")


def _line(row: "Latencies") -> str:
    timing, (p50, p90, p99) = row.timing, row.compact_percentiles_ms
    speedup, low, high = timing.speedup
    tail = f"p90 {p90:.2f}" + (f", p99 {p99:.2f}" if p99 is not None else "")
    return (
        f"batch {timing.batch_size}, {row.dtype}, {'compiled' if row.compiled else 'eager'}: {row.baseline_percentiles_ms[0]:.2f} -> "
        f"{p50:.2f} ms ({tail}), {timing.throughput(timing.compact_ms)[0]:.0f} images/s, {speedup:.2f} times as fast "
        f"(quartiles {low:.2f} to {high:.2f} of {timing.pairs} pairs)"
    )
