"""Reading tensors from a file, its shards included. Nothing a file says is run: torch.load takes weights only, and stands here alone."""

import argparse
import json
import pathlib
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from toast_core.errors import ModelError
from toast_core.files import first_line
from toast_core.models.checkpoint.kinds import JSON, SAFETENSORS, kind_of

_SCALAR = np.float64(0).__reduce__()[0]  # how NumPy writes a number, such as the best accuracy so far
# What training programs keep beside weights: classes that hold values and do nothing when made. (type, name in the file)
_HARMLESS: list[Any] = [
    argparse.Namespace,
    int,
    float,
    str,
    list,
    dict,
    bool,
    pathlib.PosixPath,
    pathlib.PurePosixPath,
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "b1")),
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
]
_MODULES = re.compile(r"torch\.nn\.|torchvision\.models\.|timm\.|transformers\.|open_clip\.|.*\.(models?|modeling\w*|nets?|networks?)\.")


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """Read every tensor of a .safetensors file, as it is.

    Raises:
        ModelError: it is truncated or is not safetensors.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError, KeyError, RuntimeError) as error:
        reason = first_line(error)
        raise ModelError(f"weights file {path} is not a complete safetensors file ({reason}); copy it again or convert it anew") from error


def read_tensors(path: Path) -> Mapping[Any, Any]:
    """Read what a file holds: tensors by name, perhaps inside further mappings and beside other values.

    Raises:
        ModelError: it cannot be read, would run code when read, or holds no mapping.
    """
    kind = kind_of(path)
    if kind == SAFETENSORS:
        return read_safetensors(path)
    return _read_shards(path) if kind == JSON else _read_torch(path)


def shards_of(path: Path) -> tuple[Path, ...]:
    """The files that an index such as model.safetensors.index.json names, sorted.

    Raises:
        ModelError: it is no such index, or names a file outside its own folder.
    """
    try:
        shards = sorted(set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(
            f"weights file {path} is JSON without a weight_map, so no index of shards; name the weights file, or its folder"
        ) from error
    outside = [name for name in shards if not isinstance(name, str) or Path(name).name != name]
    if outside or not shards:
        raise ModelError(f"index {path} names {str(outside[0])[:80] if outside else 'no file'!r}; it must name files beside it")
    return tuple(path.with_name(name) for name in shards)


def _read_shards(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = {}
    for shard in shards_of(path):
        if not shard.is_file():
            raise ModelError(f"index {path} names {shard.name}, which is not beside it; fetch every shard")
        state.update({str(name): value for name, value in read_tensors(shard).items()})
    named = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
    if missing := sorted(named.keys() - state.keys()):
        raise ModelError(f"index {path} names {missing[0]} and {len(missing) - 1} more tensors that no shard holds; fetch the shards again")
    return state


def _read_torch(path: Path) -> Mapping[Any, Any]:
    try:
        found = _load(path)
    except Exception as error:  # damaged bytes can make torch's reader fail in any way, and every way means the same here
        raise ModelError(_why_not_read(path, error)) from error
    if isinstance(found, torch.Tensor):
        raise ModelError(f"weights file {path} holds one tensor of shape {tuple(found.shape)}, not weights by name; save the state dict")
    if not isinstance(found, Mapping):
        raise ModelError(f"weights file {path} holds a {type(found).__name__}, not weights by name; save model.state_dict()")
    return found


def _load(path: Path) -> Any:
    """Read with memory mapping, so that what is not used is not read; files of before PyTorch 1.6 cannot be mapped.

    torch.load tells safetensors by a path's suffix: a file of its own that is called so is given to it open, which cannot be mapped.
    """
    with torch.serialization.safe_globals(_HARMLESS), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of old pickle protocols, which are read or refused all the same
        if path.suffix == ".safetensors":
            with path.open("rb") as file:
                return torch.load(file, map_location="cpu", weights_only=True)
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as error:
            if "mmap can only be used" not in str(error):
                raise
            return torch.load(path, map_location="cpu", weights_only=True)


def _why_not_read(path: Path, error: Exception) -> str:
    """One line for a file that torch's safe reader refused: what it wanted to use, as it says itself."""
    text = str(error)
    wanted = re.findall(r"GLOBAL ([\w.<>]+)", text) or re.findall(r"(?:Unsupported|unsupported) (?:class|global)\W+([\w.<>]+)", text)
    if not wanted:
        reason = re.search(r"WeightsUnpickler error:\s*(.+)", text)
        said = reason.group(1)[:120] if reason else first_line(error, 120)
        return f"weights file {path} cannot be read as what torch.save writes ({said}); copy it again or save it anew"
    if _MODULES.match(wanted[0]):
        return (
            f"weights file {path} holds a whole pickled model ({wanted[0]}), which is code, not only weights; "
            "in the program that made it, write torch.save(model.state_dict(), FILE)"
        )
    return (
        f"weights file {path} would run {wanted[0]} when read, so it was not read; "
        "in the program that made it, save the weights alone: torch.save(model.state_dict(), FILE)"
    )
