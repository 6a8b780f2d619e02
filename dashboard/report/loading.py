"""How a delivered file is loaded, in five lines; a test runs them."""

import re
from collections.abc import Sequence

from toast_core.studies.delivery.result import Delivered

_SIZE = re.compile(r"input_size=\((\d+), (\d+), (\d+)\)")
_TITLES = {
    "onnx": "ONNX Runtime (pip install onnxruntime)", "torch_export": "PyTorch alone", "loader": "PyTorch alone, with a loader",
    "safetensors": "ToaSt Studio (pip install toast-studio)",
}
_ORDER = tuple(_TITLES)


def input_size(transform: str) -> tuple[int, int, int]:
    """Channels, height and width of an input, as the description of its transform has them; timm's usual size where it has none."""
    found = _SIZE.search(transform)
    return (int(found[1]), int(found[2]), int(found[3])) if found else (3, 224, 224)


def ways_to_load(pruned: str, exports: Sequence[Delivered], transform: str, answers: bool) -> list[tuple[str, str]]:
    """For the pruned file and every export: what it needs, and five lines of Python that run it.

    Args:
        pruned: name of the .safetensors file.
        transform: how an image becomes input, in words.
        answers: whether the output has a class to choose.
    """
    size = input_size(transform)
    files = {"safetensors": pruned, **{one.format: one.path for one in exports}}
    return [(_TITLES[name], _lines(name, files[name], size, answers)) for name in _ORDER if name in files]


def _lines(form: str, file: str, size: tuple[int, int, int], answers: bool) -> str:
    shape = ", ".join(map(str, (1, *size)))
    tensor = f"images = torch.zeros({shape})  # yours, prepared as said below"
    said = "print(output.argmax(1))" if answers else "print(output.shape)"
    if form == "onnx":
        lines = (
            "import numpy, onnxruntime", f"model = onnxruntime.InferenceSession({file!r})",
            f'images = numpy.zeros(({shape}), "float32")  # yours, prepared as said below',
            'output = model.run(None, {"images": images})[0]', said,
        )
    elif form == "torch_export":
        lines = ("import torch", f"model = torch.export.load({file!r}).module()", tensor, "output = model(images)", said)
    elif form == "loader":
        lines = (f"import torch, {file.removesuffix('.py')} as pruned", "model = pruned.load()", tensor, "output = model(images)", said)
    else:
        load = f"model = load_model(weights={file!r})"
        lines = ("import torch; from toast_core import load_model", load, tensor, "output = model(images)", said)
    return "\n".join(lines)
