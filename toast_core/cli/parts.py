"""What the commands share: the application, their options, loading what was asked for, progress and printing.

torch is imported inside the functions, after the command line is parsed.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from toast_core.errors import ScheduleError
from toast_core.schedule.presets import get_preset
from toast_core.schedule.schedule import SELECTIONS, Schedule

app = typer.Typer(
    name="toast",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Compress Vision Transformers block by block (ToaSt): count, evaluate, prune, and tune in a dashboard.",
)

Model = Annotated[str | None, typer.Option(help="timm model name, demo_vit or demo_swin; not needed with a file from toast apply")]
Weights = Annotated[str | None, typer.Option(help=".safetensors file, or 'random'; default: embedded for a demo, else timm's pretrained")]
NumClasses = Annotated[int | None, typer.Option(help="classes of the classifier; default: the weights' or the model's own")]
ImgSize = Annotated[int | None, typer.Option(help="input size in pixels; default: the model's own")]
ScheduleFile = Annotated[Path | None, typer.Option("--schedule", help="schedule JSON (ours or the reference implementation's entry)")]
PresetName = Annotated[str | None, typer.Option("--preset", help="published schedule, see toast presets")]
Selection = Annotated[str | None, typer.Option(help=f"overrides the schedule's: {', '.join(SELECTIONS)}")]
Calibration = Annotated[
    str | None, typer.Option(help="images for calibrated selection: fashion-mnist:calibration or a folder; labels unused")
]
CalibrationImages = Annotated[int, typer.Option(help="how many calibration images, class-balanced")]
BatchSize = Annotated[int, typer.Option(help="images per batch")]
Seed = Annotated[
    int | None, typer.Option(min=0, help="of subset, order, token sample, random weights; default: the schedule's, or 0")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps")]
ExecutorName = Annotated[
    str, typer.Option("--executor", help="local; ray: workers on this machine; ray:HOST:PORT: on the Ray cluster that it is part of")
]
Workers = Annotated[int | None, typer.Option(help="of --executor ray; default: one a GPU of the cluster, or one a CPU core")]
Json = Annotated[bool, typer.Option("--json", help="print one JSON document on stdout")]


def schedule_of(file: Path | None, preset: str | None, selection: str | None, applied: Schedule | None = None) -> Schedule | None:
    """Return the schedule asked for, or the one already applied to the weights."""
    if file is not None and preset is not None:
        raise ScheduleError("both --schedule and --preset are given; keep one of them")
    if applied is not None:
        if file is not None or preset is not None or selection is not None:
            raise ScheduleError("the weights file already holds a pruned model; leave out --schedule, --preset and --selection")
        return applied
    if file is not None:
        try:
            chosen = Schedule.from_json(file.read_bytes())
        except OSError as error:
            raise ScheduleError(
                f"schedule file {file} cannot be read ({error.strerror}); save one from the dashboard or toast presets NAME"
            ) from error
    elif preset is not None:
        chosen = get_preset(preset).schedule
    else:
        return None
    return replace(chosen, selection=selection) if selection else chosen


def pruned_model(
    model: str | None,
    weights: str | None,
    num_classes: int | None,
    img_size: int | None,
    file: Path | None,
    preset: str | None,
    selection: str | None,
    calibration: str | None,
    calibration_images: int,
    execution: str,
    batch_size: int,
    seed: int | None,
    device: Any,
    executor: Any = None,
) -> Any:
    """Load the model and put the schedule into effect: what `evaluate` and `apply` share.

    `device` is where this process has it; an `executor` elsewhere scores the calibration images.
    """
    from toast_core.loading import load_model
    from toast_core.pruning.execution.apply import apply_plan
    from toast_core.schedule.execution import check_execution

    check_execution(execution)
    schedule_of(file, preset, selection)
    loaded = load_model(model, weights, num_classes, img_size, device, seed or 0)
    chosen = schedule_of(file, preset, selection, loaded.toast_info.schedule)
    if chosen is None or loaded.toast_info.schedule is not None:
        return loaded
    chosen = chosen if seed is None else replace(chosen, seed=seed)
    return apply_plan(loaded, planned(loaded, chosen, calibration, calibration_images, batch_size, executor), execution)


def planned(
    model: Any, schedule: Schedule, calibration: str | None, images: int, batch_size: int, executor: Any = None
) -> Any:
    """The schedule's plan: compensated where it asks for that and calibration images are named, which the planner demands otherwise."""
    from toast_core.pruning.planner import make_plan

    if not schedule.compensation.is_none and calibration is not None:
        return compensated_plan(model, schedule, calibration, images, batch_size)
    statistics = None
    if schedule.needs_calibration:
        statistics = calibrate(model, calibration, images, schedule.seed, batch_size, schedule.class_weight, executor)
    return make_plan(model, schedule, statistics)


def compensated_plan(model: Any, schedule: Schedule, calibration: str, images: int, batch_size: int) -> Any:
    """Return the plan with refitted weights; what could not be done as asked is said on stderr."""
    from toast_core.compensation.walk import compensate
    from toast_core.data.load import load_data

    data = load_data(calibration, model, images, seed=schedule.seed, labelled=False)
    with progress("compensating") as advance:
        plan = compensate(model, schedule, [batch.images for batch in data.batches(batch_size)], advance)
    for note in plan.notes:
        print(f"toast: {note}", file=sys.stderr)
    return plan


def calibrate(
    model: Any, calibration: str | None, images: int, seed: int, batch_size: int, class_weight: float, executor: Any = None
) -> Any:
    """Return the statistics of the calibration images; None where none are named, which the planner refuses if it needs them."""
    from toast_core.data.load import load_data
    from toast_core.executors import LOCAL
    from toast_core.pruning.calibrate import calibrate as run

    if calibration is None:
        return None
    data = load_data(calibration, model, images, seed=seed, labelled=False)
    with progress("calibrating") as advance:
        return run(model, data, batch_size, class_weight, advance, executor or LOCAL)


def own_device(executor: Any) -> Any:
    """Where this process has the model: on the executor's device, or on the CPU where others run it."""
    from toast_core.machine import pick_device

    return pick_device(executor.device if executor.in_order else "cpu")


class progress:
    """A progress bar on stderr, on a terminal only; calling the value moves it. With a note, the third value stands behind the bar."""

    def __init__(self, what: str, with_note: bool = False) -> None:
        self.what, self.with_note = what, with_note

    def __enter__(self) -> Callable[..., None]:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        last = TextColumn("{task.fields[note]}") if self.with_note else TimeRemainingColumn()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), last)
        self.bar = Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
        self.bar.start()
        task = self.bar.add_task(self.what, note="")
        return lambda done, total, note="": self.bar.update(task, completed=done, total=total, note=note)

    def __exit__(self, *_: object) -> None:
        self.bar.stop()


def print_json(document: object) -> None:
    """Print one JSON document on stdout."""
    print(json.dumps(document, indent=1, allow_nan=False))


def print_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table on stdout, the first column to the left."""
    from rich.console import Console
    from rich.table import Table

    print(title)
    table = Table()
    for position, column in enumerate(columns):
        table.add_column(column, justify="left" if position == 0 else "right")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def write_text(path: Path, text: str) -> None:
    """Write a file in one step: whole, or not at all.

    Raises:
        OSError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
