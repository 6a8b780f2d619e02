"""Reading `--executor local | ray[:HOST:PORT]`."""

from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec

from toast_core.errors import ExecutorError
from toast_core.executors.base import Executor
from toast_core.executors.connecting import check_address, prepare_environment
from toast_core.executors.local import Local


def open_executor(name: str, device: str = "auto", workers: int | None = None) -> AbstractContextManager[Executor]:
    """Return the executor by name, to be closed by the `with` that it is used in.

    Args:
        name: `local`; `ray` for worker processes on this machine; `ray:HOST:PORT` for a Ray cluster that this machine is part of.
        device: `auto`, `cpu` or `cuda`. Ray's workers ask for a GPU each on cuda; `auto` is cuda where the cluster has GPUs.
        workers: how many; None: one a GPU, or one a CPU core.

    Raises:
        ExecutorError: an unknown name, Ray is not installed or not reachable, or more workers than the cluster has GPUs or cores for.
    """
    kind, _, address = name.partition(":")
    if kind == "local" and not address:
        if workers is not None:
            raise ExecutorError(f"{workers} workers were asked for, but --executor local runs in this process; use --executor ray")
        return nullcontext(Local(device))
    host, _, port = address.rpartition(":")
    if kind != "ray" or (address and not (host and port.isdigit() and int(port) < 65536)) or name == "ray:":
        raise ExecutorError(f"unknown executor {name!r}; choose local, ray, or ray:HOST:PORT with the address of a running Ray cluster")
    if workers is not None and workers < 1:
        raise ExecutorError(f"workers is {workers}; write a whole number of at least 1")
    if find_spec("ray") is None:
        raise ExecutorError(f"--executor {name} needs Ray, which is not installed; install the extra: pip install 'toast-studio[scale]'")
    prepare_environment(address or None)
    if address:
        check_address(address)
    from toast_core.executors.ray_workers import RayWorkers

    return RayWorkers(address or None, device, workers)
