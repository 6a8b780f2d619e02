"""The command line in this process: printed lines read back by its own parser, and whole runs."""

import io
import shlex
from contextlib import redirect_stderr, redirect_stdout

import pytest
import typer

from toast_core.cli.app import app, main


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


def toast(*words: object) -> str:
    """What a command that must end well prints on stdout."""
    status, stdout, stderr = run_toast(*words)
    assert status == 0, stderr
    return stdout
