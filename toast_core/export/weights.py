"""safetensors: the weights with the schedule inside, for people who have this package; the file that `toast apply` writes."""

from pathlib import Path

import torch
from torch import nn

from toast_core.errors import ModelError
from toast_core.export.base import Runner
from toast_core.loading import load_model, read_header, save_model


class WeightsFormat:
    """Every selection mode: the program is this package's own."""

    suffix, takes_opset = ".safetensors", False

    def check(self, opset: int | None) -> None:
        """Accept any machine: safetensors comes with the package."""

    def write(self, model: nn.Module, images: torch.Tensor, path: Path, opset: int | None) -> None:
        """Write one file that `load_model` reads."""
        save_model(model, path)

    def open(self, path: Path) -> Runner:
        """Return the model that `load_model` builds from the file, on the CPU."""
        if read_header(path) is None:
            raise ModelError(f"{path} holds weights without a schedule; export it with toast export, or write it with toast apply")
        return load_model(weights=path)
