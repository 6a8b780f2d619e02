"""How a named model is built for a file: what the name fixes must match, what it leaves open is taken from the file and said."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from toast_core.cost.shapes import ModelShape
from toast_core.errors import ModelError
from toast_core.models.checkpoint.nearest import nearest
from toast_core.models.form import Form, form_of, square_side
from toast_core.models.info import get_info

_CHANNELS = (1, 3)
_SWIN_BLOCK = re.compile(r"layers\.(\d+)\.blocks\.(\d+)\.")


@dataclass(frozen=True)
class Build:
    """What a model is built with beside its name; None: the name's own. `notes` say what was taken from a file, a sentence each.

    other_head  "has a head that ..." of a file whose classifier no model of timm has
    """

    num_classes: int | None = None
    img_size: int | None = None
    in_chans: int | None = None
    global_pool: str | None = None
    other_head: str = ""
    notes: tuple[str, ...] = ()


def choose_build(state: Mapping[str, torch.Tensor], path: Path, named: nn.Module, asked: Build) -> Build:
    """Return how the model called as `named` is to be built for a file's tensors.

    Args:
        path: where the tensors came from, for messages.
        named: the model as its name has it, on any device; only its shapes are read.
        asked: what the user asked for, which is kept.

    Raises:
        ModelError: the file is of another model, or of a kind that is not supported; one line says what it has and which model fits.
    """
    shape, file = get_info(named).shape, form_of(state)
    if file == Form():
        return asked
    name, own = shape.name, form_of(named.state_dict())
    notes: list[str] = []
    _refuse_others(file, state, own, name, path, {"windows"} | ({"patch"} if name.startswith("flexivit_") and asked.img_size else set()))
    size = _image_size(file, own, shape, state, path)
    clipped = max(file.windows or (0,)) == max(own.windows or (0,)) and (size or asked.img_size)
    _refuse_others(file, state, own, name, path, {"patch", "windows"} if clipped else {"patch"})
    if asked.img_size is not None:
        size = None
    elif size is not None:
        notes.append(_size_note(file, shape.image_size, size))
    return Build(
        _classes(file, asked, notes), size or asked.img_size, _channels(file, own, path, asked, notes), _pooling(file, own, notes),
        notes=tuple(notes),
    )


def pruned_build(state: Mapping[str, torch.Tensor], named: nn.Module, num_classes: int, img_size: int) -> Build:
    """Return how the baseline of a pruned file was built: what its header does not say is told by the tensors outside the blocks."""
    found, own = form_of(state), form_of(named.state_dict())
    return Build(num_classes, img_size, found.channels if own.channels != found.channels in _CHANNELS else None, _pooling(found, own, []))


def _refuse_others(file: Form, state: Mapping[str, torch.Tensor], own: Form, name: str, path: Path, but: set[str]) -> None:
    """Raise a ModelError where the file has other than the name fixes, `but` for what depends on the image size."""
    differs = [(mine, theirs) for field, mine, theirs in file.differences(own) if field not in but]
    if differs:
        has, wants = ", ".join(mine for mine, _ in differs[:3]), ", ".join(theirs for _, theirs in differs[:3])
        raise ModelError(f"weights file {path} does not fit {name}: it has {has}, the model {wants}; check --model: {nearest(state, name)}")


def _image_size(file: Form, own: Form, shape: ModelShape, state: Mapping[str, torch.Tensor], path: Path) -> int | None:
    """The edge of the square pictures that the file is made for, in pixels; None where the model's own fits, or nothing shows it."""
    if own.windows is not None:
        size = _swin_size(file, own.windows, state)
        return None if size == shape.image_size else size
    if file.positions is None or own.positions is None or file.positions == own.positions or file.patch is None:
        return None
    prefix = own.positions - shape.patches
    patches = file.positions - prefix
    side = square_side(patches)
    if side is None:
        others = range(1 + int(bool(file.class_token)) + int(bool(file.distillation)) + (file.registers or 0))
        given = next((count for count in others if count != prefix and square_side(file.positions - count)), None)
        if given is not None:
            raise ModelError(
                f"weights file {path} does not fit {shape.name}: it has {file.positions} positions, a square grid of "
                f"{file.positions - given} patches that gives {_prefix_words(given)}, the model gives {_prefix_words(prefix)} "
                f"(or a rectangle of {patches} with {prefix} more, which is not supported); check --model: {nearest(state, shape.name)}"
            )
        raise ModelError(
            f"weights file {path} has position embeddings of {patches} patches, which make no square grid; rectangular input is not "
            f"supported: resample them to a square grid first, with timm.layers.resample_abs_pos_embed"
        )
    return side * file.patch[0]


def _prefix_words(count: int) -> str:
    """How many positions the tokens before the patches have, the first being the class token."""
    return ("no position to the class token", "a position to the class token")[count] if count < 2 else f"positions to {count} more tokens"


def _swin_size(file: Form, windows: tuple[int, ...], state: Mapping[str, torch.Tensor]) -> int | None:
    """From the windows that a small picture clips, or the masks that original checkpoints hold, one row a window of stage 0."""
    if file.windows is None or file.patch is None:
        return None
    found = {tuple(map(int, match.groups())) for key in state if (match := _SWIN_BLOCK.search(key))}
    for (stage, _), window, whole in zip(sorted(found), file.windows, windows, strict=False):
        if window < whole and max(file.windows) <= max(windows):
            return window * 2**stage * file.patch[0]
    masks = [value for key, value in state.items() if key.endswith("layers.0.blocks.1.attn_mask") and value.ndim == 3]
    side = square_side(len(masks[0])) if masks else None
    return side * file.windows[0] * file.patch[0] if side else None


def _size_note(file: Form, usual: int, size: int) -> str:
    if file.positions is None or file.patch is None:
        return f"built for {size} x {size} pixels, as the file's windows show; {usual} x {usual} is usual: --img-size {usual} takes that"
    side = size // file.patch[0]
    return (
        f"built for {size} x {size} pixels: the file's positions are taken as a square grid of {side} x {side} patches; "
        f"{usual} x {usual} is usual: --img-size {usual} resamples them"
    )


def _classes(file: Form, asked: Build, notes: list[str]) -> int | None:
    if not asked.num_classes and file.classes == 0 and asked.other_head:
        notes.append(f"the file {asked.other_head}; it is left aside, and the model is built without one: its features are compared")
        return 0
    if asked.num_classes is None and file.classes == 0:
        notes.append("the file has no classifier, so the model is built without one: its features are compared")
        return 0
    if asked.num_classes == 0 and file.classes:
        notes.append(f"the file's classifier of {file.classes} classes is left out, as --num-classes 0 asks")
    return file.classes if asked.num_classes is None else asked.num_classes


def _channels(file: Form, own: Form, path: Path, asked: Build, notes: list[str]) -> int | None:
    found = file.channels
    if found is None or found == own.channels == (asked.in_chans or found):
        return asked.in_chans
    if found not in _CHANNELS:
        raise ModelError(f"weights file {path} takes {found} channels; pictures have 1 or 3: use weights for grey or colour pictures")
    if asked.in_chans not in (None, found):
        raise ModelError(f"weights file {path} takes {found} channels, not {asked.in_chans}; leave out --in-chans")
    if asked.in_chans is None:
        colour = "grey" if found == 1 else "colour"
        notes.append(f"pictures are read in {colour}: channels of the file's patch embedding: {found}, of the model's name: {own.channels}")
    return found


def _pooling(file: Form, own: Form, notes: list[str]) -> str | None:
    if file.pooled_norm is None or own.pooled_norm is None or file.pooled_norm == own.pooled_norm:
        return None
    if file.pooled_norm:
        notes.append("built with average pooling: the file's last norm is fc_norm, behind the pooling")
        return "avg"
    if not own.class_token:
        return None
    notes.append("built with the class token as output: the file's last norm stands before the pooling")
    return "token"
