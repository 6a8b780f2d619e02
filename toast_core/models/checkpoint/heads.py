"""A classifier of one's own: in a Sequential, or beside the backbone that it was trained on; and heads that timm's models lack."""

import re
from collections.abc import Mapping

import torch

_STEMS = ("head", "classifier", "fc")
_PRETRAINING = re.compile(r"head\.(mlp|last_layer)\b.*")  # DINO's and iBOT's
_INSIDE = re.compile(r"head\.(fc\.)?\d+\..*")
_COUNTED = re.compile(r"(.*\.)?num_batches_tracked")

Tensors = dict[str, torch.Tensor]


def has_classifier(inside: Mapping[str, torch.Tensor], beside: Mapping[str, torch.Tensor]) -> bool:
    """Whether a model has a classifier below its place, or beside it."""
    names = r"(head|head\.fc|heads\.(head|0)|fc|(cls_)?classifier)(\.\d+)?\.weight"
    return any(re.fullmatch(names, name) and value.ndim == 2 for name, value in [*inside.items(), *beside.items()])


def beside(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """The heads of whatever holds the model at `prefix`, the nearest holder first: their names there -> their names in the file."""
    parent = prefix
    while parent:
        parent = parent[: parent.rstrip(".").rfind(".") + 1]
        found = {
            name.removeprefix(parent): name for name in tensors if name.startswith(tuple(f"{parent}{stem}." for stem in _STEMS))
        }
        found = {short: name for short, name in found.items() if not _PRETRAINING.fullmatch(short) and not name.startswith(prefix)}
        if found:
            return found
    return {}


def own_heads(state: Mapping[str, torch.Tensor]) -> Tensors:
    """The tensors of a model in timm's names that are a Sequential where timm has its classifier."""
    return {name: value for name, value in state.items() if _INSIDE.fullmatch(name)}


def plain_linear(heads: Mapping[str, torch.Tensor], width: int) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Weight and bias of the one linear layer that these tensors are and that reads `width` numbers; None where they are more, or other."""
    heads = {name: value for name, value in heads.items() if not _COUNTED.fullmatch(name)}
    layers = {name.rpartition(".")[0] for name in heads}
    kinds = {name.rpartition(".")[2]: value for name, value in heads.items()}
    weight = kinds.get("weight")
    if len(layers) != 1 or not kinds.keys() <= {"weight", "bias"} or weight is None or weight.ndim != 2 or weight.shape[1] != width:
        return None
    if not re.fullmatch(rf"({'|'.join(_STEMS)})(\.fc)?(\.\d+)?", next(iter(layers))):
        return None
    bias = kinds.get("bias", weight.new_zeros(len(weight)))
    return (weight, bias) if bias.shape == weight.shape[:1] else None


def width_of(state: Mapping[str, torch.Tensor]) -> int:
    """How many numbers a classifier of this model reads: as many as its last norm gives."""
    norm = next((state[name] for name in ("fc_norm.weight", "norm.weight") if name in state), None)
    return len(norm) if norm is not None and norm.ndim == 1 else 0


def lacked(names: list[str]) -> str:
    """What to say of a head that timm's model does not have: its tensors, the first three by name."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"has a head that timm's model lacks ({', '.join(names[:3])}{more})"
