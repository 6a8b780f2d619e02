"""Throughput and latency of baseline and compact on the same inputs, in pairs: batch sizes, dtypes, eager or compiled."""

import time
from collections.abc import Callable

import torch
from torch import nn

from toast_core.errors import DeviceError
from toast_core.files import first_line
from toast_core.machine import cast
from toast_core.models.info import get_info
from toast_core.studies.latency.result import Latencies, Timing

PAIRS = 100
_LEAST_PAIRS = 5
_WARM_UP = 3
_LIMIT_S = 20.0
Forward = Callable[[torch.Tensor], torch.Tensor]


def time_models(
    baseline: nn.Module, compact: Forward, images: torch.Tensor, dtype: str = "float32", compiled: bool = False, pairs: int = PAIRS,
    progress: Callable[[int], object] = lambda done: None,
) -> Latencies:
    """Time both models on the same batch in interleaved pairs; slow models are timed less often than `pairs`.

    Args:
        compact: what is no module runs in its own dtype.
        images: (B, C, H, W), any values.
        compiled: both models go through torch.compile first; what that takes is not counted.
        progress: is told the pairs done.

    Raises:
        DeviceError: an unknown dtype, one that the device cannot run, a compiler that is missing or fails, or too little memory.
    """
    device, size = next(baseline.parameters()).device, len(images)
    models = [cast(model, dtype) if isinstance(model, nn.Module) else model for model in (baseline, compact)]
    try:
        if compiled:
            torch.compiler.reset()
            models = [torch.compile(model, dynamic=False) for model in models]
        return Latencies.of(dtype, compiled, size, pair_seconds(*models, images, pairs, progress=progress))
    except torch.OutOfMemoryError as error:
        raise DeviceError(f"{device} ran out of memory with {size} images at once; choose smaller batch sizes") from error
    except (RuntimeError, NotImplementedError) as error:
        name, reason = get_info(baseline).name, first_line(error, 120)
        how, advice = ("compiled ", "leave out --compile") if compiled else ("", "choose another dtype")
        raise DeviceError(f"{name} cannot run {how}in {dtype} on {device} ({reason}); {advice}") from error


def time_pairs(
    baseline: nn.Module, compact: nn.Module, images: torch.Tensor, most: int, clock: Callable[[], float] = time.perf_counter,
    progress: Callable[[int], object] = lambda pairs: None,
) -> Timing:
    """The timing of both models on the same images, in at most `most` pairs; see `pair_seconds`."""
    return Timing.of(len(images), pair_seconds(baseline, compact, images, most, clock, progress))


def pair_seconds(
    baseline: nn.Module, compact: Forward, images: torch.Tensor, most: int, clock: Callable[[], float] = time.perf_counter,
    progress: Callable[[int], object] = lambda pairs: None,
) -> list[tuple[float, float]]:
    """Return the seconds of both models on the same images, `most` times, alternating which goes first: what slows the machine slows both.

    Slow models are timed less often, from `_LEAST_PAIRS` on, once `_LIMIT_S` seconds have passed. `progress` is told the pairs done.
    """
    parameter = next(baseline.parameters())
    images = images.to(parameter.device, parameter.dtype)
    for _ in range(_WARM_UP):
        for model in (baseline, compact):
            forward_seconds(model, images, clock)
    pairs: list[tuple[float, float]] = []
    start = clock()
    while len(pairs) < most and (len(pairs) < _LEAST_PAIRS or clock() - start < _LIMIT_S):
        first, second = (baseline, compact) if len(pairs) % 2 == 0 else (compact, baseline)
        took = {id(first): forward_seconds(first, images, clock), id(second): forward_seconds(second, images, clock)}
        pairs.append((took[id(baseline)], took[id(compact)]))
        progress(len(pairs))
    return pairs


def forward_seconds(
    model: Callable[[torch.Tensor], object], images: torch.Tensor, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Seconds of one forward, what the device does after the call included."""
    _finish(images.device)
    before = clock()
    with torch.inference_mode():
        model(images)
    _finish(images.device)
    return clock() - before


def _finish(device: torch.device) -> None:
    """Wait for what an accelerator still does: its calls return before they are done."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
