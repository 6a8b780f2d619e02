"""docs/cli.md and docs/python.md are what docs/make_reference.py would write now, however wide the terminal."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Annotated

import pytest
import torch
import typer

import toast_core
from tests.docs.pages import DOCS, text_of
from toast_core.schedule.compensation import FULL, NONE


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    """docs/make_reference.py."""
    spec = importlib.util.spec_from_file_location("make_reference", DOCS / "make_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("columns", ["40", "240"])
def test_the_command_line_is_described_as_it_is(reference: ModuleType, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert reference.cli_page() == text_of(DOCS / "cli.md"), "run python docs/make_reference.py"


def test_the_front_door_is_described_as_it_is(reference: ModuleType) -> None:
    assert reference.python_page() == text_of(DOCS / "python.md"), "run python docs/make_reference.py"
    assert all(f"\n## {name}\n" in text_of(DOCS / "python.md") for name in toast_core.__all__)


def test_a_command_is_told_with_every_option(reference: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    app, group = typer.Typer(), typer.Typer()
    app.add_typer(group, name="group")

    @group.command()
    def count(
        names: Annotated[list[str], typer.Argument(help="whose")],
        most: Annotated[int, typer.Option("--most", "-m", help="at most | so many")] = 3,
        share: Annotated[float | None, typer.Option(help="of all")] = None,
        as_json: Annotated[bool, typer.Option("--json", help="as JSON")] = False,
    ) -> None:
        """Count names.

        A second paragraph
        on two lines.
        """

    @app.command(hidden=True)
    def secret() -> None:
        """Not told."""

    monkeypatch.setattr(reference, "app", app)
    page = reference.cli_page().removeprefix(reference.CLI_HEAD)
    assert page == """

- [`toast group count`](#toast-group-count): Count names.

## toast group count

Count names.

A second paragraph
on two lines.

| option | value | default | what |
|---|---|---|---|
| `NAMES` | text, repeatable | required | whose |
| `--most`, `-m` | integer | `3` | at most \\| so many |
| `--share` | number | | of all |
| `--json` | | | as JSON |
"""


def test_annotations_are_told_without_the_module_they_live_in(reference: ModuleType) -> None:
    def made(schedule: "toast_core.Schedule", name: str = "a.b", device: torch.device | None = None) -> dict[Path, torch.nn.Module]:
        """Never called."""

    told = "made(schedule: Schedule, name: str = 'a.b', device: torch.device | None = None) -> dict[Path, nn.Module]"
    assert reference._signature("made", made) == told


def test_defaults_are_told_without_their_insides(reference: ModuleType) -> None:
    def made(compensation: object = NONE, full: object = FULL, told: object = lambda done: None, name: str = "a.b") -> None:
        """Never called."""

    assert reference._signature("made", made).splitlines() == [
        "made(", "    compensation: object = Compensation(),", f"    full: object = {FULL},", "    told: object = ...,",
        "    name: str = 'a.b',", ") -> None",
    ]


def test_what_a_factory_makes_is_told_as_such(reference: ModuleType) -> None:
    assert "locks: dict[tuple[int, str], float] = ...," in reference._signature("TuningRequest", toast_core.TuningRequest)
