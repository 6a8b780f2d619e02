"""A zero-shot classifier: embeddings of class names in place of the head of a CLIP or SigLIP tower, compared by cosine."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from torch.nn import functional as F

from toast_core.errors import ModelError
from toast_core.models.adapters import adapter_for
from toast_core.models.checkpoint.tensors import read_tensors
from toast_core.models.info import ModelInfo, get_info

_FORM = (
    "one float tensor (classes, width), their names as a JSON list under `classes` in the metadata, and where it is known a tensor "
    "logit_scale: the natural logarithm of what cosines are multiplied by, as CLIP and SigLIP keep it"
)
_LARGEST_SCALE = 1000.0  # CLIP stops at 100, SigLIP ends near 112: more is a scale where its logarithm should be
_SCALE_KEYS = ("logit_scale", "model.logit_scale")


@dataclass(frozen=True, eq=False)
class ClassEmbeddings:
    """What a file of class embeddings holds.

    vectors  (classes, width) float32, of any length
    names    by class, None where the file has none
    scale    what cosines are multiplied by to be logits; None where the file does not say
    """

    vectors: torch.Tensor
    names: tuple[str, ...] | None
    scale: float | None


class CosineHead(nn.Module):
    """Cosines of a tower's embedding with class embeddings, times the tower's logit scale: (B, D) -> (B, classes).

    projection  from pooled features to the embedding; an Identity where they are it
    """

    def __init__(self, projection: nn.Module, vectors: torch.Tensor, scale: float) -> None:
        super().__init__()
        self.projection = projection
        self.classes = nn.Parameter(F.normalize(vectors.float(), dim=1), requires_grad=False)
        self.scale = nn.Parameter(torch.tensor(float(scale)), requires_grad=False)

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.scale * F.linear(F.normalize(self.projection(pooled), dim=1), self.classes)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image."""
        projected = self.projection.weight.numel() if isinstance(self.projection, nn.Linear) else 0
        return projected + self.classes.numel()

    @property
    def tower_classes(self) -> int:
        """What the tower has for `num_classes` without this head: the width of its projection, 0 where it has none."""
        return int(self.projection.out_features) if isinstance(self.projection, nn.Linear) else 0


def read_class_embeddings(path: str | Path) -> ClassEmbeddings:
    """Read a .safetensors file of class embeddings.

    Raises:
        ModelError: it cannot be read, or has another form.
    """
    try:
        with safe_open(path, framework="pt") as file:
            state, said = {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"class embeddings {path} are no readable safetensors file ({error}); write {_FORM}") from error
    scale = _scale_in(state, path)
    matrices = {key: value for key, value in state.items() if value.ndim == 2 and value.is_floating_point() and value.numel()}
    if len(matrices) != 1:
        raise ModelError(f"class embeddings {path} hold {len(matrices)} float matrices, not 1; write {_FORM}")
    ((key, vectors),) = matrices.items()
    if not bool(torch.isfinite(vectors).all()) or bool((vectors.float().norm(dim=1) == 0).any()):
        raise ModelError(f"class embeddings {path} have a class in {key} that is zero or not finite; embed the class names again")
    return ClassEmbeddings(vectors.float(), _names_in(said, path, len(vectors)), scale)


def _names_in(said: Mapping[str, str], path: str | Path, count: int) -> tuple[str, ...] | None:
    """The class names of the metadata: a list of a name each, no name twice; None where there is none."""
    if "classes" not in said:
        return None
    try:
        names = json.loads(said["classes"])
    except (ValueError, RecursionError) as error:
        raise ModelError(f"class embeddings {path} have metadata `classes` that is no JSON list; write {_FORM}") from error
    if not isinstance(names, list):
        kind = "an object" if isinstance(names, dict) else "a text" if isinstance(names, str) else type(names).__name__
        raise ModelError(f"class embeddings {path} have metadata `classes` that is {kind}, no JSON list; write {_FORM}")
    if len(names) != count or not all(isinstance(name, str) for name in names):
        raise ModelError(f"class embeddings {path} name {len(names)} classes and embed {count}; write a name each")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ModelError(f"class embeddings {path} name the class {twice!r:.60} twice; write a name of its own for each row")
    return tuple(names)


def logit_scale_of(weights: str | Path | None) -> float | None:
    """The logit scale that a tower's own file holds; None where it holds none, or where no file is named."""
    if weights is None or not Path(weights).is_file():
        return None
    tensors = read_tensors(Path(weights))
    inside = (value for value in tensors.values() if isinstance(value, Mapping))
    return next((scale for state in (tensors, *inside) if (scale := _scale_in(state, weights)) is not None), None)


def _scale_in(state: Mapping[Any, Any], path: str | Path) -> float | None:
    """The scale whose logarithm a file holds.

    Raises:
        ModelError: the logarithm is of no number, or of one that no tower has.
    """
    for key in _SCALE_KEYS:
        value = state.get(key)
        if isinstance(value, torch.Tensor) and value.numel() == 1:
            logarithm = float(value.float().reshape(()))
            if not -math.inf < logarithm <= math.log(_LARGEST_SCALE):
                instead = f": write {math.log(logarithm):.4f} for a scale of {logarithm:g}" if 1 < logarithm <= _LARGEST_SCALE else ""
                raise ModelError(
                    f"{path} has {key} {logarithm:g}, beyond {math.log(_LARGEST_SCALE):.2f}; it is the natural logarithm of the scale"
                    f"{instead or ', so write that'}"
                )
            return math.exp(logarithm)
    return None


def with_class_embeddings(model: nn.Module, file: str | Path, weights: str | Path | None = None) -> nn.Module:
    """Turn a tower into a zero-shot classifier, in place, and return it; `weights` names the tower's own file, if any.

    Raises:
        ModelError: the file cannot be read, or its width is not that of the tower's embeddings.
    """
    found, info = read_class_embeddings(file), get_info(model)
    if info.execution != "baseline":
        raise ModelError(f"{info.name} is already pruned, its classifier with it; leave out --class-embeddings")
    scale = found.scale if found.scale is not None else logit_scale_of(weights)
    head = getattr(model, "head", None)
    if not isinstance(head, nn.Linear | nn.Identity):
        raise ModelError(f"{info.name} has a head of its own ({type(head).__name__}); class embeddings are for CLIP and SigLIP towers")
    classes, width = found.vectors.shape
    own = int(head.out_features if isinstance(head, nn.Linear) else model.num_features)  # type: ignore[arg-type]  # a number in timm
    if isinstance(head, nn.Linear) and info.classes is not None and not info.projection:
        raise ModelError(
            f"class embeddings {file} take the place of a tower's head, and that of {info.name} is a classifier of {own} named classes; "
            "leave out --class-embeddings, or use the weights of a CLIP or SigLIP tower"
        )
    if own != width:
        raise ModelError(f"class embeddings {file} are {width} wide, {_own_width(info, head, own)}")
    scaled = "logit scale not known, taken as 1: it changes loss and KL, not accuracy" if scale is None else f"logit scale {scale:g}"
    note = f"zero-shot: {classes} class embeddings of {Path(file).name}, cosines of width {width}, {scaled}"
    attach(model, found.vectors, 1.0 if scale is None else scale)
    changed = replace(get_info(model), classes=found.names, notes=(*info.notes, note), random_classifier=False, projection=False)
    model.toast_info = changed  # type: ignore[assignment]  # a module takes any attribute
    return model


def _own_width(info: ModelInfo, head: nn.Module, own: int) -> str:
    """What a model gives instead of embeddings of the file's width, and what to do."""
    embed = "embed the class names with the text tower of these weights"
    if not isinstance(head, nn.Linear):
        return f"the features of {info.name}, which has no projection, {own}; {embed}"
    if info.projection:
        return f"the projection of {info.name} gives {own}; {embed}"
    return f"the head of {info.name} gives {own}: of a tower's projection, {embed}; a classifier of {own} classes needs no class embeddings"


def attach(model: Any, vectors: torch.Tensor, scale: float) -> None:
    """Put a CosineHead behind the tower's projection, and let the model's info count it."""
    info, first = get_info(model), next(model.parameters())
    model.head = CosineHead(model.head, vectors, scale).to(first.device, first.dtype)
    model.num_classes = len(vectors)
    shape = adapter_for(model, info.name).shape(model, info.name)
    pooling = info.shape.head_macs - (model.head.macs - vectors.numel())
    model.toast_info = replace(info, shape=replace(shape, head_macs=pooling + model.head.macs))
