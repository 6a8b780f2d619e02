"""The command line in this process: printed lines read back by its own parser, and whole runs."""

import io
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import typer

from tests.support.families import tiny_demo
from toast_core.cli.app import app, main
from toast_core.models.demo import DEMO_BUILDERS


def parsed(line: str) -> tuple[str, dict[str, object]]:
    """The command of a line and the value of each of its parameters, by their names in Python; fails where it is not understood."""
    toast, command, *words = shlex.split(line)
    assert toast == "toast"
    return command, typer.main.get_command(app).commands[command].make_context(command, words).params


def run_toast(*words: object) -> tuple[int, str, str]:
    """Run the command line in this process: its exit status, and what it printed on stdout and stderr."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(stdout), redirect_stderr(stderr):
        patch.setattr("sys.argv", ["toast", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
    return int(ended.value.code or 0), stdout.getvalue(), stderr.getvalue()


@contextmanager
def at_work(root: Path) -> Iterator[Path]:
    """Commands run in this folder, and `demo_tiny` names the tiny model for the demos' images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DEMO_BUILDERS, "demo_tiny", tiny_demo)
        patch.chdir(root)
        yield root


def toast(*words: object) -> str:
    """What a command that must end well prints on stdout."""
    status, stdout, stderr = run_toast(*words)
    assert status == 0, stderr
    return stdout
