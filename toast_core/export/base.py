"""What a format is, and what every exported file says about the model inside."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from toast_core.data.transform import transform_for
from toast_core.models.info import get_info

Runner = Callable[[torch.Tensor], torch.Tensor]
METADATA_KEY = "toast"


class Format(Protocol):
    """One kind of file: how it is written, and how it is run again.

    suffix       what a file's name ends in, ".onnx"
    takes_opset  whether --opset is for this format
    """

    suffix: str
    takes_opset: bool

    def check(self, opset: int | None) -> None:
        """Raise an ExportError where this machine or this opset cannot serve; asked before any work."""

    def write(self, model: nn.Module, images: torch.Tensor, path: Path, opset: int | None) -> None:
        """Write the model at `path`, further files beside it; `images` (2, C, H, W) are an example of the input."""

    def open(self, path: Path) -> Runner:
        """Return what runs the file: images (B, C, H, W) in float32 -> logits (B, classes)."""


def describe(model: nn.Module) -> str:
    """Return JSON about a model: name, weights, execution, schedule, the transform that its images need, and its classes by output."""
    info = get_info(model)
    document = {
        "name": info.name,
        "weights": info.weights,
        "execution": info.execution,
        "schedule": info.schedule.to_dict() if info.schedule else None,
        "schedule_digest": info.schedule.digest() if info.schedule else None,
        "transform": transform_for(model).description,
        "classes": list(info.classes) if info.classes else None,
        "class_order": info.class_order,
    }
    return json.dumps(document)
