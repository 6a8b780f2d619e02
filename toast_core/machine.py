"""This machine: its devices and dtypes, its processor's name, and how PyTorch's CPU threads wait. torch comes with the first question."""

import copy
import ctypes
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

from toast_core.errors import DeviceError

if TYPE_CHECKING:
    import torch
    from torch import nn

DTYPES = ("float32", "bfloat16", "float16")
RUNTIME_BYTES = 800_000_000  # of a process: the interpreter with torch and timm; 760 MB were measured


def wait_asleep() -> None:
    """Let OpenMP threads sleep while they wait, unless the user's OMP_WAIT_POLICY says otherwise; to be asked for before torch is loaded.

    Spinning threads starve each other as soon as another program wants a core: a fit then takes several times as long
    (`python benchmarks/waiting.py`).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def is_alive(process: int) -> bool:
    """Whether there is a process of this id, one that has ended and was not waited for aside."""
    try:
        os.kill(process, 0)
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's, or a system without such files
        return True
    return state != "Z"


def give_back_memory() -> None:
    """Let the C library give freed memory back to the system, where it can: it may keep half a gigabyte of streams that are gone."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError, TypeError):  # another C library
        return


def memory_bytes() -> int:
    """Bytes of memory that this process may use: the machine's, or what its control group allows where that is less."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [whole]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limits.append(int(Path(path).read_text()))
        except (OSError, ValueError):  # there is no such group, or it has no limit
            continue
    return min(limits)


def pick_device(device: str = "auto") -> "torch.device":
    """Return the device by name; `auto` is the first of cuda, mps and cpu that is there.

    Raises:
        DeviceError: the device is unknown or not on this machine.
    """
    import torch

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


def dtype_named(name: str) -> "torch.dtype":
    """Return the dtype of that name.

    Raises:
        DeviceError: it is none of DTYPES.
    """
    import torch

    if name not in DTYPES:
        raise DeviceError(f"unknown dtype {name!r}; choose from {', '.join(DTYPES)}")
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def dtype_name(dtype: "torch.dtype") -> str:
    """Return a dtype's name without its module: float32; the inverse of `dtype_named`."""
    return str(dtype).removeprefix("torch.")


def cast(model: "nn.Module", dtype: str) -> "nn.Module":
    """Return the model in a dtype: itself where it already is, else a copy.

    Raises:
        DeviceError: an unknown dtype.
    """
    wanted = dtype_named(dtype)
    return model if next(model.parameters()).dtype == wanted else copy.deepcopy(model).to(wanted)


def processor_name(device: "torch.device") -> str:
    """What the device calls itself, for people to tell machines apart by."""
    if device.type == "cuda":
        import torch

        return torch.cuda.get_device_name(device)
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(errors="replace").splitlines() if facts.exists() else []
    named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return named or platform.processor() or platform.machine()
