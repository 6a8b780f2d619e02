"""What commands print: one JSON document or tables on stdout, progress and notes on stderr."""

import json
import sys
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from toast_core.files import printable_values

if TYPE_CHECKING:
    from toast_core.data.load import ImageData


_MINUTE_S = 60
_LOG_S = 10  # seconds between two lines of a log at least
_LOG_SHARE = 0.1  # of the work between two lines, unless
_LOG_MOST_S = 60  # so many seconds have gone
_clock = time.monotonic


class Log:
    """Progress as lines of a log, where there is no terminal for a bar: now and then, none of work that is done in seconds.

    A line comes once 10 s have gone since the last and either a tenth of the work is done since or a minute has gone.
    """

    def __init__(self, what: str) -> None:
        self.what, self.began = what, _clock()
        self.said_at, self.said_share = self.began, 0.0

    def told(self, done: int, total: int, note: str = "") -> None:
        """Say how far it is if it is time to; `note` stands in place of the time left."""
        now, share = _clock(), done / total if total else 0.0
        gone = now - self.said_at
        if gone < _LOG_S or (share - self.said_share < _LOG_SHARE and gone < _LOG_MOST_S):
            return
        self.said_at, self.said_share = now, share
        rest = (now - self.began) * (1 - share) / share if 0 < share < 1 else None
        behind = note or ("" if rest is None else f"about {in_words(rest)} left")
        line = f"{self.what}: {done:,} of {total:,}, {100 * share:.0f} %"
        print(f"toast: {line}{f', {behind}' if behind else ''}", file=sys.stderr, flush=True)


def in_words(seconds: float) -> str:
    """A time that is left, such as 40 s, 12 min or 3 h 5 min."""
    if seconds < _MINUTE_S:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / _MINUTE_S), _MINUTE_S)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


class Bar:
    """A progress bar on stderr, which calling what `with` gives moves; where that is no terminal, a line of a log now and then.

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
        log = Log(self.what)

        def told(done: int, total: int, note: str = "") -> None:
            if self.progress.disable:
                log.told(done, total, note)
            else:
                self.progress.update(task, completed=done, total=total, note=note)

        return told

    def __exit__(self, *_: object) -> None:
        self.progress.stop()


_steps: dict[str, tuple[Log, int]] = {}  # of this process: the log of each kind of step, and how far it was


def show_steps(what: str, done: int, total: int) -> None:
    """A workbench's report: on a terminal one line that overwrites itself and is gone at the end; else lines of a log now and then."""
    if not sys.stderr.isatty():
        if what not in _steps or done <= _steps[what][1]:  # another time over
            _steps[what] = Log(what), 0
        log = _steps[what][0]
        _steps[what] = log, done
        log.told(done, total)
    else:
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
