"""Things found by name: ours, and those that other installed packages add through an entry-point group. Imports no torch.

Names are known without importing anything. What a name stands for is imported when it is asked for, so that a help text, or a page that
checks a schedule, loads no torch, and a package that cannot be imported harms nobody who does not name it.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Generic, NamedTuple, TypeVar

from toast_core.errors import ToastError
from toast_core.files import first_line

Entry = TypeVar("Entry")


class Source(NamedTuple):
    """Where a name comes from: the package that adds it, and "module:object" or a module."""

    package: str
    target: str

    def __str__(self) -> str:
        return f"{self.package} ({self.target})"


class Registry(Mapping[str, Entry], Generic[Entry]):
    """Entries by name, ours first and in our order, then those of other packages by name.

    group  the entry-point group that others add to
    what   what an entry is called in messages: score, export format
    own    "module:object" by name
    error  raised for an unknown name, one that two packages add, and one that cannot be loaded
    make   turns the imported object into the entry; raises TypeError where the object is not what the group asks for
    """

    def __init__(
        self, group: str, what: str, own: Mapping[str, str], error: type[ToastError], make: Callable[[Any], Entry] = lambda found: found
    ) -> None:
        self.group, self.what, self.own, self._error, self._make = group, what, dict(own), error, make
        self._loaded: dict[Source, Entry] = {}

    def __iter__(self) -> Iterator[str]:
        yield from self.own
        yield from (name for name in _added(self.group, tuple(sys.path)) if name not in self.own)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        # our own names are found without reading the metadata of every installed package
        return name in self.own or name in _added(self.group, tuple(sys.path))

    def __getitem__(self, name: str) -> Entry:
        """Import the entry of that name, once a process.

        Raises:
            error: the name is unknown, two packages add it, or its package cannot be imported or does not hold such an entry.
        """
        sources = self.sources(name)
        if not sources:
            raise self._error(f"unknown {self.what} {name!r}; choose from {', '.join(self)}")
        if len(sources) > 1:
            both = " and ".join(map(str, sources))
            raise self._error(f"{self.what} {name!r} is added twice, by {both}; uninstall one of them")
        if sources[0] not in self._loaded:
            self._loaded[sources[0]] = self._load(name, sources[0])
        return self._loaded[sources[0]]

    def sources(self, name: str) -> tuple[Source, ...]:
        """Who adds this name: nobody, one package, or several, which is an error when it is asked for; who names the same place is one."""
        own = (Source("toast-studio", self.own[name]),) if name in self.own else ()
        found: dict[str, Source] = {}
        for source in (*own, *_added(self.group, tuple(sys.path)).get(name, ())):
            found.setdefault(source.target, source)
        return tuple(found.values())

    def working(self) -> tuple[dict[str, Entry], tuple[str, ...]]:
        """Return every entry that can be loaded, by name, and one line for each that cannot, which must not break the others."""
        entries, failures = {}, []
        for name in self:
            try:
                entries[name] = self[name]
            except self._error as error:
                failures.append(str(error))
        return entries, tuple(failures)

    def _load(self, name: str, source: Source) -> Entry:
        module, _, attributes = source.target.partition(":")
        try:
            found = import_module(module)
            for attribute in filter(None, attributes.split(".")):
                found = getattr(found, attribute)
            return self._make(found)
        except Exception as error:  # another package's import may fail in any way
            raise self._error(
                f"{self.what} {name!r} cannot be loaded from {source}, entry point of {self.group}: "
                f"{type(error).__name__}: {first_line(error, 300)}; repair or uninstall {source.package}"
            ) from error


@cache
def _added(group: str, path: tuple[str, ...]) -> dict[str, tuple[Source, ...]]:
    """Entries of other packages by name; read once for each `sys.path`, since reading takes tens of milliseconds."""
    found: dict[str, set[Source]] = {}
    for point in entry_points(group=group):
        package = point.dist.name if point.dist is not None else "a package without a name"
        found.setdefault(point.name, set()).add(Source(package, point.value.replace(" ", "")))
    return {name: tuple(sorted(found[name])) for name in sorted(found)}
