"""The written documents: README.md and the pages of docs/, with their code blocks."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
README, DOCS = ROOT / "README.md", ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
DOCUMENTS = [README, *PAGES]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def name_of(path: Path) -> str:
    """A document's path from the repository's root."""
    return path.relative_to(ROOT).as_posix()


def text_of(path: Path) -> str:
    """A document's text."""
    return path.read_text(encoding="utf-8")


def code_blocks(path: Path, language: str) -> Iterator[str]:
    """The code blocks of one language; of none where it is empty."""
    yield from (code for found, code in _BLOCK.findall(text_of(path)) if found == language)


def prose_of(path: Path) -> str:
    """A document without its code blocks, and without what stands between markers, which a program writes."""
    generated = re.compile(r"<!-- (?:([\w-]+):start|scale:\w+) -->.*?<!-- (?:\1:)?end -->", re.DOTALL)
    return generated.sub("", _BLOCK.sub("", text_of(path)))
