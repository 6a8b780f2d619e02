"""Which tensors of a file are the model's: inside which container, under which prefix, averaged or not, teacher or student.

A training program keeps more than a model. Whatever holds a vision transformer in names that are known is a place; of several places
one is chosen by the rules of `choose`, which says so, or the file is refused with all of them named.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from toast_core.errors import ModelError
from toast_core.models.checkpoint.heads import beside, has_classifier
from toast_core.models.checkpoint.names import NAMINGS, Naming, Tensors

_WRAPPERS = ("module.", "_orig_mod.", "_fsdp_wrapped_module.")  # what PyTorch itself puts before the names of any model
# what compiling, sharding or checkpointing single blocks puts in the middle of their names
_INSIDE = re.compile(r"(?<=\.)(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
# what a training program registers beside a model and that is no part of it; a single number without a module is none either
_STRAY = re.compile(r"(criterion|criterions|loss|losses|loss_fn|loss_func|metrics?|(train|val|valid|test)_\w+|ema|optimizer|scheduler)\..*")
_CONTAINERS = ("state_dict", "model", "model_state_dict", "module", "net", "network", "weights", "params")
_DINO = re.compile(r"head\.(mlp|last_layer)\b|mask")
_AVERAGED = {"ema", "swa", "averaged"}
_DEEPEST = 3


@dataclass(frozen=True)
class Place:
    """Where a model stands: the tensors of one container, and the prefix of its names there. No naming: names nobody knows.

    wrapped says of how many of the container's names a wrapper's word was taken out of the middle.
    """

    container: str
    prefix: str
    naming: Naming | None
    tensors: Mapping[str, torch.Tensor]
    wrapped: int = 0

    @property
    def name(self) -> str:
        """For messages: container and prefix."""
        return " ".join(part for part in (self.container, f"{self.prefix}*" if self.prefix else "") if part) or "the file's top level"

    @property
    def words(self) -> set[str]:
        """The words of container and prefix, in small letters."""
        return set(re.split(r"[._]", f"{self.container}.{self.prefix}".lower()))

    @property
    def inside(self) -> Tensors:
        """The tensors below the place, by their names there."""
        return {name.removeprefix(self.prefix): value for name, value in self.tensors.items() if name.startswith(self.prefix)}

    @property
    def heads(self) -> dict[str, str]:
        """The model's heads beside the place: their names from there on -> their names in the file."""
        if self.naming is None or not self.prefix:
            return {}
        parent = self.prefix[: self.prefix.rstrip(".").rfind(".") + 1]
        beside = {name.removeprefix(parent): name for name in self.tensors if name.startswith(parent) and not name.startswith(self.prefix)}
        return {short: name for short, name in beside.items() if re.fullmatch(self.naming.heads, short)}


def places_in(path: Path, found: Mapping[Any, Any]) -> list[Place]:
    """Return every place of a known naming; where there is none, the containers of tensors, less the prefix common to all names.

    Raises:
        ModelError: there are no tensors by name, or they are known to be something else (an optimizer's, a LoRA adapter's).
    """
    groups = _groups(found)
    if not groups:
        held = ", ".join(str(key)[:40] for key in list(found)[:5]) or "nothing"
        if {"param_groups", "optimizer", "optimizer_state_dict"} & {str(key) for key in found}:
            raise ModelError(
                f"weights file {path} holds an optimizer's state ({held}), no weights; name the file with the model's state dict"
            )
        raise ModelError(f"weights file {path} holds no tensors by name (it holds {held}); save model.state_dict()")
    adapter = next((name for tensors in groups.values() for name in tensors if ".lora_" in name or name.endswith(".lora_A")), None)
    if adapter is not None:
        raise ModelError(f"weights file {path} holds a LoRA adapter ({adapter}); merge it into its model and save that")
    places = [
        Place(container, prefix, naming, *_unwrapped(tensors))
        for container, tensors in groups.items()
        for naming in NAMINGS
        for prefix in _outermost(naming.places(_unwrapped(tensors)[0]))
    ]
    if places:
        return places
    known = {name: tensors for name, tensors in groups.items() if not name or set(name.split(".")) & {*_CONTAINERS} or _is_averaged(name)}
    return [Place(container, _common_prefix(tensors), None, *_unwrapped(tensors)) for container, tensors in (known or groups).items()]


def is_stray(name: str, value: torch.Tensor) -> bool:
    """Whether a tensor at the top of a file's names is a training program's and none of a model's, such as `ema_decay`."""
    return (value.numel() == 1 and "." not in name) or bool(_STRAY.fullmatch(name))


def choose(path: Path, places: list[Place], use_ema: bool) -> tuple[Place, tuple[str, ...]]:
    """Return the place to read, and a note for every choice that was made.

    Averaged weights (containers or prefixes with the word ema, swa or averaged) are taken where `use_ema` asks for them or where there
    are no others. Of a teacher and a student of the same shapes and without classifiers, as DINO saves them, the teacher is taken, as
    DINO evaluates it; with classifiers it is any distillation, and the file is refused with both named. A
    teacher beside a model that is no student of that kind is left. Of an online and a target network (BYOL) the online one, of an encoder
    and a momentum encoder (MoCo) the former, of an encoder and a target encoder (I-JEPA) the latter.

    Raises:
        ModelError: averaged weights are asked for and there are none, or several places are left.
    """
    averaged = [place for place in places if place.words & _AVERAGED]
    plain = [place for place in places if place not in averaged]
    notes: list[str] = []
    if use_ema and not averaged:
        teachers = [place for place in places if "teacher" in place.words]
        if not teachers:
            raise ModelError(f"weights file {path} holds no averaged (EMA) weights, only {_listed(places)}; leave out --use-ema")
        averaged = teachers
    left = averaged if use_ema or not plain else plain
    if averaged and plain and not use_ema:
        notes.append(f"took {_listed(plain)} of {path.name}, not the averaged weights {_listed(averaged)}; --use-ema takes those")
    elif averaged:
        why = "asked for" if use_ema else "there are no others"
        notes.append(f"took the averaged (EMA) weights {_listed(averaged)} of {path.name}: {why}")
    is_dino = _equal(left, "teacher", "student")
    for mark, taken, why in (
        ("teacher", is_dino, "as DINO evaluates it" if is_dino else "it is another model"),
        ("momentum", False, "the other is the model itself"),
        ("online", True, "the other follows it"),
        ("target", True, "the average that I-JEPA evaluates"),
    ):
        marked = [place for place in left if mark in place.words]
        others = [place for place in left if mark not in place.words]
        if not (marked and others) or (mark == "teacher" and not taken and any("student" in place.words for place in others)):
            continue
        kept, dropped = (marked, others) if taken else (others, marked)
        notes.append(f"took {_listed(kept)} of {path.name}, not {_listed(dropped)}: {f'{mark}, ' if taken else ''}{why}")
        left = kept
    if len(left) > 1 and all(_same(left[0], other) for other in left[1:]):
        notes.append(f"took {_listed(left[:1])} of {path.name}; {_listed(left[1:])} holds the same values")
        left = left[:1]
    if len(left) > 1:
        raise ModelError(
            f"weights file {path} holds {len(left)} models, {_listed(left)}; "
            "save the one that you mean alone: torch.save(its state dict, FILE)"
        )
    return left[0], tuple(notes)


def _groups(found: Mapping[Any, Any], container: str = "", depth: int = 0) -> dict[str, Tensors]:
    """The containers of a file that hold tensors by name, each with its own; what an optimizer keeps is no weights."""
    here = {key: value.detach() for key, value in found.items() if isinstance(key, str) and isinstance(value, torch.Tensor)}
    groups = {container: here} if here else {}
    for key, value in found.items():
        if isinstance(value, Mapping) and isinstance(key, str) and depth < _DEEPEST and not key.startswith(("optim", "lr_", "scaler")):
            groups |= _groups(value, f"{container}.{key}" if container else key, depth + 1)
    return groups


def _unwrapped(tensors: Tensors) -> tuple[Tensors, int]:
    """The tensors without wrappers' words in the middle of their names, and how many had one."""
    names = {name: _INSIDE.sub("", name) for name in tensors}
    return {new: tensors[name] for name, new in names.items()}, sum(name != new for name, new in names.items())


def _outermost(prefixes: list[str]) -> list[str]:
    """A model that begins at the top of the names is the whole of them, whatever it has inside."""
    return [""] if "" in prefixes else prefixes


def _common_prefix(names: Mapping[str, torch.Tensor]) -> str:
    """What PyTorch's wrappers put before all names, stacked in any order."""
    prefix = ""
    while word := next((word for word in _WRAPPERS if all(name.startswith(prefix + word) for name in names)), None):
        prefix += word
    return prefix


def _is_averaged(name: str) -> bool:
    return bool(set(re.split(r"[._]", name.lower())) & _AVERAGED)


def _equal(places: list[Place], first: str, second: str) -> bool:
    """Whether there is one place of each word, both in the same shapes and without a classifier: DINO's own heads are not looked at."""
    pair = [[place for place in places if word in place.words] for word in (first, second)]
    if any(len(found) != 1 for found in pair):
        return False
    for (place,) in pair:
        if has_classifier(place.inside, {short: place.tensors[name] for short, name in beside(place.prefix, place.tensors).items()}):
            return False
    shapes = [{name: value.shape for name, value in found[0].inside.items() if not _DINO.match(name)} for found in pair]
    return shapes[0] == shapes[1]


def _same(first: Place, second: Place) -> bool:
    """Whether two places hold the same names with the same values."""
    one, other = first.inside, second.inside
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def _listed(places: list[Place]) -> str:
    return " and ".join(place.name for place in places[:3]) + (f" and {len(places) - 3} more" if len(places) > 3 else "")
