"""The sections of the equaliser's script: each says what it uses, and together they are the one module that Streamlit mounts."""

import re
import tomllib
from pathlib import Path

import pytest

from dashboard.equaliser.script import SECTIONS, script, section
from tests.support.equaliser_page import open_sections

ROOT = Path(__file__).parents[3]
_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./(\w+)\.js";$', re.MULTILINE)
_DEFINITION = re.compile(r"^(export )?(?:function|const|let|class) (\w+)", re.MULTILINE)
_WORDLESS = re.compile(r"""//.*$|'[^'\n]*'|"[^"\n]*\"""", re.MULTILINE)


def imported(name: str) -> dict[str, str]:
    """The names that a section imports, and the section each comes from."""
    return {word.strip(): source for words, source in _IMPORT.findall(section(name)) for word in words.split(",")}


def defined(name: str, exported: bool) -> list[str]:
    """The names that a section defines at its top level, for itself or for the others."""
    return [word for mark, word in _DEFINITION.findall(section(name)) if bool(mark) == exported]


def test_every_file_is_a_section():
    assert sorted(path.stem for path in (ROOT / "dashboard/equaliser/js").iterdir()) == sorted(SECTIONS)


def test_wheels_take_the_sections_along():
    data = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-data"]["dashboard"]
    taken = {path.stem for pattern in data for path in (ROOT / "dashboard").glob(pattern) if path.suffix == ".js"}
    assert {*SECTIONS, "figures"} <= taken


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_says_first_what_it_holds_and_what_it_uses(name):
    head = section(name).partition("\n\n")[0].splitlines()
    assert all(line.startswith("//") for line in head)
    sources = set(imported(name).values())
    assert set(re.findall(r"(\w+)\.js", "".join(head).partition("// Uses ")[2])) == sources
    assert sources or "// Uses no other section." in head


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_imports_what_it_uses_and_nothing_else_from_those_before_it(name):
    code = _WORDLESS.sub("", _IMPORT.sub("", section(name)))
    home = {word: other for other in SECTIONS if other != name for word in defined(other, exported=True)}
    used = {word: other for word, other in home.items() if re.search(rf"(?<![.\w]){word}\b(?!:)", code)}
    assert imported(name) == used
    assert set(used.values()) <= set(SECTIONS[:SECTIONS.index(name)])


def test_a_name_means_one_thing_in_all_sections():
    names = [word for name in SECTIONS for exported in (True, False) for word in defined(name, exported)]
    assert len(names) > 80 and sorted(set(names)) == sorted(names)


def test_the_joined_script_imports_nothing_and_exports_the_component_alone():
    text = script()
    assert re.findall(r"^(?:import|export)\b.*$", text, re.MULTILINE) == ["export default function (component) {"]
    places = [text.index(section(name).partition("\n")[0]) for name in SECTIONS]
    assert places == sorted(places) and places[0] == 0


def test_a_browser_loads_the_sections_as_they_stand(browser):
    page = open_sections(browser)
    for name in SECTIONS:
        exports = page.evaluate("async (name) => Object.keys(await import(`./${name}.js`)).sort()", name)
        assert exports == (["default"] if name == "equaliser" else sorted(defined(name, exported=True)))
