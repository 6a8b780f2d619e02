"""The executor without workers: tasks run one after another in this process."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from toast_core.executors.base import Work


@dataclass(frozen=True)
class Local:
    """Runs tasks one after the other, in the order given, on the device that the work is on."""

    device: str = "auto"
    workers: int = 1
    in_order: bool = True

    def map(self, work: Work, tasks: Sequence[Any], group: Callable[[Any], Hashable] = hash) -> Iterator[tuple[Any, Any]]:
        """Yield each task with its result, in the order given."""
        for task in tasks:
            yield task, work(task)


LOCAL = Local()
