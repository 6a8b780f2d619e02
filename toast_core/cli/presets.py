"""`toast presets`: the published schedules."""

from typing import Annotated

import typer

from toast_core.cli.options import Json
from toast_core.cli.output import print_json, print_table
from toast_core.schedule.presets import get_preset, presets


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
