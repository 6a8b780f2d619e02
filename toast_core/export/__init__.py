"""The compact model as a file for others to run: one file a format, each checked by running it again."""

from toast_core.export.formats import FORMATS
from toast_core.export.write import LARGEST_RELATIVE_DIFFERENCE, ExportRecord, export_model, open_exported

__all__ = ["FORMATS", "LARGEST_RELATIVE_DIFFERENCE", "ExportRecord", "export_model", "open_exported"]
