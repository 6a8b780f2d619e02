"""The versions that pyproject.toml allows, beside those that constraints.txt installs, docs/versions.md states and ./toast looks for."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TEXTS = [*PROJECT["dependencies"], *(text for extra in PROJECT["optional-dependencies"].values() for text in extra)]
DIRECT = {one.name: one for one in map(Requirement, TEXTS) if one.name != PROJECT["name"]}
PINS = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if "==" in line)
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]


def bound(requirement: Requirement) -> Version:
    """The lowest version that a requirement allows; it must have one lower bound and nothing else."""
    assert [one.operator for one in requirement.specifier] == [">="], f"{requirement} has no lower bound, or more than that"
    return Version(next(iter(requirement.specifier)).version)


@pytest.mark.parametrize("name", DIRECT)
def test_what_is_installed_is_allowed(name: str) -> None:
    assert name in PINS, f"constraints.txt pins no version of {name}"
    assert Version(PINS[name]) in DIRECT[name].specifier
    assert bound(DIRECT[name]) <= Version(PINS[name])


def test_every_lower_bound_is_one_that_was_tried() -> None:
    """A bound that is changed is tried anew with .ci/lowest, and then stated."""
    rows = re.findall(r"^\| `([\w-]+)` \| ([\d.]+) \|", (ROOT / "docs" / "versions.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert {name: Version(version) for name, version in rows} == {name: bound(one) for name, one in DIRECT.items()}


def test_toast_looks_for_every_python_that_is_allowed_and_no_other() -> None:
    script, allowed = (ROOT / "toast").read_text(encoding="utf-8"), SpecifierSet(PROJECT["requires-python"])
    assert [minor for minor in range(5, 30) if f"3.{minor}" in allowed] == [int(python.partition(".")[2]) for python in PYTHONS]
    assert sorted(re.findall(r"python(3\.\d+)", script)) == PYTHONS
    assert "(3, 11) <= sys.version_info[:2] < (3, 15)" in script
    assert "no Python 3.11 to 3.14 with venv was found" in script
