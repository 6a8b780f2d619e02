"""npz: the weights as NumPy arrays beside what is needed to build the model again; reading it needs no torch."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from toast_core.errors import ExportError
from toast_core.loading import load_model, unfilled
from toast_core.models.info import get_info
from toast_core.schedule.schedule import Schedule

DESCRIPTION = "toast"


class NpzFormat:
    """Every selection mode: the program is ToaSt's own."""

    suffix, takes_opset = ".npz", False

    def check(self, opset: int | None) -> None:
        """NumPy comes with ToaSt Studio, so nothing can be missing."""

    def write(self, model: nn.Module, images: torch.Tensor, path: Path, opset: int | None) -> None:
        """Write one array a tensor, and the model's name, sizes, execution and schedule as JSON text."""
        info = get_info(model)
        description = {
            "name": info.name,
            "num_classes": info.shape.num_classes,
            "img_size": info.shape.image_size,
            "execution": info.execution,
            "schedule": info.schedule.to_dict(),
        }
        arrays = {key: value.cpu().numpy() for key, value in model.state_dict().items()}
        np.savez(path, **arrays, **{DESCRIPTION: np.array(json.dumps(description))})

    def open(self, path: Path) -> Callable[[torch.Tensor], torch.Tensor]:
        """Build the model in the shapes of its schedule, fill it, and return it."""
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {key: file[key] for key in file.files}
            described = json.loads(str(arrays.pop(DESCRIPTION)))
            baseline = load_model(described["name"], "random", described["num_classes"], described["img_size"])
            model = unfilled(baseline, Schedule.from_dict(described["schedule"]), described["execution"])
            model.load_state_dict({key: torch.from_numpy(value) for key, value in arrays.items()})
        except (OSError, zipfile.BadZipFile, KeyError, ValueError, TypeError, RuntimeError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise ExportError(f"{path} is no export as NumPy arrays ({reason}); export it again") from error
        return model.eval()
