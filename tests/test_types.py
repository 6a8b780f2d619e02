"""What the type checker is told in pyproject.toml, and what users' checkers find in the packages."""

import re
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
PACKAGES = TOOLS["mypy"]["packages"]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES for path in (ROOT / package).rglob("*.py")
}
STRICT = next(one["module"] for one in TOOLS["mypy"]["overrides"] if one.get("disallow_untyped_defs"))
NOT_MENDED = next(one["module"] for one in TOOLS["mypy"]["overrides"] if "disable_error_code" in one)


def matching(patterns: list[str]) -> set[str]:
    """The modules that mypy takes patterns for: `a.*` is `a` and what is in it."""
    return {
        name for name in MODULES for pattern in patterns if fnmatchcase(name, pattern) or name == pattern.removesuffix(".*")
    }


@pytest.mark.parametrize("package", PACKAGES)
def test_wheels_say_that_the_package_has_types(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file() and "py.typed" in TOOLS["setuptools"]["package-data"][package]


def test_every_package_is_checked() -> None:
    assert [f"{package}*" for package in PACKAGES] == TOOLS["setuptools"]["packages"]["find"]["include"]


@pytest.mark.parametrize("pattern", [*STRICT, *NOT_MENDED])
def test_a_list_names_what_there_is(pattern: str) -> None:
    assert matching([pattern]), f"no module is called {pattern}; take it off the list, or name it anew"


def test_what_is_strict_is_mended() -> None:
    assert matching(STRICT) and not matching(STRICT) & matching(NOT_MENDED)


def test_what_is_passed_over_says_why() -> None:
    wrong = [
        f"{name}: {line.strip()}" for name, path in MODULES.items() for line in path.read_text(encoding="utf-8").splitlines()
        if "# type:" in line and not re.search(r"# type: ignore\[[a-z-]+\]  # \w", line)
    ]
    assert not wrong, "\n".join(wrong)
