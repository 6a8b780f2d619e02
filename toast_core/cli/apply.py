"""`toast apply`: a pruned model as one file, schedule inside."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toast_core.cli.opened import note_rest
from toast_core.cli.options import Execution, Json, Wanted, takes_schedule, takes_setup
from toast_core.cli.output import print_json, told_of
from toast_core.cli.pruned import pruned_model
from toast_core.errors import DataError, ScheduleError
from toast_core.setup import Setup

if TYPE_CHECKING:
    from toast_core.data.load import ImageData
    from toast_core.workbench import Workbench


@takes_setup("apply")
@takes_schedule
def apply(
    output: Annotated[Path, typer.Option("--output", "-o", help="FILE.safetensors to write; every command takes it as --weights")],
    setup: Setup,
    wanted: Wanted,
    execution: Execution = "compact",
    as_json: Json = False,
) -> None:
    """Prune a model by a schedule and save it, schedule inside, as one .safetensors file."""
    from toast_core.loading import check_output, save_model
    from toast_core.models.counting import count_macs

    check_output(output)
    if wanted.file is None and wanted.preset is None:
        raise ScheduleError("toast apply needs a schedule; pass --schedule FILE or --preset NAME (see toast presets)")
    workbench, pruned = pruned_model(setup, wanted, execution)
    data, said = _images_that_name(workbench)
    notes = [*workbench.notes(), *said]
    note_rest(workbench, notes)
    save_model(pruned, output)
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
        print_json({**report, **told_of(data, notes)})
    else:
        print(
            f"wrote {output}: {info.name} {info.execution}, {report['macs'] / 1e9:.4f} GMACs, "
            f"{report['params'] / 1e6:.3f} M parameters, {report['bytes'] / 1e6:.2f} MB"
        )


def _images_that_name(workbench: "Workbench") -> "tuple[ImageData | None, list[str]]":
    """The images whose classes the file is to name, none where none were given; and their notes, or why they cannot name them."""
    from toast_core.data.load import load_data

    setup = workbench.setup
    if setup.data is None:
        return None, []
    try:
        data = load_data(workbench.source or setup.data, workbench.model, reading=setup.reading)
    except DataError as error:
        return None, [f"the file takes no class names from the images: {error}"]
    return data, data.notes()
