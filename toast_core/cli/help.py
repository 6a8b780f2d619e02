"""How commands explain themselves: options in panels, examples behind them, and a short table where no command is named. Imports no torch.

Plain text that fits any terminal; what is said of each command stands in `toast_core.cli.said`.
"""

from collections.abc import Mapping
from typing import Any

import typer

from toast_core.cli.said import Said

REQUIRED, OWN, MODEL, IMAGES, SCHEDULE, INPUT, RUN = (
    "Required", "Options", "Model", "Images", "Schedule", "How images become input", "Where it runs",
)
_LAST = (MODEL, IMAGES, SCHEDULE, INPUT, RUN, OWN)  # behind a command's own panels, in this order
HELP_NAMES = {"help_option_names": ["-h", "--help"]}
_MARGIN = 4  # columns before an example
_TURN = " \\"  # where a line of a shell goes on


class Command(typer.core.TyperCommand):
    """A command whose options stand in the panels that they name, what must be given first."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the panels."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                panels.setdefault(panel_of(param), []).append(record)
        for name in sorted(panels, key=_rank):
            with formatter.section(name):
                formatter.write_dl(panels[name])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples, each on lines that fit."""
        if self.epilog:
            with formatter.section("Examples"):
                for line in self.epilog.splitlines():
                    formatter.write("".join(f"{' ' * _MARGIN}{part}\n" for part in folded(line, formatter.width - _MARGIN)))


class Group(typer.core.TyperGroup):
    """Commands under their headings, each with a line; alone it prints that table, and ends with status 0: nothing was asked wrongly."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take the words of a line; without any, print the table and end."""
        if not args and not ctx.resilient_parsing:
            formatter = ctx.make_formatter()
            formatter.write_text(self.help or "")
            self.format_commands(ctx, formatter)
            formatter.write(f"\n{ctx.command_path} COMMAND -h says what a command takes, with examples.\n")
            print(formatter.getvalue(), end="")
            ctx.exit(0)
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands that are not hidden."""
        panels: dict[str, list[tuple[str, str]]] = {}
        shown = [(name, command) for name in self.list_commands(ctx) if (command := self.get_command(ctx, name)) and not command.hidden]
        width = max(len(name) for name, _ in shown)
        for name, command in shown:
            line = (f"{name:{width}}", command.short_help or "")
            panels.setdefault(getattr(command, "rich_help_panel", None) or "Commands", []).append(line)
        for heading, lines in panels.items():
            with formatter.section(heading):
                formatter.write_dl(lines)


def panel_of(param: Any) -> str:
    """The heading that a parameter stands under."""
    return REQUIRED if param.required else getattr(param, "rich_help_panel", None) or OWN


def _rank(panel: str) -> int:
    return -1 if panel == REQUIRED else 1 + _LAST.index(panel) if panel in _LAST else 0


def folded(line: str, width: int) -> list[str]:
    """A line of a shell on several where it is too wide: cut before options, with a backslash at the end of each but the last."""
    found: list[str] = []
    for part in line.replace(" -", "\n-").split("\n"):
        if found and len(found[-1]) + 1 + len(part) + len(_TURN) <= width:
            found[-1] += f" {part}"
        else:
            found.append(part if not found else f"  {part}")
    return [*(f"{part}{_TURN}" for part in found[:-1]), found[-1]]


def dress(app: typer.Typer, said: Mapping[str, Said]) -> None:
    """Let every command and group of an application explain itself by what is said of it under its name."""
    for info in app.registered_commands:
        name = info.name or info.callback.__name__  # type: ignore[union-attr]  # a command has one
        about = said[name]
        info.cls, info.short_help, info.rich_help_panel = Command, about.line, about.panel
        info.epilog = "\n".join(about.lines(name))
    for group in app.registered_groups:
        about = said[group.name]  # type: ignore[index]  # a group has a name
        group.cls, group.short_help, group.rich_help_panel = Group, about.line, about.panel
