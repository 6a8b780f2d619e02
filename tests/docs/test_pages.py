"""README.md and docs/ hold together: short enough, every page found, every link led somewhere, no figure typed by hand."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from dashboard.navigation import pages
from tests.docs.pages import DOCS, DOCUMENTS, PAGES, README, ROOT, name_of, prose_of, text_of

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

    @pytest.mark.parametrize("path", [path for path in DOCUMENTS if path != DOCS / "contributing.md"], ids=name_of)
    def test_every_file_named_is_there(self, path: Path) -> None:
        """The page on contributing names files that somebody is to write."""
        named = re.findall(r"`((?:toast_core|analysis_cache|dashboard|tests|benchmarks|training|docs)/[\w/.-]*)`", text_of(path))
        missing = [name for name in named if not (ROOT / name).exists()]
        assert not missing, f"{name_of(path)} names {', '.join(missing)}"

    def test_every_picture_is_shown_or_made_by_the_script(self) -> None:
        script = text_of(DOCS / "make_screenshots.py")
        assert "for name in pages():" in script, "it takes a picture of every page of the dashboard"
        shown = {target for path in DOCUMENTS for target in re.findall(r"screenshots/([\w-]+)\.png", text_of(path))}
        for picture in (DOCS / "screenshots").glob("*.png"):
            name = picture.stem.rpartition("-")[0]
            assert picture.stem in shown or name in pages() or f'"{name}"' in script

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
