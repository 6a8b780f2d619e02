"""What the pages print for a terminal: the command that measures a figure of theirs again, or one that is missing. Imports no torch."""

from collections.abc import Mapping
from dataclasses import replace

from toast_core.command import command_line
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup

_FOLDER = "FOLDER"  # stands for images where the dashboard has none
_SETTINGS = {"selection": "per_image", "seed": 0}  # of a sweep whose request names none


def evaluate_command(setup: Setup, schedule: Schedule) -> str:
    """The `toast evaluate` call that measures the schedule in hand on the images of the dashboard's live figures."""
    return command_line("evaluate", setup, {"json": True}, schedule)


def analyze_command(setup: Setup, metric: str, request: Mapping | None = None) -> str:
    """The `toast analyze` call that measures `metric` of the dashboard's model, or what an analysis' `request` asked for.

    The images' place is the dashboard's own: a request names them by digest only.
    """
    setup = replace(setup, data=setup.data or _FOLDER)
    if request is None:
        return command_line("analyze", setup, {"metrics": metric})
    setup = replace(setup, images=request["images"], batch_size=request["batch_size"], seed=request["seed"])
    flags: dict[str, object] = {"metrics": metric, "dtype": request["dtype"]}
    if metric != "sensitivity":
        return command_line("analyze", setup, flags)
    cells = request.get("cells") or []
    flags |= {
        "sites": ",".join(dict.fromkeys(site for _, site, _ in cells)),
        "ratios": ",".join(dict.fromkeys(str(ratio) for *_, ratio in cells)),
        "selection": setting(request, "selection"),
    }
    if request.get("mode") == "adaptive":
        flags |= {"mode": "adaptive", "width": request.get("width"), "tolerance": request.get("tolerance")}
    return command_line("analyze", setup, flags, calibrated=request.get("calibration") not in (None, "none"))


def report_command(setup: Setup, short_id: str, shipped: bool) -> str:
    """The `toast report` call that writes an analysis' figures as files."""
    return command_line("report", replace(setup, store=None) if shipped else setup, arguments=(short_id,))


def setting(request: Mapping, name: str) -> object:
    """How a sweep was done: `selection` or `seed` of an analysis' request, which older ones left out at their defaults."""
    settings = request.get("settings")
    return settings.get(name, _SETTINGS[name]) if isinstance(settings, Mapping) else _SETTINGS[name]
