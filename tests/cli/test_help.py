"""How the command line explains itself: help by either name, the table where no command is named, examples that can be run, completion."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from tests.support.commands import run_toast
from toast_core.cli.app import app
from toast_core.cli.help import OWN, REQUIRED, folded, panel_of
from toast_core.cli.said import CACHE, COMMANDS
from toast_core.command import SCHEDULE_FILE
from toast_core.schedule.schedule import Schedule
from toast_core.workbench import Workbench

ROOT = typer.main.get_command(app)
LOADED = {name for name, command in ROOT.commands.items() if any(param.name == "model" for param in getattr(command, "params", ()))}
"""The commands that load a model."""


def commands(group: typer.core.TyperGroup = ROOT, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], typer.core.TyperCommand]]:
    """Every command with the words that call it."""
    for name, command in group.commands.items():
        if isinstance(command, typer.core.TyperGroup):
            yield from commands(command, (*words, name))
        else:
            yield (*words, name), command


EVERY = dict(commands())
LINES = [line for said in (COMMANDS, CACHE) for name, about in said.items() for line in about.lines(name)]


@pytest.mark.parametrize("words", [(), ("cache",), *EVERY], ids=" ".join)
def test_help_has_two_names(words: tuple[str, ...]) -> None:
    short, long = run_toast(*words, "-h"), run_toast(*words, "--help")
    assert short == long and short[0] == 0 and short[2] == ""
    assert short[1].startswith(f"Usage: {' '.join(('toast', *words))} ")


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_every_help_ends_with_examples(words: tuple[str, ...]) -> None:
    shown = run_toast(*words, "--help")[1]
    assert f"\nExamples:\n    {' '.join(('toast', *words))}" in shown
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("line", LINES)
def test_an_example_is_a_command(line: str) -> None:
    """The command line's own parser takes it, required options and all."""
    toast, *rest = shlex.split(line)
    words = next(words for words in EVERY if rest[: len(words)] == list(words))
    EVERY[words].make_context(words[-1], rest[len(words) :])
    assert toast == "toast"


@pytest.mark.parametrize("line", [line for line in LINES if line.split()[1] in LOADED - {"dashboard"} and "--check" not in line])
def test_an_example_gets_as_far_as_its_model(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What no parser sees, such as options that exclude each other, is refused before a model is loaded; the example is not."""
    loaded: list[object] = []

    def load(setup: object, *_: object) -> None:
        loaded.append(setup)
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Workbench, "load", load)
    schedule = Schedule.uniform(12, vo=0.25, selection="calibrated").to_json()
    Path(SCHEDULE_FILE).write_text(schedule)
    Path("tuned.json").write_text(schedule)
    if "--weights pruned" in line and "certify" in line:
        pytest.skip("it reads the pruned file first: tests/cli/test_certify.py")
    status, _, stderr = run_toast(*shlex.split(line)[1:])
    assert (status, stderr, len(loaded)) == (130, "toast: interrupted\n", 1)


def test_a_wide_line_is_cut_before_options() -> None:
    line = "toast apply --model demo_vit -o pruned.safetensors"
    assert folded(line, 40) == ["toast apply --model demo_vit \\", "  -o pruned.safetensors"]
    assert folded("toast demo", 40) == ["toast demo"]


@pytest.mark.parametrize(("words", "said"), [((), COMMANDS), (("cache",), CACHE)], ids=["toast", "cache"])
def test_without_a_command_there_is_a_short_table(words: tuple[str, ...], said: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    status, stdout, stderr = run_toast(*words)
    assert (status, stderr) == (0, "") and max(map(len, stdout.splitlines())) <= 80
    lines = [" ".join(line.split()) for line in stdout.splitlines()]
    assert [line for name, about in said.items() if (line := f"{name} {about.line}") not in lines] == []
    assert len(lines) < 35


def test_everything_that_is_said_is_said_of_a_command() -> None:
    assert {words[0] for words in EVERY} == set(COMMANDS) and {words[1] for words in EVERY if words[0] == "cache"} == set(CACHE)


@pytest.mark.parametrize("words", [words for words, command in EVERY.items() if len(command.params) > 12], ids=" ".join)
def test_many_options_stand_in_panels(words: tuple[str, ...]) -> None:
    panels = [panel_of(param) for param in EVERY[words].params]
    assert len(set(panels)) >= 4 and panels.count(OWN) <= 10
    shown = run_toast(*words, "--help")[1]
    places = [shown.index(f"\n{panel}:\n") for panel in (REQUIRED, "Model", OWN) if panel in panels]
    assert places == sorted(places)


def test_an_unknown_option_names_the_help_of_its_command() -> None:
    assert run_toast("evaluate", "--nosuch")[2] == "toast: No such option: --nosuch; see toast evaluate --help\n"
    assert run_toast("nosuch")[2] == "toast: No such command 'nosuch'; see toast --help\n"


class TestCompletion:
    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_each_shell_gets_its_script(self, shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
        status, stdout, _ = run_toast("completion", shell)
        monkeypatch.setenv("SHELL", f"/usr/bin/{shell}")
        assert status == 0 and f"_TOAST_COMPLETE=complete_{shell}" in stdout and run_toast("completion")[1] == stdout
        for order in (f"source_{shell}", f"{shell}_source"):
            monkeypatch.setenv("_TOAST_COMPLETE", order)
            assert run_toast()[1].strip() == stdout.strip()

    def test_another_shell_is_refused_in_a_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SHELL", "/bin/tcsh")
        status, _, stderr = run_toast("completion")
        assert status == 2 and "$SHELL names tcsh; write toast completion bash, zsh, fish, one of them" in stderr

    @pytest.mark.parametrize(("line", "found"), [
        ("toast ev", ["evaluate"]), ("toast cache me", ["merge"]), ("toast tune --red", ["--reduction"]),
        ("toast apply --preset vit_large", ["vit_large_patch16_224.mae@42.3", "vit_large_patch16_224.mae@38.5"]),
    ])
    def test_bash_completes(self, line: str, found: list[str], tmp_path: Path) -> None:
        """In bash itself, with what `toast completion bash` prints."""
        bash = shutil.which("bash")
        if bash is None:
            pytest.skip("no bash on this machine")
        toast = tmp_path / "toast"
        toast.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m toast_core "$@"\n')
        toast.chmod(0o755)
        script = (
            'eval "$(toast completion bash)"; COMP_WORDS=($LINE); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); '
            '$(complete -p toast | sed "s/.*-F //; s/ .*//") toast; printf "%s\\n" "${COMPREPLY[@]}"'
        )
        home = Path(__file__).parents[2]
        environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "LINE": line, "PYTHONPATH": str(home)}
        ran = subprocess.run([bash, "--norc", "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=True)
        assert ran.stdout.split() == found
