"""`toast evaluate`: accuracy and loss of a baseline, of a schedule, or of a pruned file."""

from typing import Annotated

import typer

from toast_core.cli.options import Execution, Json, Place, Wanted, takes_executor, takes_schedule, takes_setup
from toast_core.cli.output import Bar, note, print_json, told_of
from toast_core.cli.pruned import pruned_model
from toast_core.setup import Setup


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
    """Measure top-1, top-5 and loss with 95 % intervals, of the baseline or of a schedule."""
    with place.open(setup.device) as runner:
        from toast_core.studies.evaluation.measure import evaluate as run

        workbench, pruned = pruned_model(setup, wanted, execution, runner)
        data = workbench.images(setup.images, order)
        with Bar("evaluating") as advance:
            result = run(pruned, data, setup.batch_size, dtype, advance, runner)
    notes = [*workbench.info.notes, *data.notes()]
    note(notes)
    info, figures = pruned.toast_info, result.to_dict()
    if as_json:
        print_json({"model": info.name, "weights": info.weights, "data": data.source.name, **figures, **told_of(data, notes)})
        return
    print(f"{info.name} ({info.weights}) on {data.source.name}, {figures['images']} images, {len(result.skipped)} skipped")
    how = (result.execution, f"selection {result.selection or 'none'}", order, f"batch {setup.batch_size}", f"seed {setup.seed}", dtype)
    print(", ".join((*how, result.device)))
    for label, key, unit in (("top-1", "top1", " %"), ("top-5", "top5", " %"), ("loss", "loss", "")):
        low, high = figures[key]["ci95"]
        interval = "no interval from one image" if low is None else f"95 %: {low:.2f} to {high:.2f}"
        print(f"{label}  {figures[key]['value']:.2f}{unit}  ({interval})")
    print(f"images: {data.transform.description}")
    print(f"{result.macs / 1e9:.4f} GMACs an image")
