"""The command line: the one place where everything is put together. torch is imported inside the commands, after parsing.

Exit status: 0 done, 1 the result says no, 2 a usage or input error (one line on stderr), 130 interrupted.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from analysis_cache.commands import cache_app
from toast_core.cli import (
    analyze as cli_analyze,
)
from toast_core.cli import (
    bench as cli_bench,
)
from toast_core.cli import (
    certify as cli_certify,
)
from toast_core.cli import (
    export as cli_export,
)
from toast_core.cli import (
    recover as cli_recover,
)
from toast_core.cli import (
    tune as cli_tune,
)
from toast_core.cli.parts import (
    BatchSize,
    Calibration,
    CalibrationImages,
    Device,
    ExecutorName,
    ImgSize,
    Json,
    Model,
    NumClasses,
    PresetName,
    ScheduleFile,
    Seed,
    Selection,
    Weights,
    Workers,
    app,
    own_device,
    print_json,
    print_table,
    progress,
    pruned_model,
    schedule_of,
)
from toast_core.errors import ScheduleError, ToastError
from toast_core.machine import wait_asleep
from toast_core.schedule.presets import get_preset, presets
from toast_core.setup import CALIBRATION_IMAGES, Setup

# typer brings its own copy of click; this is the root of its usage errors
_UsageError = next(cls for cls in typer.BadParameter.__mro__ if cls.__name__ == "ClickException")

app.add_typer(cache_app, name="cache")
app.command()(cli_analyze.analyze)
app.command()(cli_analyze.report)
app.command()(cli_tune.tune)
app.command()(cli_bench.bench)
app.command()(cli_recover.recover)
app.command()(cli_export.export)
app.command()(cli_certify.certify)


def main() -> None:
    """Run the command line and exit with its status."""
    wait_asleep()
    try:
        status = app(standalone_mode=False)
    except ToastError as error:
        status = _fail(str(error))
    except _UsageError as error:
        status = _fail(f"{error.format_message()}; see toast --help")
    except (typer.Abort, KeyboardInterrupt):
        print("toast: interrupted", file=sys.stderr)
        status = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str) -> int:
    print(f"toast: {' '.join(message.split())}", file=sys.stderr)
    return 2


@app.command()
def flops(
    model: Model = None,
    weights: Weights = None,
    num_classes: NumClasses = None,
    img_size: ImgSize = None,
    schedule: ScheduleFile = None,
    preset: PresetName = None,
    selection: Selection = None,
    as_json: Json = False,
) -> None:
    """Count multiply-accumulates, parameters and activation memory, baseline and scheduled, per block and part."""
    from toast_core.cost.macs import count_cost
    from toast_core.loading import load_model

    info = load_model(model, weights if weights else "none", num_classes, img_size).toast_info
    chosen = schedule_of(schedule, preset, selection, info.schedule)
    costs = {"baseline": count_cost(info.shape), "scheduled": count_cost(info.shape, chosen)}
    if as_json:
        print_json(
            {
                "model": info.name,
                "selection": chosen.selection if chosen else None,
                **{
                    name: {
                        "macs": cost.macs,
                        "params": cost.params,
                        "peak_activation_bytes": cost.peak_activation_bytes(),
                        "embed_macs": cost.embed_macs,
                        "merge_macs": cost.merge_macs,
                        "head_macs": cost.head_macs,
                        "blocks": [
                            {"attention_macs": block.attention_macs, "ffn_macs": block.ffn_macs, "params": block.params}
                            for block in cost.blocks
                        ],
                    }
                    for name, cost in costs.items()
                },
            }
        )
        return
    base, new = costs["baseline"], costs["scheduled"]
    rows = [
        [str(index), *(f"{value / 1e6:.2f}" for value in (b.attention_macs, n.attention_macs, b.ffn_macs, n.ffn_macs))]
        for index, (b, n) in enumerate(zip(base.blocks, new.blocks, strict=True))
    ]
    print_table(f"{info.name}: MMACs of one image", ["block", "attention", "scheduled", "FFN", "scheduled"], rows)
    for label, cost in costs.items():
        print(
            f"{label:9}  {cost.macs / 1e9:.4f} GMACs  {cost.params / 1e6:.3f} M parameters  "
            f"{cost.peak_activation_bytes() / 1e6:.2f} MB activations (float32, batch 1)"
        )
    print(f"saved      {100 * (1 - new.macs / base.macs):.1f} % of MACs, {100 * (1 - new.params / base.params):.1f} % of parameters")


@app.command(name="presets")
def list_presets(
    name: Annotated[str | None, typer.Argument(help="print this preset's schedule JSON")] = None, as_json: Json = False
) -> None:
    """List the published schedules; accuracy and speed are as the paper reports them, not measured here."""
    if name is not None:
        print(get_preset(name).schedule.to_json(), end="")
        return
    if as_json:
        print_json(
            [{"name": p.name, "model": p.model, "digest": p.schedule.digest(), "reported": vars(p.reported)} for p in presets().values()]
        )
        return
    rows = [[p.name, f"{p.reported.gmacs:g}", f"{p.reported.top1:.2f}", f"{p.reported.speedup:.2f}"] for p in presets().values()]
    print_table(
        "published schedules (figures reported by the paper, after recovery training)", ["name", "GMACs", "top-1 %", "speedup"], rows
    )


@app.command()
def evaluate(
    data: Annotated[str, typer.Option(help="fashion-mnist, fashion-mnist:calibration, or an image folder")],
    model: Model = None,
    weights: Weights = None,
    num_classes: NumClasses = None,
    img_size: ImgSize = None,
    schedule: ScheduleFile = None,
    preset: PresetName = None,
    calibration: Calibration = None,
    calibration_images: CalibrationImages = CALIBRATION_IMAGES,
    selection: Selection = None,
    execution: Annotated[str, typer.Option(help="masked or compact: the same function, other shapes")] = "masked",
    images: Annotated[int | None, typer.Option(help="class-balanced subset; default: all")] = None,
    order: Annotated[str, typer.Option(help="shuffled or sorted by class")] = "shuffled",
    batch_size: BatchSize = 64,
    seed: Seed = None,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16")] = "float32",
    device: Device = "auto",
    executor: ExecutorName = "local",
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Measure top-1, top-5 and loss with 95 % intervals, of the baseline or of a schedule."""
    from toast_core.executors import open_executor

    with open_executor(executor, device, workers) as runner:
        from toast_core.data.load import load_data
        from toast_core.studies.evaluation.measure import evaluate as run

        pruned = pruned_model(
            model,
            weights,
            num_classes,
            img_size,
            schedule,
            preset,
            selection,
            calibration,
            calibration_images,
            execution,
            batch_size,
            seed,
            own_device(runner),
            runner,
        )
        applied = pruned.toast_info.schedule
        seed = seed if seed is not None else applied.seed if applied else 0
        images_of = load_data(data, pruned, images, order, seed)
        with progress("evaluating") as advance:
            result = run(pruned, images_of, batch_size, dtype, advance, runner)
    for name in result.skipped[:5]:
        print(f"toast: skipped unreadable image {name}", file=sys.stderr)
    info = pruned.toast_info
    if as_json:
        print_json({"model": info.name, "weights": info.weights, "data": images_of.source.name, **result.to_dict()})
        return
    figures = result.to_dict()
    print(f"{info.name} ({info.weights}) on {images_of.source.name}, {figures['images']} images, {len(result.skipped)} skipped")
    print(f"{result.execution}, selection {result.selection or 'none'}, {order}, batch {batch_size}, seed {seed}, {dtype}, {result.device}")
    for label, key, unit in (("top-1", "top1", " %"), ("top-5", "top5", " %"), ("loss", "loss", "")):
        low, high = figures[key]["ci95"]
        interval = "no interval from one image" if low is None else f"95 %: {low:.2f} to {high:.2f}"
        print(f"{label}  {figures[key]['value']:.2f}{unit}  ({interval})")
    print(f"{result.macs / 1e9:.4f} GMACs an image")


@app.command()
def apply(
    output: Annotated[Path, typer.Option("--output", "-o", help="FILE.safetensors to write; every command takes it as --weights")],
    model: Model = None,
    weights: Weights = None,
    num_classes: NumClasses = None,
    img_size: ImgSize = None,
    schedule: ScheduleFile = None,
    preset: PresetName = None,
    calibration: Calibration = None,
    calibration_images: CalibrationImages = CALIBRATION_IMAGES,
    selection: Selection = None,
    execution: Annotated[str, typer.Option(help="masked or compact")] = "compact",
    batch_size: BatchSize = 64,
    seed: Seed = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Prune a model by a schedule and save it, schedule inside, as one .safetensors file."""
    from toast_core.loading import check_output, save_model
    from toast_core.machine import pick_device

    check_output(output)
    if schedule is None and preset is None:
        raise ScheduleError("toast apply needs a schedule; pass --schedule FILE or --preset NAME (see toast presets)")
    pruned = pruned_model(
        model,
        weights,
        num_classes,
        img_size,
        schedule,
        preset,
        selection,
        calibration,
        calibration_images,
        execution,
        batch_size,
        seed,
        pick_device(device),
    )
    save_model(pruned, output)
    from toast_core.models.counting import count_macs

    info = pruned.toast_info
    report = {
        "output": str(output),
        "model": info.name,
        "execution": info.execution,
        "selection": info.schedule.selection,
        "macs": count_macs(pruned),
        "params": sum(p.numel() for p in pruned.parameters()),
        "bytes": output.stat().st_size,
        "schedule_digest": info.schedule.digest(),
    }
    if as_json:
        print_json(report)
    else:
        print(
            f"wrote {output}: {info.name} {info.execution}, {report['macs'] / 1e9:.4f} GMACs, "
            f"{report['params'] / 1e6:.3f} M parameters, {report['bytes'] / 1e6:.2f} MB"
        )


@app.command()
def doctor(as_json: Json = False) -> None:
    """Say what this machine has: versions, devices, embedded data and weights, browser. Exit 1 if something needed is missing."""
    from toast_core.cli.doctor import examine

    report = examine()
    if as_json:
        print_json(report)
    else:
        print_table("this machine", ["what", "found"], [[key, str(value)] for key, value in report.items() if key != "problems"])
        for problem in report["problems"]:
            print(f"problem: {problem}")
    raise typer.Exit(1 if report["problems"] else 0)


Port = Annotated[int | None, typer.Option(help="default: 8501 or the next free one")]
Headless = Annotated[bool, typer.Option("--headless", help="do not open a browser")]
Share = Annotated[bool, typer.Option("--share", help="answer other machines too; needs --allowed-host and a password or [auth] secrets")]
PasswordFile = Annotated[Path | None, typer.Option(help="holds the password of --share; default: the environment's TOAST_PASSWORD")]
AllowedHost = Annotated[list[str] | None, typer.Option(help="name that others type to reach a shared dashboard; may be repeated")]


@app.command()
def demo(
    port: Port = None,
    headless: Headless = False,
    store: cli_analyze.Store = None,
    share: Share = False,
    password_file: PasswordFile = None,
    allowed_host: AllowedHost = None,
) -> None:
    """Open the dashboard on the embedded model and its test images."""
    from dashboard.server.launch import launch
    from dashboard.server.sharing import read_sharing

    sharing = read_sharing(share, password_file, allowed_host or (), Path.cwd(), Path.home())
    raise typer.Exit(launch(Setup(store=store), sharing, port, headless))


@app.command()
def dashboard(
    model: Annotated[str, typer.Option(help="timm model name, demo_vit or demo_swin")] = "demo_vit",
    weights: Weights = None,
    num_classes: NumClasses = None,
    img_size: ImgSize = None,
    data: Annotated[str, typer.Option(help="fashion-mnist or an image folder")] = "fashion-mnist",
    calibration: Calibration = None,
    calibration_images: CalibrationImages = CALIBRATION_IMAGES,
    train: Annotated[str | None, typer.Option(help="images that recoveries learn from; default: the calibration images")] = None,
    device: Device = "auto",
    port: Port = None,
    headless: Headless = False,
    store: cli_analyze.Store = None,
    share: Share = False,
    password_file: PasswordFile = None,
    allowed_host: AllowedHost = None,
) -> None:
    """Open the dashboard on any supported model and image folder."""
    from dashboard.server.launch import launch
    from dashboard.server.sharing import read_sharing

    sharing = read_sharing(share, password_file, allowed_host or (), Path.cwd(), Path.home())
    places = {"data": data, "calibration": calibration, "train": train, "store": store}
    setup = Setup(model, weights, num_classes, img_size, **places, calibration_images=calibration_images, device=device)
    raise typer.Exit(launch(setup, sharing, port, headless))


@app.command()
def test() -> None:
    """Run the project's tests (from a checkout: ./toast test)."""
    raise typer.BadParameter("the tests are run by the script in the project's folder: ./toast test")
