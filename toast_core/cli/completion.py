"""`toast completion`: what a shell reads to complete commands, options and their values."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

COMPLETE_VARIABLE = "_TOAST_COMPLETE"


class Shell(StrEnum):
    """The shells that completion is for."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


def completion(
    shell: Annotated[Shell | None, typer.Argument(help="bash, zsh or fish; default: the one that $SHELL names")] = None,
) -> None:
    """Print what bash, zsh or fish reads to complete commands and options.

    For good: eval "$(toast completion bash)" in ~/.bashrc, the same with zsh in ~/.zshrc behind compinit, and for fish
    toast completion fish > ~/.config/fish/completions/toast.fish. toast must be on the PATH: .venv/bin of a checkout.
    """
    from typer.completion import get_completion_script

    named = Path(os.environ.get("SHELL", "")).name
    if shell is None and named not in list(Shell):
        raise typer.BadParameter(f"$SHELL names {named or 'no shell'}; write toast completion {', '.join(Shell)}, one of them")
    print(get_completion_script(prog_name="toast", complete_var=COMPLETE_VARIABLE, shell=str(shell or named)))


def prepare_completion() -> None:
    """Make ready for a shell that asks for completions; nothing where none does.

    Click's own pages write bash_source where Typer reads source_bash, so that either order is understood.
    """
    asked = os.environ.get(COMPLETE_VARIABLE)
    if asked is None:
        return
    from typer.completion import completion_init

    completion_init()
    first, _, second = asked.partition("_")
    if first in list(Shell):
        os.environ[COMPLETE_VARIABLE] = f"{second}_{first}"
