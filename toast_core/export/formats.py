"""The registry of formats, by name. A format is a file here and a line below, or an entry point of another package. Imports no torch."""

from typing import TYPE_CHECKING, Any

from toast_core.errors import ExportError
from toast_core.registry import Registry

if TYPE_CHECKING:
    from toast_core.export.base import Format

_PARTS = ("suffix", "takes_opset", "check", "write", "open")


def _made(found: Any) -> "Format":
    form = found()
    missing = [part for part in _PARTS if not hasattr(form, part)]
    if missing:
        raise TypeError(f"it lacks {', '.join(missing)}; a format has {', '.join(_PARTS)}")
    return form


FORMATS: "Registry[Format]" = Registry(
    "toast_studio.export_formats",
    "format",
    {
        "safetensors": "toast_core.export.weights:WeightsFormat",
        "torch_export": "toast_core.export.torch_export:TorchExportFormat",
        "onnx": "toast_core.export.onnx:OnnxFormat",
        "loader": "toast_core.export.loader:LoaderFormat",
    },
    ExportError,
    _made,
)
