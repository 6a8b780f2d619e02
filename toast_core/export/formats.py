"""The registry of formats. A new format is a file here and a line in FORMATS."""

from types import MappingProxyType

from toast_core.export.base import Format
from toast_core.export.loader import LoaderFormat
from toast_core.export.onnx import OnnxFormat
from toast_core.export.torch_export import TorchExportFormat
from toast_core.export.weights import WeightsFormat

FORMATS: MappingProxyType[str, Format] = MappingProxyType(
    {form.name: form for form in (WeightsFormat(), TorchExportFormat(), OnnxFormat(), LoaderFormat())}
)
