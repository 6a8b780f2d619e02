"""Which task a free worker takes next."""

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import Any


class TaskQueue:
    """Tasks in groups. A worker stays with its group, then begins a new one; where none is left it helps with the longest."""

    def __init__(self, tasks: Iterable[Any], group: Callable[[Any], Hashable]) -> None:
        self.group = group
        self.groups: dict[Hashable, deque] = {}
        self.begun: set[Hashable] = set()
        for task in tasks:
            self.groups.setdefault(group(task), deque()).append(task)

    def __len__(self) -> int:
        return sum(map(len, self.groups.values()))

    def take(self, own: Hashable = None) -> Any:
        """Remove and return the next task of a worker whose last task was of group `own`.

        Raises:
            IndexError: there is none left.
        """
        if own in self.groups:
            chosen = own
        else:
            fresh = next((key for key in self.groups if key not in self.begun), None)
            chosen = fresh if fresh is not None else max(self.groups, key=lambda key: len(self.groups[key]), default=None)
        if chosen is None:
            raise IndexError("no task is left")
        self.begun.add(chosen)
        task = self.groups[chosen].popleft()
        if not self.groups[chosen]:
            del self.groups[chosen]
        return task

    def put_back(self, task: Any) -> None:
        """Return a task that was not done; it goes first in its group."""
        key = self.group(task)
        self.groups.setdefault(key, deque()).appendleft(task)
        self.begun.discard(key)
