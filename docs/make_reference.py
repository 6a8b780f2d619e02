"""Writes docs/cli.md from the command line's own declarations, and docs/python.md from what `toast_core` offers.

    python docs/make_reference.py

Reads the declared commands and options, not the help that a terminal is shown: the pages do not depend on its width. Names are written
without the module that they live in, so that a module may move without a word here changing. tests/docs compare both pages.
"""

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, get_args, get_origin

import typer

import toast_core
from toast_core.cli.app import app

CLI, PYTHON = (Path(__file__).with_name(name) for name in ("cli.md", "python.md"))
CLI_HEAD = """# The command line

Written by `python docs/make_reference.py` from the commands themselves. From a checkout each is `./toast COMMAND`; `-h` says the same.

`--json` prints one document on stdout; progress goes to stderr. Exit 0 done, 1 the result says no, 2 an input error in one line,
130 interrupted."""
PYTHON_HEAD = """# From Python

Written by `python docs/make_reference.py` from the names that `toast_core` offers; `help(toast_core.load_model)` says the rest.
PyTorch is loaded when the first name that needs it is used."""
WIDTH = 120
_WORDS = {str: "text", int: "integer", float: "number", Path: "path", bool: ""}
_MODULES = re.compile(r"\b(?:[a-z_]\w*\.)+(?=[A-Za-z_])")
_KEPT_MODULES = {"torch.nn.": "nn.", "nn.": "nn.", "torch.": "torch."}  # others are left out; the longest that fits is taken


def cli_page() -> str:
    """The text of docs/cli.md: every command in the order of `toast --help`, its help, examples, and every argument and option."""
    commands = list(_commands(typer.main.get_command(app), "toast"))
    listed = "\n".join(f"- [`{path}`](#{path.replace(' ', '-')}): {_first_paragraph(command.help)}" for path, command in commands)
    return "\n\n".join([CLI_HEAD, listed, *(_command_section(path, command) for path, command in commands)]) + "\n"


def _commands(group: typer.core.TyperGroup, path: str) -> Iterator[tuple[str, typer.core.TyperCommand]]:
    """Every command that does something, with the words that call it."""
    for name, command in group.commands.items():
        if isinstance(command, typer.core.TyperGroup):
            yield from _commands(command, f"{path} {name}")
        elif not command.hidden:
            yield f"{path} {name}", command


def _command_section(path: str, command: typer.core.TyperCommand) -> str:
    declared = inspect.signature(command.callback, eval_str=True).parameters
    rows = [_parameter_row(parameter, declared[parameter.name].annotation) for parameter in command.params]
    table = ["| option | value | default | what |", "|---|---|---|---|", *rows] if rows else ["It takes no options."]
    examples = ["```", command.epilog, "```", ""] if command.epilog else []
    return "\n".join([f"## {path}", "", inspect.cleandoc(command.help), "", *examples, *table])


def _parameter_row(parameter: typer.core.TyperOption | typer.core.TyperArgument, kind: object) -> str:
    is_option = isinstance(parameter, typer.core.TyperOption)
    name = ", ".join(f"`{word}`" for word in (*parameter.opts, *parameter.secondary_opts)) if is_option else f"`{parameter.name.upper()}`"
    default = parameter.default
    if parameter.required:
        shown = "required"
    elif default is None or default is False or default == []:
        shown = ""
    else:
        shown = f"`{default}`"
    cells = (name, _value_word(kind), shown, " ".join((parameter.help or "").split()).replace("|", "\\|"))
    return f"|{'|'.join(f' {cell} ' if cell else ' ' for cell in cells)}|"


def _value_word(kind: object) -> str:
    """What is written behind an option, from an annotation such as `int | None` or `list[str]`; nothing for a switch."""
    if get_origin(kind) is Annotated:
        return _value_word(get_args(kind)[0])
    if get_origin(kind) is list:
        return f"{_value_word(get_args(kind)[0])}, repeatable"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return ", ".join(str(one.value) for one in kind)
    kinds = [one for one in get_args(kind) if one is not type(None)]
    return _value_word(kinds[0]) if kinds else _WORDS[kind]


def python_page() -> str:
    """The text of docs/python.md: each name of `toast_core.__all__` with its signature and the first paragraph of its docstring."""
    return "\n\n".join([PYTHON_HEAD, *(_name_section(name) for name in toast_core.__all__)]) + "\n"


def _name_section(name: str) -> str:
    found = getattr(toast_core, name)
    parts = [f"## {name}", f"```python\n{_signature(name, found)}\n```", _first_paragraph(inspect.getdoc(found))]
    methods = list(_methods(found)) if inspect.isclass(found) else []
    return "\n\n".join([*parts, *(["\n".join(methods)] if methods else [])])


def _methods(found: type) -> Iterator[str]:
    """A line for each public method and property of a class, in the order in which it declares them."""
    for name, member in vars(found).items():
        if name.startswith("_") or not (isinstance(member, property | classmethod) or inspect.isfunction(member)):
            continue
        call = f".{name}" if isinstance(member, property) else "." + " ".join(_signature(name, getattr(found, name)).split())
        yield f"- `{call}`: {_first_paragraph(inspect.getdoc(member))}"


def _signature(name: str, function: Callable) -> str:
    """The call as it is declared, one argument a line where it would be wider than `WIDTH`."""
    declared = inspect.signature(function)
    arguments = [
        str(one.replace(annotation=_Word(one.annotation), default=_default(one.default)))
        for one in declared.parameters.values() if one.name != "self"
    ]
    is_class, result = inspect.isclass(function), _Word(declared.return_annotation)
    end = ")" if is_class else f") -> {result!r}"
    line = f"{name}({', '.join(arguments)}{end}"
    return line if len(line) <= WIDTH else "\n".join([f"{name}(", *(f"    {one}," for one in arguments), end])


def _default(value: object) -> object:
    """What stands for a default: `...` for a function or what one makes, `Recipe()` for a value of defaults alone."""
    if inspect.isfunction(value) or repr(value) == "<factory>":  # as dataclasses call it
        return _Word("...")
    is_bare = is_dataclass(value) and not isinstance(value, type) and value == _bare(type(value))
    return _Word(f"{type(value).__name__}()") if is_bare else value


def _bare(kind: type) -> object:
    """A value of its defaults alone; None where it has none for some field."""
    return None if any(one.default is MISSING and one.default_factory is MISSING and one.init for one in fields(kind)) else kind()


class _Word:
    """An annotation as a word: `Schedule`, whichever module it lives in."""

    def __init__(self, annotation: object) -> None:
        text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
        self.text = _MODULES.sub(self._module, text)

    @staticmethod
    def _module(found: re.Match) -> str:
        return next((short for module, short in _KEPT_MODULES.items() if found[0].startswith(module)), "")

    def __repr__(self) -> str:
        return self.text


def _first_paragraph(text: str | None) -> str:
    return " ".join((inspect.cleandoc(text or "").split("\n\n")[0]).split())


if __name__ == "__main__":
    for path, page in ((CLI, cli_page()), (PYTHON, python_page())):
        path.write_text(page, encoding="utf-8")
        print(f"{path.name}: {len(page.splitlines())} lines")
