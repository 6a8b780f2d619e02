"""torch_export: a program that PyTorch runs without this package and without timm."""

import io
import json
import zipfile
from pathlib import Path

import torch
from torch import nn

from toast_core.errors import ExportError
from toast_core.export.base import METADATA_KEY, Runner, describe
from toast_core.files import first_line
from toast_core.models.info import get_info


class TorchExportFormat:
    """Every selection mode: the program holds sorting and gathering as they are."""

    suffix, takes_opset = ".pt2", False

    def check(self, opset: int | None) -> None:
        """Accept any machine: torch.export is part of torch."""

    def write(self, model: nn.Module, images: torch.Tensor, path: Path, opset: int | None) -> None:
        """Write one file that `torch.export.load` reads; the model's description is in it as extra/toast."""
        whole = io.BytesIO()  # torch's own writer reports a full disk as an internal error
        torch.export.save(trace(model, images), whole, extra_files={METADATA_KEY: describe(model)})
        path.write_bytes(whole.getbuffer())

    def open(self, path: Path) -> Runner:
        """Return the program as a module."""
        refuse_pickles(path)
        try:
            return torch.export.load(path).module()
        except Exception as error:  # what torch raises for a damaged file is of no one kind
            raise ExportError(f"{path} is not a program that torch.export can load ({first_line(error)}); export it again") from error


def trace(model: nn.Module, images: torch.Tensor) -> torch.export.ExportedProgram:
    """Return the model as a program for any batch size.

    Raises:
        ExportError: the model holds an operation that torch.export cannot follow.
    """
    try:
        with torch.no_grad():
            program = torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    except Exception as error:  # torch.export has a dozen kinds of errors for this, and no root of their own
        raise ExportError(
            f"{get_info(model).name} cannot become a program: torch.export says {first_line(error)}; choose --format safetensors"
        ) from error
    program.example_inputs = None  # they would be pickled into the file
    return program


def refuse_pickles(path: Path) -> None:
    """Raise an ExportError where torch would unpickle a part of the file; what `write` wrote holds plain tensors only.

    A program is still a program: what it computes is up to whoever wrote it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            configs = [json.loads(archive.read(name))["config"] for name in names if name.endswith("_config.json")]
            samples = [item.filename for item in archive.infolist() if "/sample_inputs/" in item.filename and item.file_size]
        stored = [entry for config in configs for entry in config.values()]
        pickled = samples or len(set(names)) < len(names) or any(
            entry["use_pickle"] or not entry["path_name"].startswith(("weight_", "tensor_")) for entry in stored
        )
    except OSError as error:
        raise ExportError(f"{path} cannot be read ({error.strerror}); name a file from toast export") from error
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, AttributeError) as error:
        raise ExportError(f"{path} is not a program that torch.export can load ({first_line(error)}); export it again") from error
    if pickled:
        raise ExportError(f"{path} holds pickled parts, which can run anything when they are loaded; export the model with toast export")
