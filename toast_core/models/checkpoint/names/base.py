"""What a naming is: how one library names a vision transformer's tensors, and how they become timm's."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import torch

from toast_core.errors import ModelError

Tensors = dict[str, torch.Tensor]
Rule = tuple[str, str | None]  # a pattern of a whole name, and timm's name for it; None leaves the tensor aside


@dataclass(frozen=True)
class Conversion:
    """A state dict in timm's names, the names of the file that were left aside, and what has to be said.

    other_head  "has a head that ..." where the file has a classifier that timm's model cannot have, so that it was left aside
    projection  whether the head is CLIP's projection to the space that texts share, and no classifier
    """

    state: Tensors
    aside: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    other_head: str = ""
    projection: bool = False


@dataclass(frozen=True)
class Naming:
    """How one library names a model's tensors.

    title     for messages: "these are {title}"
    landmark  the last words of a name that every such model has once; what stands before it is the model's place in the file
    signs     patterns of names below that place of which each must be found
    convert   (tensors below the place, heads beside it) -> Conversion
    heads     pattern of names that belong to the model but stand beside its place
    """

    title: str
    landmark: str
    signs: tuple[str, ...]
    convert: Callable[[Tensors, Tensors], Conversion]
    heads: str = field(default=r"(?!)")

    def places(self, names: Iterable[str]) -> list[str]:
        """Return the prefixes under which such a model stands among these names, in order."""
        listed = list(names)
        found = []
        for name in listed:
            prefix = name.removesuffix(self.landmark)
            if prefix == name or (prefix and not prefix.endswith(".")):
                continue
            below = [other.removeprefix(prefix) for other in listed if other.startswith(prefix)]
            if all(any(re.match(sign, other) for other in below) for sign in self.signs):
                found.append(prefix)
        return found


def renamed(tensors: Mapping[str, torch.Tensor], rules: Iterable[Rule], title: str) -> tuple[Tensors, tuple[str, ...]]:
    """Return the tensors under timm's names, and the names that a rule leaves aside; q, k and v of a block become one tensor.

    Raises:
        ModelError: a name that no rule knows, or a block whose q, k and v are not all there.
    """
    compiled = [(re.compile(pattern), name) for pattern, name in rules]
    state: Tensors = {}
    aside = []
    for old, value in tensors.items():
        found, name = next(((match, name) for pattern, name in compiled if (match := pattern.fullmatch(old))), (None, None))
        if found is None:
            raise ModelError(f"these are {title}, but {old} belongs to another model or a variant that is not read")
        if name is None:
            aside.append(old)
        else:
            state[found.expand(name)] = value
    return _fused(state, title), tuple(aside)


def _fused(state: Tensors, title: str) -> Tensors:
    """Join `X.qkv.q.weight`, `X.qkv.k.weight` and `X.qkv.v.weight` to `X.qkv.weight`."""
    whole: Tensors = {}
    for name, value in state.items():
        match = re.fullmatch(r"(.*\.qkv)\.([qkv])\.(weight|bias)", name)
        if match is None:
            whole[name] = value
            continue
        stem, _, kind = match.groups()
        if f"{stem}.{kind}" in whole:
            continue
        parts = [state.get(f"{stem}.{letter}.{kind}") for letter in "qkv"]
        if any(part is None for part in parts):
            raise ModelError(f"these are {title}, but {stem} has not all of the {kind}s of q, k and v")
        whole[f"{stem}.{kind}"] = torch.cat([part for part in parts if part is not None])
    return whole


def check_shape(state: Mapping[str, torch.Tensor], name: str, dimensions: int) -> None:
    """Raise a ModelError unless the tensor is there and has so many dimensions, before it is taken apart."""
    value = state.get(name)
    if value is None or value.ndim != dimensions:
        raise ModelError(f"{name} is {'missing' if value is None else f'of shape {tuple(value.shape)}'}; use a whole checkpoint")
