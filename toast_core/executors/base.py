"""What work is, and what an executor does with it."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, Protocol


class Work(Protocol):
    """A model and whatever else tasks share, ready to be sent elsewhere; called with one task after the other.

    A call depends on nothing but the task: what earlier calls left behind may save time only.
    """

    def __call__(self, task: Any, /) -> Any:
        """Run one task, on the device moved to last, and return its result."""

    def move(self, device: str) -> None:
        """Move to a device; called once, in a worker, before the first task."""


class Executor(Protocol):
    """Runs tasks of one work.

    device    where tasks run, as torch names it
    workers   how many tasks run at once
    in_order  whether tasks run in this process in the order given, so that work may read ahead and skip as it goes
    """

    @property
    def device(self) -> str: ...
    @property
    def workers(self) -> int: ...
    @property
    def in_order(self) -> bool: ...

    def map(self, work: Work, tasks: Sequence[Any], group: Callable[[Any], Hashable] = hash) -> Iterator[tuple[Any, Any]]:
        """Yield each task with its result, each task once, in the order in which they end.

        Args:
            group: tasks of one group share preparation, so that one worker should take them in turn.

        Raises:
            ToastError: what the work raised, or the workers are gone.
        """
