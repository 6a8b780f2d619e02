"""Printed command lines, read back by the command line's own parser."""

import shlex

import typer

from toast_core.cli.app import app


def parsed(line: str) -> tuple[str, dict[str, object]]:
    """The command of a line and the value of each of its parameters, by their names in Python; fails where it is not understood."""
    toast, command, *words = shlex.split(line)
    assert toast == "toast"
    return command, typer.main.get_command(app).commands[command].make_context(command, words).params
