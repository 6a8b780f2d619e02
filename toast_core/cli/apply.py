"""`toast apply`: a pruned model as one file, schedule inside."""

from pathlib import Path
from typing import Annotated

import typer

from toast_core.cli.options import Execution, Json, Wanted, takes_schedule, takes_setup
from toast_core.cli.output import print_json
from toast_core.cli.pruned import pruned_model
from toast_core.errors import ScheduleError
from toast_core.setup import Setup


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
        "notes": list(workbench.info.told),
    }
    if as_json:
        print_json(report)
    else:
        print(
            f"wrote {output}: {info.name} {info.execution}, {report['macs'] / 1e9:.4f} GMACs, "
            f"{report['params'] / 1e6:.3f} M parameters, {report['bytes'] / 1e6:.2f} MB"
        )
