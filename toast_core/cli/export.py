"""`toast export`: the compact model as a file for others, run again and compared before it is kept."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toast_core.cli.opened import note_rest
from toast_core.cli.options import Json, Wanted, takes_schedule, takes_setup
from toast_core.cli.output import print_json
from toast_core.cli.pruned import pruned_model
from toast_core.errors import ScheduleError
from toast_core.export.formats import FORMATS
from toast_core.setup import Setup
from toast_core.studies.tasks.registry import task_of

if TYPE_CHECKING:
    import torch
    from torch import nn


@takes_setup("export")
@takes_schedule
def export(
    output: Annotated[Path, typer.Option("--output", "-o", help="file to write: .safetensors, .pt2, .onnx or .py, as the format says")],
    form: Annotated[str, typer.Option("--format", help=f"{', '.join(FORMATS)}; a loader needs torch alone")],
    setup: Setup,
    wanted: Wanted,
    opset: Annotated[int | None, typer.Option(help="of ONNX, 18 to 23; default: 18")] = None,
    data: Annotated[str | None, typer.Option(help="images to compare on; default: the calibration images, else random ones")] = None,
    images: Annotated[int, typer.Option(min=1, help="how many images to compare on")] = 32,
    as_json: Json = False,
) -> None:
    """Write the compact model of a schedule, or a file from toast apply, in a format that other programs run.

    The file is opened and run again; where a logit differs from the compact model by more than 1e-4 of the largest one, it is not kept.
    """
    from toast_core.export import export_model
    from toast_core.export.write import check_export

    check_export(form, output, opset)
    if wanted.file is None and wanted.preset is None and setup.weights is None:
        raise ScheduleError(
            "toast export needs a pruned model; pass --schedule FILE, --preset NAME (see toast presets) or --weights with a file from "
            "toast apply"
        )
    workbench, pruned = pruned_model(replace(setup, device="cpu"), wanted, "compact")
    compared = data or setup.calibration
    batch, left_aside = _images(pruned, compared, images, setup.seed)
    notes = list(dict.fromkeys((*workbench.notes(), *left_aside)))
    note_rest(workbench, notes)
    record = export_model(pruned, form, output, batch, opset)
    info = pruned.toast_info
    report = {
        **record.to_dict(),
        "output": str(output),
        "model": info.name,
        "execution": info.execution,
        "selection": info.schedule.selection,
        "schedule_digest": info.schedule.digest(),
        "data": compared or "random",
        "notes": notes,
    }
    if as_json:
        print_json(report)
        return
    output_name = task_of(info.shape).output
    print(f"wrote {output}: {info.name} {info.execution} as {form}, {record.bytes / 1e6:.2f} MB, sha256 {record.sha256[:12]}")
    print(
        f"opened and run again on {record.images} images ({report['data']}): largest difference of a {output_name} "
        f"{record.relative_difference:.1e} of the largest {output_name}"
    )


def _images(model: "nn.Module", data: str | None, count: int, seed: int) -> "tuple[torch.Tensor, list[str]]":
    """Images (B, C, H, W) to compare on, of a source, or random where none is named; and what of them was left aside."""
    import torch

    from toast_core.data.load import load_data
    from toast_core.data.noise import random_images

    if data is None:
        return random_images(model, count, seed), []
    source = load_data(data, model, count, seed=seed, labelled=False)
    batches = [batch.images for batch in source.batches(count)]
    if not batches:
        raise source.unread()
    return torch.cat(batches), [f"images to compare on: {line}" for line in source.notes()]
