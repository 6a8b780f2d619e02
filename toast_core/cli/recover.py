"""`toast recover`: a pruned model fine-tuned toward its baseline, in one process or in several that torchrun starts."""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from toast_core.cli.help import RUN
from toast_core.cli.opened import note_rest, open_workbench
from toast_core.cli.options import Json, Wanted, in_panels, takes_schedule, takes_setup
from toast_core.cli.output import Bar, print_json, print_table, told_of
from toast_core.errors import ScheduleError
from toast_core.setup import Setup
from toast_core.studies.recovery.recipe import Recipe
from toast_core.studies.recovery.result import nothing_kept

_MINUTE_S = 60


@takes_setup("recover", required=("train",), said={"train": "training images, never test images: fashion-mnist:calibration or a folder"})
@takes_schedule
@in_panels({
    "Training images": ("images", "validation_share", "augment", "mixup", "cutmix"),
    "What is learned": ("distill", "distill_blocks", "temperature", "labels", "smoothing"),
    "Steps": (
        "epochs", "batch_size", "accumulate", "optimizer", "lr", "weight_decay", "warmup_epochs", "clip_norm", "ema", "patience",
    ),
    RUN: ("precision", "execution", "seed", "checkpoint", "checkpoint_steps"),
})
def recover(
    output: Annotated[Path, typer.Option("--output", "-o", help="FILE.safetensors to write; every command takes it as --weights")],
    setup: Setup,
    wanted: Wanted,
    images: Annotated[int | None, typer.Option(help="class-balanced subset of the training images; default: all")] = None,
    validation_share: Annotated[float, typer.Option(help="fraction of them held out to choose the epoch by")] = Recipe.validation_share,
    epochs: Annotated[int, typer.Option(help="passes over the rest")] = Recipe.epochs,
    batch_size: Annotated[int, typer.Option(help="images of one forward of one process")] = Recipe.batch_size,
    accumulate: Annotated[int, typer.Option(help="forwards of every process before an optimizer step")] = Recipe.accumulate,
    optimizer: Annotated[str, typer.Option(help="timm's name, for example adamw, lamb, muon")] = Recipe.optimizer,
    lr: Annotated[
        float | None,
        typer.Option(
            help="peak learning rate, after the warm-up and before the cosine; default: 5e-4, less for few images a step or few steps"
        ),
    ] = Recipe.lr,
    weight_decay: Annotated[float, typer.Option(help="of weights, not of biases and norms")] = Recipe.weight_decay,
    warmup_epochs: Annotated[float, typer.Option(help="epochs until the peak")] = Recipe.warmup_epochs,
    clip_norm: Annotated[float, typer.Option(help="largest norm of the gradient; 0: any")] = Recipe.clip_norm,
    distill: Annotated[bool, typer.Option(help="learn the baseline's logits")] = Recipe.distill,
    distill_blocks: Annotated[bool, typer.Option(help="learn the baseline's block outputs")] = Recipe.distill_blocks,
    temperature: Annotated[float, typer.Option(help="of the logits that are learned")] = Recipe.temperature,
    labels: Annotated[bool, typer.Option(help="learn the labels; without, the folder's classes need not be the model's")] = Recipe.labels,
    smoothing: Annotated[float, typer.Option(help="of the labels")] = Recipe.smoothing,
    mixup: Annotated[float, typer.Option(help="timm's alpha; 0: none")] = Recipe.mixup,
    cutmix: Annotated[float, typer.Option(help="timm's alpha; 0: none")] = Recipe.cutmix,
    augment: Annotated[bool, typer.Option(help="augment the images")] = Recipe.augment,
    ema: Annotated[float, typer.Option(help="decay of the averaged weights, which are the ones written; 0: none")] = Recipe.ema,
    patience: Annotated[int, typer.Option(help="epochs without a lower validation loss before it stops; 0: never")] = Recipe.patience,
    precision: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16: of forwards, under autocast")] = Recipe.precision,
    execution: Annotated[str, typer.Option(help="compact, or masked: faster for per_image, which gathers weights")] = Recipe.execution,
    seed: Annotated[int, typer.Option(help="of subset, split, order, augmentation and mixing")] = Recipe.seed,
    checkpoint: Annotated[Path | None, typer.Option(help="folder of this run: the same command goes on from what is there")] = None,
    checkpoint_steps: Annotated[int, typer.Option(min=1, help="optimizer steps between checkpoints, beside every epoch's")] = 500,
    as_json: Json = False,
) -> None:
    """Fine-tune what a schedule leaves of a model, at its own smaller cost, and write the epoch of lowest validation loss.

    Starts from selection, or from compensation where the schedule asks for it. Several GPUs, or processes on CPU:
    torchrun --nproc-per-node 2 -m toast_core recover ..., with the same options.
    """
    from toast_core.loading import check_output

    check_output(output)
    chosen = wanted.schedule()
    if chosen is None:
        raise ScheduleError("toast recover needs a schedule; pass --schedule FILE or --preset NAME (see toast presets)")
    from analysis_cache.store import EvidenceStore
    from toast_core.loading import save_model
    from toast_core.studies.recovery.checkpoint import Checkpoints, resumed
    from toast_core.studies.recovery.images import looked_at
    from toast_core.studies.recovery.loop import RecoveryStart
    from toast_core.studies.recovery.loop import recover as run
    from toast_core.studies.recovery.processes import process_group
    from toast_core.studies.recovery.store import recover_into

    recipe = Recipe(
        epochs=epochs, batch_size=batch_size, accumulate=accumulate, optimizer=optimizer, lr=lr, weight_decay=weight_decay,
        warmup_epochs=warmup_epochs, clip_norm=clip_norm, distill=distill, distill_blocks=distill_blocks, temperature=temperature,
        labels=labels, mixup=mixup, cutmix=cutmix, smoothing=smoothing, augment=augment, ema=ema, patience=patience,
        validation_share=validation_share, precision=precision, execution=execution, seed=seed,
    )
    recipe = resumed(recipe, checkpoint)
    with process_group(setup.device) as world:
        workbench = open_workbench(replace(setup, device=str(world.device), batch_size=batch_size), quiet=not world.is_first)
        data = looked_at(workbench.training(images, seed, labels), world)
        settled = recipe.settled(len(data), world.size)
        notes = list(dict.fromkeys([*workbench.notes(), *data.notes(), *recipe.cautions(len(data), world.size)]))
        if recipe.lr is None:
            steps, together = recipe.steps(len(data), world.size), batch_size * accumulate * world.size
            count = f"{steps} step{'s' if steps > 1 else ''}"
            notes.append(f"peak learning rate {settled.lr:g}, from {together} images a step and {count}; --lr sets another")
        if world.is_first:
            note_rest(workbench, notes)
        with Bar("recovering", with_note=True) as advance:
            def tell(told: Any) -> None:
                if world.is_first:
                    advance(told.images_done, told.images_total, note_of(told))

            fitted_on = f"{setup.calibration}, {setup.calibration_images} images" if chosen.needs_calibration else ""
            start = RecoveryStart(chosen, partial(workbench.plan, chosen), fitted_on)
            settings: dict[str, Any] = {"checkpoints": Checkpoints(checkpoint, checkpoint_steps), "world": world, "progress": tell}
            if not world.is_first:
                run(workbench.model, start, data, recipe, **settings)
                return
            with EvidenceStore.open(setup.store) as evidence:
                recovered, _ = recover_into(evidence, workbench.model, start, data, recipe, **settings)
        later = [line for line in workbench.notes() if line not in notes]  # of the calibration images, which planning read
        note_rest(workbench, later)
        save_model(recovered.model, output)
    report = recovered.report | {"output": str(output), "bytes": output.stat().st_size}
    if as_json:
        print_json(report | told_of(data, [*notes, *later]))
    else:
        _print_report(report)


def note_of(told: Any) -> str:
    """For example `epoch 3, loss 0.412, validation 91.2 %, 4 min 10 s left`."""
    seen, left = told.validation, round(told.left_s)
    share = seen["validation_agreement"] if seen["validation_top1"] is None else seen["validation_top1"]
    what = "agreement" if seen["validation_top1"] is None else "top-1"
    clock = f"{left // _MINUTE_S} min {left % _MINUTE_S} s" if left >= _MINUTE_S else f"{left} s"
    return f"epoch {told.epoch}, loss {told.loss:.3f}, validation {what} {share:.2f} %, {clock} left"


def _print_report(report: dict) -> None:
    def shown(value: float | None) -> str:
        return "" if value is None else f"{value:.4f}"

    rows = [
        [str(row["epoch"]), str(row["images"]), *(shown(row[name]) for name in ("training_loss", "validation_loss")),
         *("" if row[name] is None else f"{row[name]:.2f}" for name in ("validation_top1", "validation_agreement"))]
        for row in report["history"]
    ]
    columns = ["epoch", "images", "training loss", "validation loss", "top-1 %", "agreement %"]
    print(f"{report['model']} from {report['start']}, {report['training_images']} training images, processes: {report['processes']}")
    print_table(f"on {report['validation_images']} validation images", columns, rows)
    if said := nothing_kept(report):
        print(f"{said}; the file holds the model as it was before training: lower --lr, now {report['recipe']['lr']:g}, or use more images")
    if report["stopped_early"]:
        print("stopped early: the validation loss fell no more", file=sys.stderr)
    cost = report["cost"]
    print(
        f"wrote {report['output']}: epoch {report['best_epoch']}, {report['macs'] / 1e9:.4f} of {report['baseline_macs'] / 1e9:.4f} GMACs; "
        f"training took {cost['images']} images, {cost['macs'] / 1e12:.3f} tera-MACs, {cost['seconds']:.0f} s"
    )
