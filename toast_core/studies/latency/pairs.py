"""Throughput and latency of baseline and compact on the same inputs, in pairs: batch sizes, dtypes, eager or compiled."""

from collections.abc import Callable

import torch
from torch import nn

from toast_core.errors import DeviceError
from toast_core.machine import cast
from toast_core.models.info import get_info
from toast_core.studies.agreement.measure import Forward, pair_seconds
from toast_core.studies.agreement.result import Latencies

PAIRS = 100


def random_images(model: nn.Module, batch_size: int, seed: int = 0) -> torch.Tensor:
    """Seeded normal noise of the model's input shape, (B, C, H, W) in float32: the time of a forward does not depend on its values."""
    embed = model.patch_embed
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch_size, embed.proj.in_channels, *embed.img_size, generator=generator)


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
        name, reason = get_info(baseline).name, next(iter(str(error).splitlines()), type(error).__name__)[:120]
        how, advice = ("compiled ", "leave out --compile") if compiled else ("", "choose another dtype")
        raise DeviceError(f"{name} cannot run {how}in {dtype} on {device} ({reason}); {advice}") from error
