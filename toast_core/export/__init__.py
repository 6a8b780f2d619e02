"""The compact model as a file for others to run: one file a format, each checked by running it again. torch comes with the first use."""

from importlib import import_module
from typing import TYPE_CHECKING

from toast_core.export.formats import FORMATS

if TYPE_CHECKING:
    from toast_core.export.write import LARGEST_RELATIVE_DIFFERENCE, ExportRecord, export_model, open_exported

__all__ = ["FORMATS", "LARGEST_RELATIVE_DIFFERENCE", "ExportRecord", "export_model", "open_exported"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'toast_core.export' has no attribute {name!r}")
    return getattr(import_module("toast_core.export.write"), name)
