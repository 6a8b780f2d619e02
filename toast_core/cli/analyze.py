"""`toast analyze` and `toast report`: measurements that go into the evidence store, and figures that come out of it."""

import sys
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toast_core.cli import parts as cli
from toast_core.errors import ScheduleError
from toast_core.schedule.schedule import SELECTIONS
from toast_core.studies.composition.result import CompositionRow
from toast_core.studies.composition.verdict import judge

if TYPE_CHECKING:
    from analysis_cache.analysis import Analysis

METRICS = ("redundancy", "sensitivity", "composition")
Store = Annotated[str | None, typer.Option(help="evidence store: a file or a database URL; default: the user's own")]


def analyze(
    data: Annotated[str, typer.Option(help="fashion-mnist, fashion-mnist:calibration, or an image folder")],
    model: cli.Model = None,
    weights: cli.Weights = None,
    num_classes: cli.NumClasses = None,
    img_size: cli.ImgSize = None,
    metrics: Annotated[str, typer.Option(help=f"comma-separated: {', '.join(METRICS)}")] = "redundancy,sensitivity",
    sites: Annotated[str, typer.Option(help="of sensitivity, comma-separated")] = "qk,vo,qk+vo,fc1,fc2,fc1+fc2",
    ratios: Annotated[str, typer.Option(help="of sensitivity, comma-separated")] = "0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9",
    images: Annotated[int | None, typer.Option(help="class-balanced subset; default: all")] = None,
    mode: Annotated[str, typer.Option(help="exact: all images; adaptive: stop a cell once it is decided")] = "exact",
    width: Annotated[float, typer.Option(help="adaptive: half width of the interval that is narrow enough, in points")] = 2.0,
    tolerance: Annotated[float, typer.Option(help="adaptive: a cell is decided once it clearly loses more points than this or less")] = 2.0,
    schedule: cli.ScheduleFile = None,
    preset: cli.PresetName = None,
    selection: Annotated[
        str | None, typer.Option(help=f"{', '.join(SELECTIONS)}; default: per_image in sensitivity, the schedule's in composition")
    ] = None,
    calibration: cli.Calibration = None,
    calibration_images: cli.CalibrationImages = 512,
    batch_size: cli.BatchSize = 64,
    memory_gb: Annotated[float, typer.Option(help="memory budget of the process, in 1e9 bytes")] = 8.0,
    seed: cli.Seed = None,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16")] = "float32",
    device: cli.Device = "auto",
    executor: cli.ExecutorName = "local",
    workers: cli.Workers = None,
    store: Store = None,
    as_json: cli.Json = False,
) -> None:
    """Measure a baseline model's redundancy and sensitivity, or a schedule's dependence on the batch (composition).

    Every finished cell is kept, and a killed run goes on where it stopped. Composition evaluates --schedule or --preset in class
    order and shuffled, in batches of 1, 8, 64 and 256.
    """
    asked = _words(metrics, METRICS, "metric")
    chosen = cli.schedule_of(schedule, preset, selection)
    if ("composition" in asked) != (chosen is not None):
        raise ScheduleError(
            "--schedule and --preset are used by the composition metric alone; add composition to --metrics, or leave them out"
            if chosen
            else "the composition metric needs a schedule; pass --schedule FILE or --preset NAME (see toast presets)"
        )
    if seed is None:
        seed = chosen.seed if chosen else 0
    cells_of = (_words(sites, None, "site"), _ratios(ratios))
    from toast_core.executors import open_executor

    found: dict[str, tuple[Analysis, list[dict]]] = {}
    with ExitStack() as opened:
        runner = opened.enter_context(open_executor(executor, device, workers))
        from analysis_cache.store import EvidenceStore
        from toast_core.data.load import load_data
        from toast_core.loading import load_model
        from toast_core.machine import cast
        from toast_core.models.info import get_info
        from toast_core.studies.composition.store import analyze_composition
        from toast_core.studies.redundancy.store import analyze_redundancy
        from toast_core.studies.sensitivity.cells import grid
        from toast_core.studies.sensitivity.store import SweepRequest, analyze_sensitivity
        from toast_core.studies.sensitivity.sweep import Rule
        from toast_core.studies.subject import Subject

        rule = Rule(mode, width, tolerance)
        loaded = cast(load_model(model, weights, num_classes, img_size, cli.own_device(runner), seed), dtype)
        image_set = load_data(data, loaded, images, "shuffled", seed, labelled=asked != ("redundancy",))
        evidence = opened.enter_context(EvidenceStore.open(store))
        about = partial(Subject.of, loaded, image_set, batch_size, executor=runner)
        calibrated = partial(cli.calibrate, loaded, calibration, calibration_images, seed, batch_size, executor=runner)
        if "redundancy" in asked:
            with cli.progress("redundancy") as advance:
                found["redundancy"] = analyze_redundancy(about("redundancy"), evidence, memory_gb, advance, runner)
        if "sensitivity" in asked:
            cells = grid(len(get_info(loaded).shape.blocks), *cells_of)
            settings = {"selection": selection or "per_image", "seed": seed}
            needs = any(cell.schedule(len(get_info(loaded).shape.blocks), **settings).needs_calibration for cell in cells)
            statistics = calibrated(class_weight=2.0) if needs else None
            with cli.progress("sensitivity") as advance:
                sweep = SweepRequest(cells, rule, statistics, settings)
                found["sensitivity"] = analyze_sensitivity(about("sensitivity"), evidence, sweep, advance, memory_gb, runner)
        if chosen is not None:
            deployed = replace(chosen, seed=seed)
            statistics = calibrated(class_weight=deployed.class_weight) if deployed.needs_calibration else None
            with cli.progress("composition") as advance:
                found["composition"] = analyze_composition(about("composition"), evidence, deployed, statistics, advance, runner)
    if as_json:
        ids = {metric: analysis.short_id for metric, (analysis, _) in found.items()}
        documents = {metric: _composition_document(rows) if metric == "composition" else rows for metric, (_, rows) in found.items()}
        cli.print_json({"id": next(iter(ids.values())), "ids": ids, **documents})
        return
    tables = {"redundancy": _redundancy_table, "sensitivity": _sensitivity_table, "composition": _composition_table}
    for metric, (analysis, rows) in found.items():
        if metric == "composition":
            print(_composition_document(rows)["sentence"])
        cli.print_table(f"{analysis.label}, analysis {analysis.short_id}", *tables[metric](rows))


def _redundancy_table(rows: list[dict]) -> tuple[list[str], list[list[str]]]:
    columns = ["block", "site", "sparsity", "dead", "R2 held out at 0.5", "effective rank / C"]
    return columns, [
        [
            str(row["block"]),
            row["site"],
            f"{row['sparsity']['0.01rms']:.3f}",
            f"{row['dead']['0.01rms']:.3f}",
            f"{row['r2']['0.5']['held_out']:.3f}",
            f"{row['effective_rank']['singular_values']['relative']:.3f}",
        ]
        for row in rows
    ]


def _sensitivity_table(rows: list[dict]) -> tuple[list[str], list[list[str]]]:
    columns = ["block", "site", "ratio", "top-1 %", "difference", "95 %", "KL", "images"]
    return columns, [
        [
            str(row["block"]),
            row["site"],
            f"{row['ratio']:g}",
            f"{row['top1']:.2f}",
            f"{row['top1_delta']:+.2f}",
            f"{row['ci95'][0]:+.2f} to {row['ci95'][1]:+.2f}",
            f"{row['kl']:.4f}",
            str(row["images"]),
        ]
        for row in rows
    ]


def _composition_document(rows: list[dict]) -> dict:
    verdict = judge([CompositionRow.from_dict(row) for row in rows])
    return {"sentence": verdict.sentence, "safe": verdict.safe, "rows": rows}


def _composition_table(rows: list[dict]) -> tuple[list[str], list[list[str]]]:
    overlaps = [site for site in ("fc1", "fc2") if any(row[f"jaccard_{site}"] is not None for row in rows)]
    columns = ["order", "batch", "shuffle", "sample", "top-1 % (95 %)", "difference (95 %)", "agree %"]
    return [*columns, *(f"{site} overlap" for site in overlaps)], [
        [
            "deployment" if row["deployment"] else row["order"],
            str(row["batch_size"]),
            str(row["seed"]) if row["order"] == "shuffled" else "",
            str(row["token_seed"]),
            f"{row['top1']:.2f} ({row['ci95'][0]:.2f} to {row['ci95'][1]:.2f})",
            f"{row['top1_delta']:+.2f} ({row['delta_ci95'][0]:+.2f} to {row['delta_ci95'][1]:+.2f})",
            f"{row['agreement']:.2f}",
            *(f"{row[f'jaccard_{site}']:.3f}" for site in overlaps),
        ]
        for row in rows
    ]


def report(
    analysis: Annotated[list[str], typer.Argument(help="ids (or their beginnings) of analyses, see toast cache ls")],
    output: Annotated[Path, typer.Option("--output", "-o", help="folder for the figures")] = Path("report"),
    store: Store = None,
    as_json: cli.Json = False,
) -> None:
    """Write the figures of stored analyses as HTML, and as PNG and SVG where Kaleido and a Chromium are there."""
    from analysis_cache.commands import find_rows
    from dashboard.charts.report import write_report

    rows_by_kind: dict[str, list[dict]] = {}
    for prefix in analysis:
        found, rows = find_rows(prefix, store)
        rows_by_kind.setdefault(found.request["metric"], []).extend(rows)
    files, messages = write_report(rows_by_kind, output, "ToaSt analysis")
    for message in messages:
        print(f"toast: {message}", file=sys.stderr)
    if as_json:
        cli.print_json({"files": [str(file) for file in files], "messages": messages})
    else:
        for file in files:
            print(file)


def _words(text: str, choices: tuple[str, ...] | None, what: str) -> tuple[str, ...]:
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not words or (choices and not set(words) <= set(choices)):
        raise ScheduleError(f"unknown {what} in {text!r}; choose from {', '.join(choices or ())}")
    return words


def _ratios(text: str) -> tuple[float, ...]:
    try:
        return tuple(dict.fromkeys(float(word) for word in text.split(",") if word.strip()))
    except ValueError:
        raise ScheduleError(f"ratios {text!r} are not numbers; write for example 0.3,0.5,0.7") from None
