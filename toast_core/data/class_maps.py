"""Class maps: files that say which output of a model a name is, in the forms that people and libraries write. Imports no torch."""

import json
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path

from toast_core.data.text import read_text
from toast_core.errors import DataError
from toast_core.files import printable

_WHAT = "a text file with a name a line, or JSON"
_SYNSET = re.compile(r"n\d{4,}")
_WHOLE = re.compile(r"\d{1,9}", re.ASCII)


def read_class_map(file: str | Path) -> dict[str, int]:
    """Return the outputs by name of a class map: a name a line, or JSON as a list of names, {name: number}, or {number: name}.

    Lines may also be a name and its number, in either order, with a tab, comma or semicolon between; a synset with its words; or quoted.
    Values of {number: name} may be lists, as Keras writes them: every entry is a name of that output. Names are spelled as `map_key` does.

    Raises:
        DataError: it cannot be read, has another form, or names a class twice.
    """
    path = Path(file)
    text = read_text(path, f"a class map: {_WHAT}")
    lines = [(number, line.strip()) for number, line in enumerate(re.split(r"\r\n|\r|\n", text)) if line.strip()]
    is_json = path.suffix.lower() == ".json" or (text.lstrip()[:1] in ("[", "{") and text.rstrip()[-1:] in ("]", "}"))
    if not is_json and lines and lines[0][1].startswith("# ") and not any(line.startswith("#") for _, line in lines[1:]):
        raise DataError(f"class map {file} begins with the comment {lines[0][1]!r:.60}, which would count as a class; take it out")
    try:
        pairs = [] if not lines else _pairs(json.loads(text, object_pairs_hook=_once)) if is_json else _named(lines)
    except _Twice as error:
        raise DataError(f"class map {file} has {error.args[0]!r:.60} twice; keep one of them") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(f"class map {file} is no JSON of names and numbers; write a list of names, or {{name: number}}") from error
    found: dict[str, int] = {}
    for name, number in pairs:
        key = map_key(name)
        if found.setdefault(key, number) != number:
            raise DataError(f"class map {file} has {key!r:.60} twice, as {found[key]} and {number}; keep one of them")
    for name, number in pairs:  # bytes that are no UTF-8 are also letters of the usual western encoding
        found.setdefault(map_key(name.encode("utf-8", "surrogateescape").decode("latin-1")) if printable(name) != name else "", number)
    found.pop("", None)
    if not found:
        raise DataError(f"class map {file} is empty; write a name a line")
    return found


def map_key(name: str) -> str:
    """One spelling of a name: printable, and without a difference between composed and decomposed accents."""
    return unicodedata.normalize("NFC", printable(name))


def names_by_output(found: Mapping[str, int], outputs: int) -> tuple[str, ...]:
    """Return the first name of each of `outputs` outputs, its number where the map has none."""
    first: dict[int, str] = {}
    for name, number in found.items():
        first.setdefault(number, name)
    return tuple(first.get(number, str(number)) for number in range(outputs))


class _Twice(ValueError):
    """A key that an object of JSON has twice, of which Python would keep the last."""


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _Twice(next(key for key in keys if keys.count(key) > 1))
    return found


def _pairs(document: object) -> list[tuple[str, int]]:
    if isinstance(document, list) and all(isinstance(name, str) for name in document):
        return [(name, number) for number, name in enumerate(document)]
    if not isinstance(document, dict):
        raise TypeError
    if all(type(number) is int for number in document.values()):
        return list(document.items())
    named = [(int(number), [names] if isinstance(names, str) else names) for number, names in document.items()]
    return [(str(name), number) for number, names in named for name in dict.fromkeys(names)]


def _named(lines: list[tuple[int, str]]) -> list[tuple[str, int]]:
    """Names and numbers of the numbered lines that are not blank; blank ones count, as they do in timm."""
    for delimiter in ("\t", ",", ";"):
        cells = [[_bare(cell) for cell in line.split(delimiter)] for _, line in lines]
        if all(len(row) == 2 for row in cells) and (numbered := _numbered(cells)):
            return numbered
    if lines and all(_SYNSET.fullmatch(line.split()[0]) for _, line in lines):
        lines = [(number, line.split()[0]) for number, line in lines]
    elif all("\t" in line for _, line in lines):
        lines = [(number, line.partition("\t")[0]) for number, line in lines]
    elif all(_WHOLE.fullmatch(line.split()[0]) and int(line.split()[0]) == number and len(line.split()) > 1 for number, line in lines):
        numbered = [(line.partition(" ")[2].strip(), number) for number, line in lines]
        return [*numbered, *((line, number) for number, line in lines)] if len(dict(numbered)) == len(numbered) else numbered
    return [(_bare(line), number) for number, line in lines]


def _numbered(rows: list[list[str]]) -> list[tuple[str, int]]:
    """Names with the numbers beside them, under a header or none; nothing where neither column holds numbers."""
    for name, number in ((0, 1), (1, 0)):
        body = rows if _WHOLE.fullmatch(rows[0][number]) else rows[1:]
        if body and all(_WHOLE.fullmatch(row[number]) for row in body):
            return [(row[name], int(row[number])) for row in body]
    return []


def _bare(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) > 2 and text[0] == text[-1] == '"' else text
