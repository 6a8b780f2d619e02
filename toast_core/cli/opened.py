"""A workbench for a command: loaded, and what loading guessed, chose or left aside said on stderr before anything is measured."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from toast_core.cli.output import note, show_steps
from toast_core.setup import Setup

if TYPE_CHECKING:
    from toast_core.executors.base import Executor
    from toast_core.workbench import Workbench


def note_rest(workbench: "Workbench", notes: Iterable[str]) -> None:
    """Say on stderr what was not said when the workbench was opened."""
    note(line for line in notes if line not in workbench.info.told)


def open_workbench(setup: Setup, executor: "Executor | None" = None, quiet: bool = False) -> "Workbench":
    """Load the setup's model and say its notes on stderr, a line each; `quiet` where another process of the same command says them.

    Raises:
        ModelError, DeviceError: see `Workbench.load`.
    """
    from toast_core.workbench import Workbench

    workbench = Workbench.load(setup, show_steps, executor)
    if not quiet:
        note(workbench.info.told)
    return workbench
