"""onnx: a graph for ONNX Runtime and other engines, with any batch size. Needs the extra `onnx`."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from toast_core.errors import ExportError
from toast_core.export.base import METADATA_KEY, Runner, describe
from toast_core.export.torch_export import trace
from toast_core.files import first_line
from toast_core.models.info import get_info

OLDEST_OPSET, NEWEST_OPSET = 18, 23  # torch.onnx converts up to 23; beyond, ONNX Runtime refuses what it makes
INPUT, OUTPUT = "images", "logits"
_NEEDS = ("onnx", "onnxscript", "onnxruntime")


class OnnxFormat:
    """Calibrated and dynamic selection: a stable sort is ONNX's TopK, whose equal values keep their order."""

    suffix, takes_opset = ".onnx", True

    def check(self, opset: int | None) -> None:
        """Raise an ExportError without the extra, or with an opset that the exporter or ONNX Runtime does not know."""
        require_extra()
        if opset is not None and not OLDEST_OPSET <= opset <= NEWEST_OPSET:
            raise ExportError(f"opset {opset} is not supported; choose one from {OLDEST_OPSET} to {NEWEST_OPSET}, or leave out --opset")

    def write(self, model: nn.Module, images: torch.Tensor, path: Path, opset: int | None) -> None:
        """Write one file, with the weights of a model of 2 GB or more in another one beside it."""
        program, wanted = trace(model, images), opset or OLDEST_OPSET
        try:
            with _quiet():
                made = torch.onnx.export(
                    program, (images,), dynamo=True, opset_version=wanted, verbose=False, input_names=[INPUT], output_names=[OUTPUT],
                    dynamic_shapes=({0: torch.export.Dim("batch")},), custom_translation_table=_translations(),
                )
        except Exception as error:  # the exporter has many kinds of errors for this, and no root of their own
            raise ExportError(f"{get_info(model).name} cannot become ONNX: {_reason(error)}; choose --format torch_export") from error
        made.model.metadata_props[METADATA_KEY] = describe(model)
        made.save(path)

    def open(self, path: Path) -> Runner:
        """Return an ONNX Runtime session on the CPU as a function."""
        require_extra()
        import onnxruntime

        try:
            session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no root of their own
            raise ExportError(f"{path} is no model that ONNX Runtime can load ({first_line(error)}); export it again") from error
        name = session.get_inputs()[0].name
        return lambda images: torch.from_numpy(session.run(None, {name: images.numpy()})[0])


def require_extra() -> None:
    """Raise an ExportError where a package of the extra is missing."""
    missing = [name for name in _NEEDS if find_spec(name) is None]
    if missing:
        raise ExportError(f"ONNX needs {', '.join(missing)}, not installed here; install the extra: pip install 'toast-studio[onnx]'")


def _translations() -> dict[Any, Any]:
    """What torch's exporter has no translation for: the stable sort of dynamic selection."""
    from onnxscript import opset18 as op

    def stable_sort(x: Any, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Any:
        length = op.Gather(op.Shape(x), op.Constant(value_ints=[dim]))
        return op.TopK(x, length, axis=dim, largest=int(descending), sorted=1)

    return {torch.ops.aten.sort.stable: stable_sort}


def _reason(error: Exception) -> str:
    """The exporter's own sentence, which stands in the cause of the cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints its steps and warns about its own code; neither is about the model."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
