"""`read_checkpoint`: a person's weights as a state dict in timm's names, and what the file or its config.json says beside."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import timm
import torch

from toast_core.errors import ModelError
from toast_core.files import sha256_of
from toast_core.models.checkpoint import choice, heads, outline
from toast_core.models.checkpoint.claims import NOTHING_CLAIMED, Claims
from toast_core.models.checkpoint.config import Said, read_config
from toast_core.models.checkpoint.kinds import JSON, SAFETENSORS, kind_of
from toast_core.models.checkpoint.names import Conversion
from toast_core.models.checkpoint.names.clip import QUICK_GELU
from toast_core.models.checkpoint.names.foreign import recognised
from toast_core.models.checkpoint.names.timm import TIMM
from toast_core.models.checkpoint.nearest import why_none
from toast_core.models.checkpoint.numbers import COMPUTED, as_float32, check_numbers
from toast_core.models.checkpoint.place import find
from toast_core.models.checkpoint.tensors import read_tensors, shards_of
from toast_core.models.demo import DEMO_BUILDERS
from toast_core.models.form import form_of
from toast_core.preprocessing import OWN, Preprocessing


@dataclass(frozen=True)
class Checkpoint:
    """What was read.

    state          in timm's names, float32, on the CPU
    path           the file (an index, where there are shards)
    label          the hub's model and revision; empty for a file of one's own
    architecture   timm's name that config.json says, or that fits what it says; None where nothing says it
    num_classes    of the classifier in the file, else what config.json says; 0 where there is no classifier
    img_size       side of the image in pixels that config.json says
    preprocessing  what config.json says
    classes        names by output that config.json says
    claims         what config.json says of the model and no tensor shows: see `check_claims`
    verbatim       whether the file is one .safetensors file with exactly these tensors under these names
    notes          what was taken away, chosen, converted or left, a line each
    averaged       whether averaged (EMA) weights were asked for and taken
    other_head     "has a head that ..." where the file has a classifier that timm's model cannot have
    projection     whether the head is CLIP's projection, and no classifier
    """

    state: dict[str, torch.Tensor]
    path: Path
    label: str = ""
    architecture: str | None = None
    num_classes: int | None = None
    img_size: int | None = None
    preprocessing: Preprocessing = OWN
    classes: tuple[str, ...] | None = None
    claims: Claims = NOTHING_CLAIMED
    verbatim: bool = False
    notes: tuple[str, ...] = ()
    averaged: bool = False
    other_head: str = ""
    projection: bool = False

    @property
    def source(self) -> str:
        """Where the weights came from, with a digest of the file's bytes, or of all shards': what a model's info keeps."""
        shards = shards_of(self.path) if kind_of(self.path) == JSON else ()
        digest = sha256(b"".join(sha256_of(shard).encode() for shard in shards)).hexdigest() if shards else sha256_of(self.path)
        return " ".join(part for part in (self.label, f"{self.path.name} sha256:{digest[:12]}", "(EMA)" if self.averaged else "") if part)


def read_checkpoint(place: str | Path, use_ema: bool = False) -> Checkpoint:
    """Read a weights file of any kind that is known, a folder with a config.json, or a model of the hub or its cache.

    Args:
        place: a file, a folder, local-dir:FOLDER or hf-hub:OWNER/NAME[@REVISION]; what is in a file is told by its content.
        use_ema: take the averaged weights; the file must have some.

    Raises:
        ModelError: there is no such file, it is of a kind that is not read, would run code, holds no model or several, or holds numbers
            that are no weights; or its config.json is damaged or contradicts it.
    """
    found = find(place)
    path = found.file
    held = read_tensors(path)
    chosen, notes = choice.choose(path, choice.places_in(path, held), use_ema)
    conversion = _converted(path, chosen)
    state, told = conversion.state, conversion.notes
    said = read_config(found.folder) if found.folder is not None else Said()
    _check_sizes(said, state, path)
    architecture, known = _architecture(held, state, said)
    classes = form_of(state).classes
    if said.num_classes and classes and said.num_classes != classes:
        raise ModelError(f"{said.source} says {said.num_classes} classes, {path.name} holds {classes}; name the weights file alone")
    names = said.classes
    if names is not None and len(names) != classes:
        known += (f"{said.source} names {len(names)} classes, {path.name} holds {classes or 'no classifier'}; the names were left",)
        names = None
    if said.claims.activation is not None:
        told = tuple(note for note in told if note != QUICK_GELU)
    verbatim = kind_of(path) == SAFETENSORS and held.keys() == state.keys() and all(held[key].shape == state[key].shape for key in state)
    return Checkpoint(
        state,
        path,
        found.label,
        architecture,
        classes if classes or said.num_classes is None else said.num_classes,
        said.img_size,
        said.preprocessing,
        names,
        said.claims,
        verbatim,
        (*found.notes, *notes, *told, *said.notes, *known),
        use_ema,
        conversion.other_head,
        conversion.projection or said.projection,
    )


def _check_sizes(said: Said, state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Raise a ModelError where a size that config.json names is not the tensors'."""
    form = form_of(state)
    kind = None if not form.depth else "a Swin" if form.stages else "a ViT"
    shown = {**vars(form), "classes": form.classes or None, "patch": form.patch and form.patch[0], "kind": kind}
    for word, field, value in said.sizes:
        if shown[field] is not None and shown[field] != value:
            raise ModelError(
                f"{said.source} says {word} {value}, the tensors of {path.name} show {shown[field]}; "
                "bring the config.json of these weights, or name the weights file alone"
            )


def _converted(path: Path, place: choice.Place) -> Conversion:
    """The place's tensors in timm's names and float32, the classifier beside them included, and all that was said on the way."""
    inside, known = place.inside, place.heads
    strays = [] if place.prefix or place.naming is None else [name for name in inside if choice.is_stray(name, inside[name])]
    inside = {name: value for name, value in inside.items() if name not in strays}
    if place.naming is not TIMM and (what := recognised(inside)):
        raise ModelError(f"weights file {path}: these are {what}, which are not read; bring a vision transformer under timm's names")
    own = {} if place.naming is None or known else heads.beside(place.prefix, place.tensors)
    beside = {name: place.tensors[name] for name in (*known.values(), *own.values()) if not COMPUTED.fullmatch(name)}
    check_numbers(path, {name: place.tensors[place.prefix + name] for name in inside if not COMPUTED.fullmatch(name)} | beside)
    state, notes = as_float32(path, {name: value for name, value in inside.items() if not COMPUTED.fullmatch(name)})
    if strays:
        notes = (*notes, f"left {len(strays)} tensors beside the model aside, first {strays[0]}")
    if place.naming in (None, TIMM):
        state |= {name: value for name, value in inside.items() if COMPUTED.fullmatch(name)}  # another family may keep them
    if place.naming is None:
        return Conversion(state, notes=(*_stripped(place, len(state)), *notes))
    try:
        conversion = place.naming.convert(state, {short: beside[name].to(torch.float32) for short, name in known.items()})
    except ModelError as error:
        raise ModelError(f"weights file {path}: {error}") from error
    conversion, taken = _with_classifier(conversion, {name: beside[name] for name in own.values() if name in beside}, own)
    used = taken | set(known.values())
    left = [name for name in place.tensors if not name.startswith(place.prefix) and name not in used]
    what = outline.described(conversion.state, conversion.other_head)
    read = (f"these are {place.naming.title}: {what}",) if place.naming is not TIMM else ()
    aside = (f"left {len(left)} tensors beside {place.prefix}* aside, first {left[0]}",) if left else ()
    return replace(conversion, notes=(*read, *_stripped(place, len(inside)), *aside, *notes, *conversion.notes))


def _with_classifier(
    conversion: Conversion, beside: Mapping[str, torch.Tensor], names: Mapping[str, str]
) -> tuple[Conversion, frozenset[str]]:
    """The conversion with a plain linear classifier that the file keeps elsewhere than timm, and the names in the file that it took.

    Args:
        beside: tensors of heads beside the model, by their names in the file.
        names: the same by their names there.
    """
    state, target = dict(conversion.state), "head.fc" if any(name.startswith("layers.") for name in conversion.state) else "head"
    found = heads.own_heads(state)
    if f"{target}.weight" in state or conversion.other_head or not heads.width_of(state):
        return conversion, frozenset()
    for name in found:
        del state[name]
    where = "a Sequential"
    if not found:
        found = {short: beside[name].to(torch.float32) for short, name in names.items() if name in beside}
        where = "beside the model"
    if not found:
        return conversion, frozenset()
    shown = list(found) if where == "a Sequential" else [name for name in names.values() if name in beside]
    linear = heads.plain_linear(found, heads.width_of(state))
    if linear is None:
        return replace(conversion, state=state, other_head=heads.lacked(shown)), frozenset()
    state |= {f"{target}.weight": linear[0], f"{target}.bias": linear[1]}
    note = f"took {shown[0]} ({where}) for the classifier of {len(linear[0])} classes, behind the model's own pooling"
    return replace(conversion, state=state, notes=(*conversion.notes, note)), frozenset(beside)


def _stripped(place: choice.Place, count: int) -> tuple[str, ...]:
    prefix = (f"took the prefix {place.prefix} off the names of {count} tensors",) if place.prefix else ()
    return prefix + ((f"took wrappers' words out of the middle of {place.wrapped} names",) if place.wrapped else ())


def _architecture(held: Mapping[Any, Any], state: Mapping[str, torch.Tensor], said: Said) -> tuple[str | None, tuple[str, ...]]:
    """The name that config.json says; where it says sizes only, the likeliest that fits them, with a note of the others.

    Without a config.json: what timm's and DeiT's training programs keep in the file, `arch` or the option `model`.
    """
    if said.architecture is not None:
        return said.architecture, ()
    if not said.source:
        kept = (held.get("arch"), getattr(held.get("args"), "model", None))
        bases = [name.partition(".")[0] for name in kept if isinstance(name, str) and name]
        return next((name for name in bases if timm.is_model(name) or name in DEMO_BUILDERS), None), ()
    names = outline.fitting(state, said.claims, said.img_size, said.prefer)
    if not names:
        return None, (f"the tensors are {outline.described(state)}, for which timm has no name that fits {said.source}",)
    others = f" (as would {', '.join(names[1:])})" if names[1:] else ""
    return names[0], (f"the tensors are {outline.described(state)}: {names[0]} fits them and {said.source}{others}",)


def refuse_unnamed(checkpoint: Checkpoint) -> ModelError:
    """Return the error for weights without a model's name: what they are of, and which names fit."""
    names = outline.fitting(checkpoint.state, checkpoint.claims, checkpoint.img_size)
    fits = f"pass --model {names[0]}" + (f" (or {', '.join(names[1:])})" if names[1:] else "") if names else "pass --model"
    what = outline.described(checkpoint.state, checkpoint.other_head)
    if not names and form_of(checkpoint.state).patch is not None:
        fits = outline.hindrance(checkpoint.state, checkpoint.claims) or why_none(checkpoint.state)
    return ModelError(f"no model is named, and {checkpoint.path} names none; it holds {what}: {fits}")
