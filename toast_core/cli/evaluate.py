"""`toast evaluate`: what a baseline, a schedule or a pruned file says of images: accuracy and loss, or how alike its features are."""

from math import isfinite
from typing import Annotated

import typer

from toast_core.cli.opened import note_rest
from toast_core.cli.options import Execution, Json, Place, Wanted, takes_executor, takes_schedule, takes_setup
from toast_core.cli.output import Bar, print_json, told_of
from toast_core.cli.pruned import pruned_model
from toast_core.setup import Setup
from toast_core.studies.tasks.neighbours import NEIGHBOURS


@takes_setup("evaluate", required=("data",))
@takes_schedule
@takes_executor
def evaluate(
    setup: Setup,
    wanted: Wanted,
    place: Place,
    execution: Execution = "masked",
    order: Annotated[str, typer.Option(help="shuffled or sorted by class")] = "shuffled",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16")] = "float32",
    as_json: Json = False,
) -> None:
    """Measure top-1, top-5 and loss with 95 % intervals, of the baseline or of a schedule.

    Without a classifier (--num-classes 0): cosine similarity of pooled features and of patch tokens to the baseline's, and, where --data
    and --calibration are labelled, the accuracy of a vote of the 20 nearest calibration images by cosine.
    """
    with place.open(setup.device) as runner:
        from toast_core.studies.evaluation.measure import Beside
        from toast_core.studies.evaluation.measure import evaluate as run
        from toast_core.studies.subject import bank_of
        from toast_core.studies.tasks.registry import task_of

        workbench, pruned = pruned_model(setup, wanted, execution, runner)
        data = workbench.images(setup.images, order)
        with Bar("evaluating") as advance:
            bank, left_out = bank_of(workbench, data)
            beside = Beside(workbench.model if workbench.info.execution == "baseline" else None, bank)
            result = run(pruned, data, setup.batch_size, dtype, advance, runner, beside)
    notes = [*workbench.notes(), *left_out]
    note_rest(workbench, notes)
    info, figures, task = pruned.toast_info, result.to_dict(), task_of(pruned.toast_info.shape)
    compared = {} if bank is None else {"neighbours": bank.to_dict()}
    if as_json:
        about = {"model": info.name, **task.details, "weights": info.weights, "data": data.source.name}
        print_json({**about, **figures, **compared, **told_of(data, notes)})
        return
    print(f"{info.name} ({info.weights}) on {data.source.name}, {figures['images']} images, {len(result.skipped)} skipped")
    how = (result.execution, f"selection {result.selection or 'none'}", order, f"batch {setup.batch_size}", f"seed {setup.seed}", dtype)
    print(", ".join((*how, result.device)))
    for figure, one in result.rows():
        interval = f"95 %: {figure.between(one)}" if isfinite(one.ci95[0]) else "no interval from one image"
        print(f"{figure.label}  {figure.said(one)}  ({interval})")
    if bank is not None:
        print(f"k-NN: {NEIGHBOURS} nearest of {len(bank.images)} images of {bank.images.source.name} by cosine, a vote each")
    print(f"images: {data.transform.description}")
    print(f"{result.macs / 1e9:.4f} GMACs an image")
