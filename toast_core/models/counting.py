"""A model's multiply-accumulates: from its shapes and schedule, and as PyTorch counts the operators of one forward."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from toast_core.cost.macs import count_cost
from toast_core.cost.shapes import ModelShape
from toast_core.models.info import get_info
from toast_core.schedule.schedule import Schedule


def count_macs(model: nn.Module | ModelShape, schedule: Schedule | None = None) -> int:
    """Return the multiply-accumulates of one image: under `schedule`, else under the schedule applied to the model, if any.

    Raises:
        ModelError: the model is not supported.
        ScheduleError: the schedule has another number of blocks.
    """
    if isinstance(model, ModelShape):
        return count_cost(model, schedule).macs
    info = get_info(model)
    return count_cost(info.shape, schedule or info.schedule).macs


def counted_macs(forward: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor) -> int:
    """Return the multiply-accumulates of one forward as PyTorch counts its operators; 0 where the forward runs outside of PyTorch.

    Attention runs as its two matrix products meanwhile: the count is the same, and not every PyTorch from 2.9 on counts the CPU's fused
    kernel.
    """
    # Gradients stay on: without them the counter's module hooks fail where a module is handed a parameter, as SigLIP's pooling does.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        forward(images)
    return counter.get_total_flops() // 2
