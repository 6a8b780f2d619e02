"""Accuracy and loss of a model on images."""

import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from toast_core.data.load import ImageData
from toast_core.errors import DataError, DeviceError
from toast_core.models.info import get_info
from toast_core.results import OUTCOME_NAMES, Evaluation, Outcomes
from toast_core.schedule.cost import count_cost

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def pick_device(device: str = "auto") -> torch.device:
    """Return the device by name; `auto` is the first of cuda, mps and cpu that is there.

    Raises:
        DeviceError: the device is unknown or not on this machine.
    """
    there = [
        name for name, found in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available()), ("cpu", True)) if found
    ]
    if device == "auto":
        return torch.device(there[0])
    try:
        chosen = torch.device(device)
        if chosen.type not in there or (chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count()):
            raise RuntimeError
    except RuntimeError:
        raise DeviceError(f"device {device!r} is not on this machine; choose from {', '.join(there)}") from None
    return chosen


def cast(model: nn.Module, dtype: str) -> nn.Module:
    """Return the model in a dtype: itself where it already is, else a copy.

    Raises:
        DeviceError: an unknown dtype.
    """
    if dtype not in DTYPES:
        raise DeviceError(f"unknown dtype {dtype!r}; choose from {', '.join(DTYPES)}")
    return model if next(model.parameters()).dtype == DTYPES[dtype] else copy.deepcopy(model).to(DTYPES[dtype])


def outcomes_of(logits: torch.Tensor, labels: torch.Tensor, index: np.ndarray) -> Outcomes:
    """Reduce logits (B, classes) to per-image outcomes."""
    logits, labels = logits.detach().float().cpu(), labels.cpu()
    top = logits.topk(min(5, logits.shape[1]), dim=1).indices
    loss = F.cross_entropy(logits.double(), labels, reduction="none")
    hits = (top == labels.unsqueeze(1)).any(dim=1)
    return Outcomes(index, labels.numpy(), top[:, 0].numpy(), hits.numpy(), loss.numpy(), margins(logits.double(), labels).numpy())


def margins(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The label's logit less the largest other logit, (B, classes) -> (B,); zero where there is one class only."""
    if logits.shape[1] == 1:
        return torch.zeros_like(logits[:, 0])
    own = logits.gather(1, labels.unsqueeze(1))
    others = logits.scatter(1, labels.unsqueeze(1), -torch.inf)
    return (own - others.amax(1, keepdim=True)).squeeze(1)


def join_outcomes(parts: list[Outcomes]) -> Outcomes:
    """Put the outcomes of several batches together."""
    return Outcomes(*(np.concatenate([getattr(part, name) for part in parts]) for name in OUTCOME_NAMES))


def evaluate(
    model: nn.Module,
    data: ImageData,
    batch_size: int = 64,
    dtype: str = "float32",
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Run every image of `data` through `model`, on the device it is on, and return the per-image outcomes with their summary.

    `progress` is called after each batch with the images done and all images.

    Raises:
        DataError: no image could be read.
        DeviceError: an unknown dtype, or the device ran out of memory.
    """
    info = get_info(model)
    if info.weights == "none":
        raise DataError(f"{info.name} was loaded without weights, for counting only; load it with weights to evaluate")
    was_training, model = model.training, cast(model, dtype)
    model.eval()
    parameter = next(model.parameters())
    parts, done = [], 0
    try:
        with torch.inference_mode():
            for batch in data.batches(batch_size):
                parts.append(outcomes_of(model(batch.images.to(parameter.device, parameter.dtype)), batch.labels, batch.index))
                done += len(batch.index)
                if progress:
                    progress(done, len(data))
    except torch.OutOfMemoryError as error:
        raise DeviceError(
            f"{parameter.device} ran out of memory at batch size {batch_size}; use --batch-size {max(1, batch_size // 2)}"
        ) from error
    finally:
        model.train(was_training)
    if not parts:
        raise DataError(f"none of the {len(data)} images of {data.source.name} could be read; first {data.skipped[0]}")
    return Evaluation(
        join_outcomes(parts),
        data.order,
        batch_size,
        info.schedule.selection if info.schedule else None,
        info.execution,
        data.seed,
        dtype,
        str(parameter.device),
        count_cost(info.shape, info.schedule).macs,
        tuple(data.skipped),
    )
