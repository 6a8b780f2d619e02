"""Ray actors that hold the work. A dead worker's task runs again elsewhere; a result is taken once, by this process."""

import logging
import math
import sys
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from toast_core.errors import ExecutorError, ToastError
from toast_core.executors.base import Work
from toast_core.executors.connecting import connect
from toast_core.executors.queueing import TaskQueue
from toast_core.files import first_line

_LOG = logging.getLogger(__name__)
DEVICES = ("auto", "cpu", "cuda")
MOST_DEATHS = 3  # of workers under one task: then the task is what kills them
START_TIMEOUT_S = 120  # in which a first worker must have started, on a machine that may be busy


def _program() -> str:
    try:
        return version("toast-studio")
    except PackageNotFoundError:
        return "a checkout"


@ray.remote
class _Holder:
    """A worker process: holds the last work that it was given."""

    def __init__(self, device: str) -> None:
        self.device, self.key, self.work = device, None, None

    def program(self) -> str:
        """The version of the program on this node."""
        return _program()

    def run(self, key: int, held: list[ray.ObjectRef], task: Any) -> Any:
        """Run one task of the work behind a reference, which is fetched once for all its tasks."""
        if self.key != key:
            self.work = None  # two models need not fit at once
            self.work, self.key = ray.get(held[0]), key
            self.work.move(self.device)
        return self.work(task)


@dataclass(eq=False)
class _Worker:
    """One actor as this process sees it: the group of its last task, and the task that it is at."""

    actor: Any
    group: Hashable = None
    task: Any = None


@dataclass(eq=False)
class _Crew:
    """The workers by what they were last asked for: to say that they are there, or a task. Idle ones were asked for nothing."""

    starting: dict[ray.ObjectRef, _Worker] = field(default_factory=dict)
    running: dict[ray.ObjectRef, _Worker] = field(default_factory=dict)
    idle: list[_Worker] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.starting) + len(self.running) + len(self.idle)


class RayWorkers:
    """An executor whose tasks run on Ray actors, a core each, or on cuda a GPU each. A context manager: its end ends the workers."""

    in_order = False

    def __init__(self, address: str | None, device: str, workers: int | None) -> None:
        if device not in DEVICES:
            raise ExecutorError(f"device {device!r} is none that Ray workers can be asked for; choose from {', '.join(DEVICES)}")
        self.address = address
        self._deaths = 0
        self._crew, self._key, self._held = _Crew(), 0, None
        # Ray says on stdout that a worker died; a command's result belongs there, and nothing else
        self._quiet = redirect_stdout(sys.stderr)
        connect(address)
        try:
            self.device, self.workers = _room(address, device, workers)
        except ToastError:
            ray.shutdown()
            raise

    def __enter__(self) -> "RayWorkers":
        self._quiet.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        for worker in (*self._crew.starting.values(), *self._crew.running.values(), *self._crew.idle):
            ray.kill(worker.actor)
        self._crew = _Crew()
        ray.shutdown()
        self._quiet.__exit__(None, None, None)

    def map(self, work: Work, tasks: Sequence[Any], group: Callable[[Any], Hashable] = hash) -> Iterator[tuple[Any, Any]]:
        """Yield each task with its result as they end; see `Executor.map`.

        Raises:
            ExecutorError: no worker starts, or one task has lost several.
            ToastError: what the work raised.
        """
        if self._held is None or self._held[0] is not work:
            self._key, self._held = self._key + 1, (work, [ray.put(work)])
        queue, deaths, crew = TaskQueue(tasks, group), {}, self._crew
        for _ in range(min(self.workers, len(queue)) - len(crew)):
            self._start()
        try:
            while queue or crew.running:
                while queue and crew.idle:
                    self._give(crew.idle.pop(), queue)
                ended, _ = ray.wait([*crew.starting, *crew.running], timeout=None if crew.running else START_TIMEOUT_S)
                if not ended:
                    raise ExecutorError(
                        f"no worker started within {START_TIMEOUT_S} s on {_name(self.address)}; its {self.device} is taken: see ray status"
                    )
                if ended[0] in crew.starting:
                    self._started(ended[0])
                    continue
                worker = crew.running.pop(ended[0])
                try:
                    result = ray.get(ended[0])
                except RayTaskError as error:
                    crew.idle.append(worker)
                    raise error.cause from error
                except RayError as error:
                    deaths[id(worker.task)] = count = deaths.get(id(worker.task), 0) + 1
                    if count == MOST_DEATHS:
                        raise ExecutorError(
                            f"{count} workers died at the same task ({first_line(error)}); if their memory was full, "
                            "use a smaller --batch-size or --memory-gb"
                        ) from error
                    _LOG.warning("a worker died (%s); its task runs again on another", first_line(error))
                    queue.put_back(worker.task)
                    ray.kill(worker.actor)
                    self._start()
                    continue
                task, worker.task = worker.task, None
                crew.idle.append(worker)
                yield task, result
        finally:  # left early: what still runs is asked for by nobody
            for worker in crew.running.values():
                ray.kill(worker.actor)
            crew.running.clear()

    def _start(self) -> None:
        needs = {"num_cpus": 0, "num_gpus": 1} if self.device == "cuda" else {"num_cpus": 1}
        actor = _Holder.options(**needs, scheduling_strategy="SPREAD").remote(self.device)
        self._crew.starting[actor.program.remote()] = _Worker(actor)

    def _started(self, ref: ray.ObjectRef) -> None:
        worker = self._crew.starting.pop(ref)
        try:
            found = ray.get(ref)
        except RayError as error:
            self._deaths += 1
            if self._deaths >= MOST_DEATHS * self.workers:
                raise ExecutorError(
                    f"workers do not start on {_name(self.address)} ({first_line(error)}); install the same toast-studio on every node"
                ) from error
            self._start()
            return
        if found != _program():
            raise ExecutorError(
                f"a node of {_name(self.address)} has toast-studio {found}, this machine {_program()}; install the same on every node"
            )
        self._crew.idle.append(worker)

    def _give(self, worker: _Worker, queue: TaskQueue) -> None:
        worker.task = queue.take(worker.group)
        worker.group = queue.group(worker.task)
        self._crew.running[worker.actor.run.remote(self._key, self._held[1], worker.task)] = worker


def _room(address: str | None, device: str, workers: int | None) -> tuple[str, int]:
    """The device and the number of workers that the cluster has room for, from what was asked.

    Raises:
        ExecutorError: more were asked for than there are GPUs, or cores.
    """
    there = ray.cluster_resources()
    cores, gpus = math.floor(there.get("CPU", 0)), math.floor(there.get("GPU", 0))
    device = ("cuda" if gpus else "cpu") if device == "auto" else device
    most, what = (gpus, "GPU") if device == "cuda" else (cores, "core")
    if most < (workers or 1):
        asked = f"{workers} workers need a {what} each" if workers and workers > 1 else f"a worker needs a {what}"
        counted = f"{most} {what}{'' if most == 1 else 's'}"
        hint = f"ask for at most {most} with --workers" if most else "use --device cpu" if device == "cuda" else "add nodes to it"
        raise ExecutorError(f"{asked}, but {_name(address)} has {counted}; {hint}")
    return device, workers or most


def _name(address: str | None) -> str:
    return f"the Ray cluster at {address}" if address else "this machine"
