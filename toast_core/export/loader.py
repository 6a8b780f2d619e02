"""loader: a torch.export program with a few lines of Python beside it, for people who have torch and nothing else of ours."""

import re
from importlib.abc import InspectLoader
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from toast_core.data.transform import transform_for
from toast_core.errors import ExportError
from toast_core.export.base import Runner
from toast_core.export.torch_export import TorchExportFormat, refuse_pickles
from toast_core.files import first_line, sha256_of
from toast_core.models.info import get_info

_TEXT = '''"""{title}

Needs torch and nothing else:

    from {module} import load
    logits = load()(images)  # {shape} float32 -> {logits}

Images: {transform}
"""

import hashlib
from pathlib import Path

import torch

PROGRAM = Path(__file__).with_name("{program}")
SHA256 = "{sha256}"


def load():
    """Return the model, once the program beside this file is found to be the one it was written with."""
    if hashlib.sha256(PROGRAM.read_bytes()).hexdigest() != SHA256:
        raise ValueError(f"{{PROGRAM}} is not the program that this loader was written with; copy both files again")
    return torch.export.load(PROGRAM).module()
'''


class LoaderFormat:
    """Every selection mode, as torch_export: FILE.py and, beside it, FILE.program.pt2."""

    suffix, takes_opset = ".py", False

    def check(self, opset: int | None) -> None:
        """Accept any machine: torch.export is part of torch."""

    def write(self, model: nn.Module, images: torch.Tensor, path: Path, opset: int | None) -> None:
        """Write the program, then the lines that load it."""
        program, info = path.with_suffix(".program.pt2"), get_info(model)
        if not path.stem.isidentifier():
            raise ExportError(f"{path.name} cannot be imported: {path.stem!r} is no Python name; choose letters, digits and underscores")
        TorchExportFormat().write(model, images, program, opset)
        title = f"{info.name}, {info.execution}, schedule {info.schedule.digest() if info.schedule else 'none'}."
        sizes = f"(B, {', '.join(str(size) for size in images.shape[1:])})"
        text = _TEXT.format(
            title=title, module=path.stem, shape=sizes, logits=f"(B, {info.shape.num_classes})",
            transform=transform_for(model).description, program=program.name, sha256=sha256_of(program),
        )
        path.write_text(text, encoding="utf-8")

    def open(self, path: Path) -> Runner:
        """Import the file and load what it names, once its lines are found to be those that `write` writes."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ExportError(f"{path} cannot be read as text ({first_line(error)}); name a file from toast export") from error
        code = _TEXT.partition("import hashlib")[2].format(program=path.with_suffix(".program.pt2").name, sha256=_sha256_in(text))
        head, _, rest = text.rpartition("\nimport hashlib")
        if rest != code or head.count('"""') != 2 or not (head.startswith('"""') and head.endswith('"""\n')):
            raise ExportError(f"{path} is not a loader as toast export writes it, so it is not run; export the model again")
        refuse_pickles(path.with_suffix(".program.pt2"))
        module = ModuleType(path.stem)
        module.__file__ = str(path)
        _TextLoader(text).exec_module(module)
        try:
            return module.load()
        except Exception as error:  # what torch raises for a damaged file is of no one kind
            raise ExportError(f"{path} does not load ({first_line(error)}); export it again") from error


class _TextLoader(InspectLoader):
    """Python's own way to import a file leaves bytecode beside it."""

    def __init__(self, text: str) -> None:
        self.text = text

    def get_source(self, fullname: str) -> str:
        """The lines that were checked."""
        return self.text


def _sha256_in(text: str) -> str:
    found = re.search(r'^SHA256 = "([0-9a-f]{64})"$', text, re.MULTILINE)
    return found[1] if found else ""
