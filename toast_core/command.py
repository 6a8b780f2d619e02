"""A setup, and what is asked of it, as the command line that does the same: the only writer of such lines. Imports no torch.

Every page, job and message that prints a line gets it here. A test parses each with the command line's own parser and compares what
comes out with the setup that went in.
"""

from collections.abc import Mapping
from dataclasses import fields

from toast_core.errors import SetupError
from toast_core.files import shell_word
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup

SCHEDULE_FILE = "schedule.json"  # the name under which pages offer the schedule in hand
_MODEL = ("model", "weights", "num_classes", "img_size", "in_chans", "use_ema", "task", "class_embeddings")
_INPUT = ("mean", "std", "crop_pct", "crop_mode", "interpolation", "exif_rotate")
_CLASSES = ("class_order", "class_map")
_DATA = ("data", *_CLASSES, "labels", "random_classifier")
_CALIBRATION = ("calibration", "calibration_images")
# The fields of a Setup that a command takes as options of the same names.
TAKES: dict[str, tuple[str, ...]] = {
    "flops": _MODEL,
    "evaluate": (*_MODEL, *_DATA, "images", *_INPUT, *_CALIBRATION, "batch_size", "seed", "device"),
    "apply": (*_MODEL, "data", *_CLASSES, *_INPUT, *_CALIBRATION, "batch_size", "seed", "device"),
    "export": (*_MODEL, *_CLASSES, *_INPUT, *_CALIBRATION, "batch_size", "seed"),
    "certify": (*_MODEL, *_DATA, "images", *_INPUT, *_CALIBRATION, "batch_size", "device"),
    "analyze": (*_MODEL, *_DATA, "images", *_INPUT, *_CALIBRATION, "batch_size", "seed", "device", "store"),
    "tune": (*_MODEL, *_DATA, *_INPUT, *_CALIBRATION, "batch_size", "seed", "device", "store"),
    "recover": (*_MODEL, "train", *_CLASSES, "random_classifier", *_INPUT, *_CALIBRATION, "device", "store"),
    "bench": (*_MODEL, "device", "store"),
    "report": ("store",),
    "demo": ("store",),
    "dashboard": (*_MODEL, *_DATA, *_INPUT, *_CALIBRATION, "train", "device", "store"),
}
_LEFT_OUT_AT_DEFAULT = ("seed", "device")
_DEFAULTS = {field.name: field.default for field in fields(Setup)}


def command_line(
    command: str, setup: Setup, flags: Mapping[str, object] | None = None, schedule: Schedule | None = None, calibrated: bool = False,
    arguments: tuple[str, ...] = (),
) -> str:
    """Return the line of a shell that runs `command` on what the setup names.

    Args:
        command: a key of TAKES.
        flags: further options without leading dashes. None is left out, True stands for a switch, a list for a repeated option.
        schedule: what is measured or applied, in a file named SCHEDULE_FILE; its calibration options are added where it needs them.
            One that prunes nothing is the baseline, and needs no file.
        calibrated: whether calibration images are used without a schedule that says so.
        arguments: words without a flag, before the options.

    Raises:
        SetupError: the schedule's seed is another than the setup's, which one --seed cannot say.
    """
    given = {name: getattr(setup, name) for name in TAKES[command]}
    needed = calibrated or (schedule is not None and schedule.needs_calibration)
    if not needed or setup.calibration is None:
        given |= dict.fromkeys(_CALIBRATION)
    for name in _LEFT_OUT_AT_DEFAULT:
        if given.get(name) == _DEFAULTS[name]:
            given[name] = None
    if "store" in given and setup.is_own_store:
        given["store"] = None
    if schedule is not None and not schedule.is_baseline:
        if setup.seed and schedule.seed != setup.seed:
            raise SetupError(f"the schedule's seed is {schedule.seed}, the setup's {setup.seed}; give both the same, or the setup 0")
        given["schedule"] = SCHEDULE_FILE
    return " ".join(map(shell_word, ["toast", command, *arguments, *_words(given), *_words(flags or {})]))


def _words(options: Mapping[str, object]) -> list[str]:
    words: list[str] = []
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            words += [flag] if value else []
        elif isinstance(value, list | tuple):
            words += [word for one in value for word in (flag, str(one))]
        elif value is not None:
            words += [flag, str(value)]
    return words
