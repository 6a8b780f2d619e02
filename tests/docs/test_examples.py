"""What README.md and docs/ tell people to type does run."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from tests.docs.pages import DOCS, DOCUMENTS, README, ROOT, code_blocks, name_of, prose_of, text_of
from toast_core.cli.app import app

EXAMPLES = [(path, code) for path in DOCUMENTS if path != DOCS / "python.md" for code in code_blocks(path, "python")]
OF_THE_SCRIPT = ("test", "lint")  # what it takes for itself
# `./toast COMMAND` stands for any of them
INLINE = re.compile(r"`(\./toast (?!COMMAND)[^`]+)`")
COMMANDS = [
    (path, line)
    for path in DOCUMENTS
    for line in (*(line for code in code_blocks(path, "") for line in code.splitlines()), *INLINE.findall(prose_of(path)))
    if line.startswith("./toast ") and line.split()[1] not in OF_THE_SCRIPT
]


def test_readme_has_one_example_of_a_few_lines() -> None:
    (code,) = (code for path, code in EXAMPLES if path == README)
    assert len([line for line in code.splitlines() if line.strip()]) <= 8
    assert "<!-- example: tests/docs/test_examples.py runs it -->\n```python" in text_of(README)


@pytest.mark.wide
@pytest.mark.parametrize(("path", "code"), EXAMPLES, ids=[name_of(path) for path, _ in EXAMPLES])
def test_an_example_runs_as_it_stands(path: Path, code: str, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TOAST_STORE": str(tmp_path / "evidence.sqlite")}
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0 and ran.stdout.strip(), ran.stderr


@pytest.mark.parametrize(("path", "line"), COMMANDS, ids=[f"{name_of(path)} {line.split()[1]}" for path, line in COMMANDS])
def test_a_command_line_is_one_that_the_program_takes(path: Path, line: str) -> None:
    _, *words = shlex.split(line, comments=True)
    command = typer.main.get_command(app)
    while isinstance(command, typer.core.TyperGroup):
        command = command.commands[words.pop(0)]
    command.make_context(command.name, words)


def test_there_are_command_lines_to_look_at() -> None:
    assert len(COMMANDS) > 20 and any(path == README for path, _ in COMMANDS)
    with pytest.raises(Exception, match="No such option: --shedule"):
        typer.main.get_command(app).commands["flops"].make_context("flops", ["--shedule", "s.json"])
