"""The options that commands share, declared once: what is asked about (a Setup), the schedule that is wanted, where work runs.

A command takes a value and not its options: `@takes_setup("evaluate", required=("data",))` gives it the options that
`toast_core.command.TAKES` lists for `evaluate` and calls it with the `Setup` that they make.
"""

import inspect
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from toast_core.cli.help import IMAGES, INPUT, MODEL, RUN, SCHEDULE
from toast_core.command import TAKES
from toast_core.errors import ScheduleError
from toast_core.preprocessing import CLASS_ORDERS, CROP_MODES, INTERPOLATIONS
from toast_core.schedule.presets import get_preset, presets
from toast_core.schedule.schedule import SELECTIONS, Schedule
from toast_core.setup import BATCH_SIZE, CALIBRATION_IMAGES, TASKS, Setup

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from toast_core.executors.base import Executor

_PANELS = {
    **dict.fromkeys(("model", "weights", "num_classes", "img_size", "in_chans", "use_ema", "task", "class_embeddings"), MODEL),
    **dict.fromkeys(("data", "class_order", "class_map", "labels", "random_classifier", "images"), IMAGES),
    **dict.fromkeys(("calibration", "calibration_images", "train"), IMAGES),
    **dict.fromkeys(("schedule", "preset", "selection"), SCHEDULE),
    **dict.fromkeys(("mean", "std", "crop_pct", "crop_mode", "interpolation", "exif_rotate"), INPUT),
    **dict.fromkeys(("batch_size", "seed", "device", "store", "executor", "workers"), RUN),
}
"""The heading of each option that commands share; others stand under what their own declaration says."""

Json = Annotated[bool, typer.Option("--json", help="print one JSON document on stdout")]
Store = Annotated[str | None, typer.Option(help="evidence store: a file or a database URL; default: the user's own")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps")]
Execution = Annotated[str, typer.Option(help="masked or compact: the same function, other shapes")]
_Option = tuple[object, object]  # annotation and default, inspect.Parameter.empty where it must be given


def _side(text: str) -> int:
    """The side of a square image; people also write HxW."""
    sides = text.lower().split("x")
    if len(sides) == 2 and all(side.strip().isdecimal() for side in sides) and int(sides[0]) != int(sides[1]):
        raise typer.BadParameter(f"rectangular input such as {text} is not supported; write the side of a square, in pixels")
    try:
        return int(sides[0]) if len(sides) <= 2 and int(sides[0]) == int(sides[-1]) else int(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no whole number; write the side of the square input, in pixels") from None


_SETUP: dict[str, _Option] = {
    "model": (
        Annotated[
            str | None,
            typer.Option(help="timm's name, demo_vit, demo_swin, hf-hub:OWNER/NAME or local-dir:FOLDER; not needed where the weights say"),
        ],
        None,
    ),
    "weights": (
        Annotated[
            str | None, typer.Option(help="checkpoint file or folder, or 'random'; default: embedded for a demo, else timm's pretrained")
        ],
        None,
    ),
    "num_classes": (
        Annotated[int | None, typer.Option(help="of the classifier, 0 for none; default: the weights' or the model's own")], None
    ),
    "img_size": (
        Annotated[
            int | None, typer.Option(parser=_side, metavar="<int>", help="input size in pixels; default: the weights' or the model's own")
        ],
        None,
    ),
    "in_chans": (Annotated[int | None, typer.Option(help="channels of the input, 1 or 3; default: the weights' or the model's own")], None),
    "use_ema": (Annotated[bool, typer.Option("--use-ema", help="of a checkpoint that has averaged weights too, take those")], False),
    "task": (
        Annotated[str | None, typer.Option(help=f"{', '.join(TASKS)}; default: classification, or features without a classifier")], None
    ),
    "class_embeddings": (
        Annotated[str | None, typer.Option(help=".safetensors file (classes, width) that makes the classifier of a CLIP or SigLIP tower")],
        None,
    ),
    "mean": (Annotated[str | None, typer.Option(help="of the channels, as 0.485,0.456,0.406; default: the model's own")], None),
    "std": (Annotated[str | None, typer.Option(help="of the channels, as 0.229,0.224,0.225; default: the model's own")], None),
    "crop_pct": (Annotated[float | None, typer.Option(help="crop's side by the resized image's; default: the model's own")], None),
    "crop_mode": (Annotated[str | None, typer.Option(help=f"{', '.join(CROP_MODES)}; default: the model's own")], None),
    "interpolation": (Annotated[str | None, typer.Option(help=f"{', '.join(INTERPOLATIONS)}; default: the model's own")], None),
    "exif_rotate": (
        Annotated[bool, typer.Option("--exif-rotate", help="turn photographs as their EXIF tag says, which timm does not")], False
    ),
    "class_order": (
        Annotated[
            str | None, typer.Option(help=f"{' or '.join(CLASS_ORDERS)} (timm's: numbers by value): how class folders are numbered")
        ],
        None,
    ),
    "class_map": (
        Annotated[
            str | None, typer.Option(help="file of the model's classes: a name a line, or JSON of names and numbers; images may have fewer")
        ],
        None,
    ),
    "labels": (Annotated[str | None, typer.Option(help="CSV file with the class of every image of a flat --data folder")], None),
    "random_classifier": (
        Annotated[bool, typer.Option("--random-classifier", help="measure labels although the weights leave the classifier random")], False
    ),
    "data": (Annotated[str | None, typer.Option(help="folder of images, a subfolder a class; a tar file; or fashion-mnist")], None),
    "images": (Annotated[int | None, typer.Option(help="class-balanced subset; default: all")], None),
    "calibration": (
        Annotated[
            str | None,
            typer.Option(help="images for calibrated selection and compensation: fashion-mnist:calibration, any folder or list; no labels"),
        ],
        None,
    ),
    "calibration_images": (Annotated[int, typer.Option(help="how many calibration images, class-balanced")], CALIBRATION_IMAGES),
    "train": (
        Annotated[str | None, typer.Option(help="images that recoveries learn from, never test images; default: the calibration images")],
        None,
    ),
    "batch_size": (Annotated[int, typer.Option(help="images per batch")], BATCH_SIZE),
    "seed": (
        Annotated[
            int | None,
            typer.Option(min=0, help="of subset, order, random weights; in place of a schedule's own: of calibration, tokens; default: 0"),
        ],
        None,
    ),
    "device": (Device, "auto"),
    "store": (Store, None),
}
_SCHEDULE: dict[str, _Option] = {
    "schedule": (
        Annotated[
            Path | None, typer.Option("--schedule", help="schedule JSON (ours or the reference implementation's), or a pruned file")
        ],
        None,
    ),
    "preset": (
        Annotated[
            str | None, typer.Option("--preset", autocompletion=lambda: list(presets()), help="published schedule, see toast presets")
        ],
        None,
    ),
    "selection": (
        Annotated[
            str | None, typer.Option(autocompletion=lambda: list(SELECTIONS), help=f"overrides the schedule's: {', '.join(SELECTIONS)}")
        ],
        None,
    ),
}
_EXECUTOR: dict[str, _Option] = {
    "executor": (
        Annotated[
            str, typer.Option(help="local; ray: workers on this machine; ray:HOST:PORT: on the Ray cluster that it is part of")
        ],
        "local",
    ),
    "workers": (Annotated[int | None, typer.Option(help="of --executor ray; default: one a GPU of the cluster, or one a CPU core")], None),
}
_AUDIENCE: dict[str, _Option] = {
    "port": (Annotated[int | None, typer.Option(help="default: 8501 or the next free one")], None),
    "headless": (Annotated[bool, typer.Option("--headless", help="do not open a browser")], False),
    "share": (
        Annotated[bool, typer.Option("--share", help="answer other machines too; needs --allowed-host and a password or [auth] secrets")],
        False,
    ),
    "password_file": (
        Annotated[Path | None, typer.Option(help="holds the password of --share; default: the environment's TOAST_PASSWORD")], None
    ),
    "allowed_host": (
        Annotated[list[str] | None, typer.Option(help="name that others type to reach a shared dashboard; may be repeated")], None
    ),
}


@dataclass(frozen=True)
class Audience:
    """Where a dashboard is served and whom it answers, as the options say it; `dashboard.server.sharing` decides what that allows."""

    port: int | None
    headless: bool
    share: bool
    password_file: Path | None
    allowed_hosts: tuple[str, ...]


@dataclass(frozen=True)
class Wanted:
    """The schedule that was asked for: a file or a preset, with another selection or seed where those were given."""

    file: Path | None = None
    preset: str | None = None
    selection: str | None = None
    seed: int | None = None

    def schedule(self, applied: Schedule | None = None) -> Schedule | None:
        """Return it, or the one already applied to the weights; None where neither is there.

        Raises:
            ScheduleError: two are named, one is named for weights that hold a pruned model, or the file cannot be read.
        """
        if self.file is not None and self.preset is not None:
            raise ScheduleError("both --schedule and --preset are given; keep one of them")
        if applied is not None:
            if self.file is not None or self.preset is not None or self.selection is not None:
                raise ScheduleError(
                    "the weights file already holds a pruned model; leave out --schedule, --preset and --selection"
                )
            return applied
        if self.file is not None:
            chosen = read_schedule(self.file)
        elif self.preset is not None:
            chosen = get_preset(self.preset).schedule
        else:
            return None
        changed: dict[str, Any] = {"selection": self.selection, "seed": self.seed}
        return replace(chosen, **{name: value for name, value in changed.items() if value is not None})


def read_schedule(file: Path) -> Schedule:
    """Read a schedule file, ours or the reference implementation's entry, or the schedule inside a file from toast apply.

    Raises:
        ScheduleError: it cannot be read or is no schedule.
        ModelError: a .safetensors file that is damaged.
    """
    if file.suffix == ".safetensors" and file.is_file():
        from toast_core.loading import read_header

        header = read_header(file)
        if header is None:
            raise ScheduleError(f"{file} holds weights and no schedule; give a schedule JSON, or a file from toast apply")
        return header["schedule"]
    try:
        return Schedule.from_json(file.read_bytes())
    except OSError as error:
        raise ScheduleError(
            f"schedule file {file} cannot be read ({error.strerror}); save one from the dashboard or toast presets NAME"
        ) from error


@dataclass(frozen=True)
class Place:
    """Where work runs, as the options name it; nothing is reached or started before `open`."""

    name: str
    workers: int | None

    def open(self, device: str) -> "AbstractContextManager[Executor]":
        """The executor, to be closed by the `with` that it is used in; see `open_executor`."""
        from toast_core.executors import open_executor

        return open_executor(self.name, device, self.workers)


def takes_setup(
    command: str, required: tuple[str, ...] = (), defaults: Mapping[str, object] | None = None, said: Mapping[str, str] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of a Setup that TAKES lists for it; it is called with `setup`.

    Args:
        required: those that must be given.
        defaults: of this command where they are not the Setup's.
        said: help of this command where it is not the common one.
    """
    options = {name: _SETUP[name] for name in TAKES[command]}
    for name, value in (defaults or {}).items():
        options[name] = options[name][0], value
    for name in required:
        options[name] = _required(options[name][0]), inspect.Parameter.empty
    for name, text in (said or {}).items():
        options[name] = _explained(options[name][0], text), options[name][1]

    def make(values: dict[str, Any]) -> Setup:
        given: dict[str, Any] = {name: 0 if name == "seed" and value is None else value for name, value in values.items()}
        return Setup(**given)

    return _takes("setup", options, make)


def takes_schedule(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command --schedule, --preset and --selection; it is called with `wanted`, which has the seed of --seed where it is taken."""
    return _takes("wanted", _SCHEDULE, lambda values: Wanted(values["schedule"], values["preset"], values["selection"]))(function)


def takes_executor(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command --executor and --workers; it is called with `place`."""
    return _takes("place", _EXECUTOR, lambda values: Place(values["executor"], values["workers"]))(function)


def takes_audience(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command --port, --headless, --share, --password-file and --allowed-host; it is called with `audience`."""

    def make(values: dict[str, Any]) -> Audience:
        return Audience(
            values["port"], values["headless"], values["share"], values["password_file"], tuple(values["allowed_host"] or ())
        )

    return _takes("audience", _AUDIENCE, make)(function)


def in_panels(panels: Mapping[str, tuple[str, ...]]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let options of a command's own stand under headings in its help.

    Args:
        panels: parameters by heading; the others stand under Options.
    """
    headings = {name: heading for heading, names in panels.items() for name in names}

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(function)
        parameters = [
            one.replace(annotation=_under(one.annotation, headings.pop(one.name))) if one.name in headings else one
            for one in signature.parameters.values()
        ]
        if headings:
            raise ValueError(f"{function.__name__} has no parameter {next(iter(headings))}")
        function.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # inspect.signature reads it
        return function

    return decorate


def _takes(
    argument: str, options: Mapping[str, _Option], make: Callable[[dict[str, Any]], object]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Put options in the place of one argument of a command; Typer reads them from the signature."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(function).parameters.values():
            if parameter.name == argument:
                parameters += [
                    inspect.Parameter(
                        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=_under(annotation, _PANELS.get(name))
                    )
                    for name, (annotation, default) in options.items()
                ]
            else:
                parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

        def command(**given: Any) -> None:
            values = {name: given.pop(name) for name in options}
            made = make(values)
            if isinstance(made, Setup) and isinstance(given.get("wanted"), Wanted):
                given["wanted"] = replace(given["wanted"], seed=values.get("seed"))
            function(**given, **{argument: made})

        command.__name__, command.__doc__ = function.__name__, function.__doc__
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # inspect.signature reads it
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return command

    return decorate


def _required(annotation: object) -> object:
    kind, option = get_args(annotation)
    return Annotated[next(one for one in get_args(kind) or (kind,) if one is not type(None)), option]


def _explained(annotation: object, text: str) -> object:
    kind, option = get_args(annotation)
    changed = copy(option)
    changed.help = text
    return Annotated[kind, changed]


def _under(annotation: object, panel: str | None) -> object:
    kind, option = get_args(annotation)
    changed = copy(option)
    changed.rich_help_panel = panel
    return Annotated[kind, changed]
