"""How far a recovery is, in one file that is whole or not there: JSON and tensors, nothing that could run when it is read."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from toast_core.errors import ModelError
from toast_core.studies.recovery.recipe import Recipe

VERSION = 1
FILE = "checkpoint.safetensors"
_KEY = "toast_recovery"
_BETWEEN = r" (?=[a-z_]+(?:[= ]|$))"  # the words of a text such as a transform's, whose values have blanks too
_SHOWN, _SHOWN_WORDS = 16, 80  # characters of a value of one word, and of several


@dataclass
class RunState:
    """How far a run is, over all its lives.

    step           optimizer steps done
    loss_sum, images_seen   of the current epoch, over all processes
    history        finished epochs, plain JSON values
    best_epoch     the one of lowest validation loss
    seconds        wall time of training and validating so far, over all lives of the run
    """

    step: int = 0
    loss_sum: float = 0.0
    images_seen: int = 0
    history: list[dict] = field(default_factory=list)
    best_epoch: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Checkpoints:
    """Where and how often a run writes down how far it is.

    folder  of this run alone; None: nowhere
    steps   optimizer steps between two checkpoints within an epoch; every epoch ends with one
    """

    folder: Path | None = None
    steps: int = 500


@dataclass(frozen=True)
class Checkpoint:
    """tensors by part ("model", "average", "best", "optimizer") and name; `numbers` are the optimizer's plain values."""

    identity: Mapping[str, object]
    run_state: RunState
    tensors: Mapping[str, Mapping[str, torch.Tensor]]
    numbers: Mapping[str, Mapping[str, object]]
    scaler: Mapping[str, object]


def prepare_folder(folder: Path) -> None:
    """Make the folder, or raise a ModelError where it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise ModelError(f"checkpoint folder {folder} cannot be written; choose a folder of its own that can")


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Replace the folder's checkpoint in one step; a process killed at any instant leaves the old or the new one."""
    named = ((f"{part}.{name}", value) for part, found in checkpoint.tensors.items() for name, value in found.items())
    flat = {name: value.detach().cpu().contiguous() for name, value in named}
    header = {
        "version": VERSION, "identity": dict(checkpoint.identity), "standing": asdict(checkpoint.run_state), "numbers": checkpoint.numbers,
        "scaler": checkpoint.scaler,
    }
    path = folder / FILE
    temporary = path.with_name(f".{path.name}.tmp")  # one name: what a killed process left is overwritten
    try:
        save_file(flat, temporary, {_KEY: json.dumps(header)})
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise ModelError(f"cannot write {path} ({error}); make room, then start the same command again: it goes on") from error


def read_checkpoint(folder: Path, identity: Mapping[str, object], unsaid: Mapping[str, object]) -> Checkpoint | None:
    """Return the folder's checkpoint; None where there is none. `unsaid` is what a checkpoint that does not say it was made with.

    Raises:
        ModelError: it is damaged, or belongs to a run of another identity.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[_KEY])
            if header["version"] != VERSION:
                raise ModelError(f"{path} has version {header['version']!r}, this program reads {VERSION}; use another folder")
            _check_identity(path, {**unsaid, **header["identity"]}, identity)
            tensors: dict[str, dict[str, torch.Tensor]] = {}
            for key in file.keys():  # noqa: SIM118 (no mapping)
                part, _, name = key.partition(".")
                tensors.setdefault(part, {})[name] = file.get_tensor(key)
        return Checkpoint(header["identity"], RunState(**header["standing"]), tensors, header["numbers"], header["scaler"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"checkpoint {path} is damaged ({error}); delete it to begin again, or use another folder") from error


def resumed(recipe: Recipe, folder: Path | None) -> Recipe:
    """The recipe with the learning rate of the run that the folder's checkpoint is of, where it leaves its own open; else itself."""
    path = folder / FILE if folder is not None else None
    if recipe.lr is not None or path is None or not path.is_file():
        return recipe
    try:
        with safe_open(path, framework="pt") as file:
            rate = json.loads((file.metadata() or {})[_KEY])["identity"]["lr"]
        return replace(recipe, lr=float(rate))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return recipe  # reading it whole says what is wrong with it


def _check_identity(path: Path, stored: Mapping[str, object], asked: Mapping[str, object]) -> None:
    for name in asked:
        if stored.get(name) != asked[name]:
            was, now = _differing(str(stored.get(name, "that it does not say")), str(asked[name]))
            raise ModelError(
                f"checkpoint {path} belongs to a run with {name.replace('_', ' ')} {was}, not {now}; "
                "use another --checkpoint folder, or ask for what that run asked"
            )


def _differing(was: str, now: str) -> tuple[str, str]:
    """What to show of two values: the words that only one of them has, or the start of a long word such as a digest."""
    words, others = re.split(_BETWEEN, was), re.split(_BETWEEN, now)
    return _start([word for word in words if word not in others]), _start([word for word in others if word not in words])


def _start(words: list[str]) -> str:
    text = " ".join(words)
    return (text[:_SHOWN_WORDS] if "=" in text or " " in text else text[:_SHOWN]) or "none"
