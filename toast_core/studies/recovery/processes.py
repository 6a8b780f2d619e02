"""One process, or several that torchrun started: who does which part, and sums over all of them."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import distributed

from toast_core.errors import DeviceError
from toast_core.machine import pick_device

_NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


@dataclass(frozen=True)
class World:
    """This process among all: its rank in [0, size) and its device."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def sums(self, values: list[float]) -> list[float]:
        """Each value added up over all processes; all of them must call."""
        if self.size == 1:
            return values
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(total)
        return total.tolist()


def device_of_rank(device: str, environment: Mapping[str, str]) -> torch.device:
    """The device of this process: with CUDA, torchrun's local rank picks the GPU.

    Raises:
        DeviceError: the device is not on this machine, or torchrun started more processes here than there are GPUs.
    """
    local, here = (int(environment.get(name, default)) for name, default in (("LOCAL_RANK", "0"), ("LOCAL_WORLD_SIZE", "1")))
    kind = device.partition(":")[0]
    if here > 1 and ":" in device:
        raise DeviceError(f"device {device!r} names one device for {here} processes; write {kind}, and each takes its own")
    gpus = torch.cuda.device_count()
    if here > 1 and (kind == "cuda" or (device == "auto" and gpus)) and here > gpus:
        raise DeviceError(
            f"torchrun started {here} processes on this machine, which has {gpus} GPUs; "
            f"use --nproc-per-node {max(gpus, 1)}, or --device cpu"
        )
    chosen = pick_device(device)
    return torch.device("cuda", local) if here > 1 and chosen.type == "cuda" else chosen


@contextmanager
def process_group(device: str) -> Iterator[World]:
    """Join the processes that torchrun describes in the environment while open, and give this one's `World`; without torchrun, it is alone.

    Raises:
        DeviceError: as `device_of_rank`.
    """
    where = device_of_rank(device, os.environ)
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or not all(name in os.environ for name in _NAMES):
        yield World(device=where)
        return
    if where.type == "cuda":
        torch.cuda.set_device(where)
    distributed.init_process_group("nccl" if where.type == "cuda" else "gloo")
    try:
        yield World(distributed.get_rank(), size, where)
    finally:
        distributed.destroy_process_group()
