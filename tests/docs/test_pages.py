"""README.md and docs/ hold together: short enough, every page found, every link led somewhere, no figure typed by hand."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from dashboard import navigation
from tests.conftest import FIXTURES, TIERS
from tests.docs.pages import DOCS, DOCUMENTS, PAGES, README, ROOT, code_blocks, name_of, prose_of, text_of
from toast_core.export.formats import FORMATS
from toast_core.models.adapters import FAMILIES
from toast_core.schedule.scores import SCORES
from toast_core.studies.registry import KINDS

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
# a quantity that something was found to have; 95 % is the width of an interval
FIGURE = re.compile(r"(?<![\w.-])(?!95 %)\d[\d,]*(?:\.\d+)? ?(?:%|points|ms\b|seconds|GMACs|times as|x (?:less|faster))")

RESULTS = ("results", "findings", "recovery", "exports", "scale", "first_minutes")  # pages that could claim something measured


def headings_of(path: Path) -> set[str]:
    """The anchors that a page's headings give, as GitHub spells them."""
    found = re.findall(r"^#+ (.*)$", text_of(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


class TestReadme:
    """The first page is read whole."""

    def test_it_is_short(self) -> None:
        text = text_of(README)
        words = [word for word in text.split() if re.search(r"\w", word)]
        assert len(text.splitlines()) <= 130 and len(words) <= 900, f"README has {len(text.splitlines())} lines and {len(words)} words"

    def test_it_has_the_two_commands_and_one_picture(self) -> None:
        assert "\n./toast demo " in text_of(README) and "\n./toast test " in text_of(README)
        assert text_of(README).count("![") == 1

    def test_it_leads_to_the_index(self) -> None:
        assert "(docs/index.md)" in text_of(README)


class TestArchitecture:
    """The tree in docs/architecture.md is the tree."""

    FOLDERS = ("toast_core", "analysis_cache", "dashboard", "tests")

    def listed(self) -> dict[str, str]:
        """The line of each place in the tree, by its path from the root; indents are two spaces a folder."""
        tree = next(code for code in code_blocks(DOCS / "architecture.md", "") if code.startswith("toast_core/"))
        found, parents = {}, []
        for line in tree.splitlines():
            indent = len(line) - len(line.lstrip())
            if indent > 2:  # a line that goes on
                continue
            name, text = line.split(maxsplit=1)
            parents = [*parents[: indent // 2], name.rstrip("/")]
            found["/".join(parents)] = text
        return found

    def test_every_place_is_there(self) -> None:
        missing = [name for name in self.listed() if not (ROOT / name).exists()]
        assert not missing and len(self.listed()) > 50

    def test_every_room_is_listed(self) -> None:
        """Of what there is: every package of the engine and of the dashboard, and every module beside them."""
        there = {
            path.relative_to(ROOT).as_posix() for package in ("toast_core", "dashboard") for path in (ROOT / package).iterdir()
            if path.name[0] not in "._" and (path.suffix == ".py" or any(path.glob("*")))
        }
        assert there <= set(self.listed()), f"docs/architecture.md has no line for {', '.join(sorted(there - set(self.listed())))}"

    def test_a_line_names_files_of_its_place(self) -> None:
        for place, text in self.listed().items():
            for name in re.findall(r"[\w/]+(?:\.py\b|/(?=[\s,;:.]|$))", text):
                found = (ROOT / place / name.rstrip("/"), ROOT / name.rstrip("/"), (ROOT / place).parent / name)
                assert any(path.exists() for path in found) or place.endswith("studies"), f"{place} has no {name}"

    def test_every_study_is_told(self) -> None:
        text = text_of(DOCS / "architecture.md")
        studies = [path.name for path in (ROOT / "toast_core/studies").iterdir() if (path / "__init__.py").is_file()]
        assert len(studies) >= 9 and all(f" {name}/" in text for name in studies)


class TestContributing:
    """What docs/contributing.md and docs/plugins.md say is what the code says."""

    def test_the_tiers_are_those_of_the_tests(self) -> None:
        table = re.findall(r"^\| `(\w+)` \| (.*) \| by (a fixture|hand) \|$", text_of(DOCS / "contributing.md"), re.MULTILINE)
        assert [(name, need, how == "a fixture") for name, need, how in table] == [
            (name, need, name in FIXTURES.values()) for name, need in TIERS.items()
        ]

    def test_the_groups_are_those_of_the_registries(self) -> None:
        groups = {one.group for one in (SCORES, FORMATS, FAMILIES, KINDS, navigation.RENDERERS)}
        for page in ("plugins", "contributing"):
            assert set(re.findall(r"toast_studio\.\w+", text_of(DOCS / f"{page}.md"))) == groups


class TestPages:
    """One page, one job, and a way to it."""

    def test_every_page_is_in_the_index(self) -> None:
        index = DOCS / "index.md"
        linked = {(DOCS / target).resolve() for target in LINK.findall(text_of(index))}
        missing = [name_of(page) for page in PAGES if page != index and page not in linked]
        assert not missing, f"docs/index.md has no line for {', '.join(missing)}"

    @pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
    def test_every_relative_link_leads_somewhere(self, path: Path) -> None:
        for link in LINK.findall(text_of(path)):
            target = urlsplit(link)
            if target.scheme:
                continue
            found = (path.parent / target.path).resolve() if target.path else path
            assert found.exists(), f"{name_of(path)} links to {link}, which is not there"
            if target.fragment:
                assert target.fragment in headings_of(found), f"{name_of(path)} links to {link}, and no heading gives that anchor"

    @pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
    def test_every_file_named_is_there(self, path: Path) -> None:
        """A word in capitals stands for a file that somebody is to write, in a folder that is there."""
        named = re.findall(r"`((?:toast_core|analysis_cache|dashboard|tests|benchmarks|training|docs)/[\w/.-]*)`", text_of(path))
        missing = [name for name in named if not (ROOT / re.sub(r"[A-Z]{3,}.*", "", name)).exists()]
        assert not missing, f"{name_of(path)} names {', '.join(missing)}"

    def test_every_picture_is_shown_or_made_by_the_script(self) -> None:
        assert "for name in pages():" in text_of(DOCS / "make_screenshots.py")
        shown = {target for path in DOCUMENTS for target in re.findall(r"screenshots/([\w-]+)\.png", text_of(path))}
        for picture in (DOCS / "screenshots").glob("*.png"):
            assert picture.stem in shown or picture.stem.rpartition("-")[0] in navigation.pages()

    @pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
    def test_a_page_has_one_title(self, path: Path) -> None:
        titles = re.findall(r"^# .+$", re.sub(r"^```.*?^```$", "", text_of(path), flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
        assert len(titles) == 1 and text_of(path).startswith(titles[0])

    @pytest.mark.parametrize("path", [README, *(DOCS / f"{name}.md" for name in RESULTS)], ids=name_of)
    def test_no_figure_is_typed_by_hand(self, path: Path) -> None:
        found = FIGURE.findall(prose_of(path))
        assert not found, f"{name_of(path)} says {found} outside the parts that a program writes"

    def test_a_typed_figure_is_seen(self) -> None:
        for text in ("2.4x less CPU", "loses 0.3 points", "in 14.1 ms", "saves 40 % of", "1.83 times as fast", "at 4.6 GMACs"):
            assert FIGURE.search(text), text
        for text in ("the 95 % interval", "batches of 32", "opset 18 to 23", "at 1e-4 of it"):
            assert not FIGURE.search(text), text
