"""What commands print: one JSON document or tables on stdout, progress and notes on stderr."""

import json
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from toast_core.files import printable_values

if TYPE_CHECKING:
    from toast_core.data.load import ImageData


class Bar:
    """A progress bar on stderr, on a terminal only; calling what `with` gives moves it.

    With `with_note`, that takes a third value, a text, which stands behind the bar in place of the time left.
    """

    def __init__(self, what: str, with_note: bool = False) -> None:
        self.what, self.with_note = what, with_note

    def __enter__(self) -> Callable[..., None]:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        last = TextColumn("{task.fields[note]}") if self.with_note else TimeRemainingColumn()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), last)
        self.progress = Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
        self.progress.start()
        task = self.progress.add_task(self.what, note="")
        return lambda done, total, note="": self.progress.update(task, completed=done, total=total, note=note)

    def __exit__(self, *_: object) -> None:
        self.progress.stop()


def show_steps(what: str, done: int, total: int) -> None:
    """A workbench's report on a terminal: calibration and compensation as one line that overwrites itself and is gone at the end."""
    if sys.stderr.isatty():
        line = f"{what} {done} of {total}"
        print(f"\r{line}" if done < total else f"\r{' ' * len(line)}\r", end="", file=sys.stderr, flush=True)


def note(lines: Iterable[str]) -> None:
    """Say on stderr what was not done as asked, a line each."""
    for line in lines:
        print(f"toast: {line}", file=sys.stderr)


def told_of(data: "ImageData | None", notes: Iterable[str]) -> dict[str, object]:
    """What stands beside figures in JSON: how images became input, which output each class is, and what was guessed or left aside."""
    about = {} if data is None else {"transform": data.transform.description, "class_to_index": data.source.class_to_index}
    return {**about, "notes": list(notes)}


def print_json(document: object) -> None:
    """Print one JSON document on stdout."""
    print(json.dumps(printable_values(document), indent=1, allow_nan=False))


def print_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table on stdout, the first column to the left."""
    from rich.console import Console
    from rich.table import Table

    print(title)
    table = Table()
    for position, column in enumerate(columns):
        table.add_column(column, justify="left" if position == 0 else "right")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
