"""A table of labels beside images: which of its columns names the image, which the class, and what fits nothing. Imports no torch."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from toast_core.data.aside import NO_CLASS, NO_LABEL
from toast_core.data.image_set import Source
from toast_core.data.listing import MOST_CLASSES, Listing
from toast_core.data.text import Names, read_text
from toast_core.errors import DataError
from toast_core.files import printable

_WHAT = "a CSV file with a column of file names and one of classes"
_IMAGE_HEADS = {
    "filename", "file", "files", "filenames", "filepath", "path", "paths", "filepaths", "image", "images", "img", "imagename",
    "imgname", "imagefile", "imagepath", "imgpath", "imageid", "imgid", "id", "name", "photo", "picture", "fname", "relpath",
    "relativepath", "key",
}
_CLASS_HEADS = {
    "label", "labels", "class", "classes", "classname", "classid", "classidx", "classindex", "target", "targets", "category",
    "categoryname", "categoryid", "labelname", "labelid", "y", "groundtruth", "gt", "wnid", "synset", "predictionstring", "breed",
    "species",
}
_BOXES = "predictionstring"  # ImageNet's own form: the class is its first word, boxes follow
_DELIMITERS = (",", ";", "\t", None)
_SAMPLE = 200
_NUMBER = re.compile(r"(0|[1-9][0-9]*)(\.0*)?")
_MINUS = re.compile(r"-[0-9]+(\.0*)?")


@dataclass(frozen=True)
class _Table:
    rows: list[list[str]]
    head: list[str]
    image: int
    label: int

    def column(self, number: int) -> str:
        return f"column {self.head[number]!r}" if self.head else f"column {number + 1}"


def with_labels(listing: Listing, file: Path) -> Source:
    """The set of the listed images that a table has a class for. Whole numbers from 0 are outputs of the model, other classes names.

    Raises:
        DataError: the table cannot be read, its columns are not clear, it has two classes for an image, or most images have no row.
    """
    names = Names(listing.names, Path(listing.root) if Path(listing.root).is_dir() else Path(listing.root).parent)
    table = _read(file, names, listing)
    of_image: dict[int, str] = {}
    strangers: list[str] = []
    classless: set[int] = set()
    elsewhere: list[tuple[str, int]] = []
    for row in table.rows:
        position, _, by_name_alone = names.find(row[table.image])
        if by_name_alone and position is not None:
            elsewhere.append((row[table.image], position))
        label = _label(row[table.label], table)
        if position is None:
            strangers.append(row[table.image])
        elif position < 0:
            raise DataError(f"{file} names {row[table.image]!r:.80}, which several images of {listing.root} are called; write paths in it")
        elif not label:
            classless.add(position)
        elif of_image.setdefault(position, label) != label:
            raise DataError(f"{file} has two classes for {row[table.image]!r:.80}, {of_image[position]!r:.40} and {label!r:.40}; keep one")
    unnamed = [position for position in range(len(listing)) if position not in of_image and position not in classless]
    if 2 * len(of_image) < len(listing) or not of_image:
        first = f"; it begins with {printable(strangers[0])!r:.80}" if strangers else ""
        raise DataError(
            f"{file} has classes for {len(of_image):,} of the {len(listing):,} images of {listing.root}{first}, and the first image "
            f"without one is {printable(listing.names[(unnamed or sorted(classless))[0]])}; give the table of these images"
        )
    for position in unnamed:
        listing.aside.add(NO_LABEL, listing.names[position])
    for position in sorted(classless - of_image.keys()):
        listing.aside.add(NO_CLASS, listing.names[position])
    notes = [f"classes of {len(of_image):,} images are those of {table.column(table.label)} of {file}, by {table.column(table.image)}"]
    if elsewhere:
        named, position = elsewhere[0]
        what = f"{len(elsewhere):,} of {len(table.rows):,} rows of {file} are matched by file name alone, their folders differ"
        notes.append(f"{what} (first {printable(named)}, taken for {printable(listing.names[position])} of {listing.root})")
    if strangers:
        notes.append(f"{len(strangers):,} of {len(table.rows):,} rows of {file} name no image here (first {printable(strangers[0])})")
    return _as_set(listing, of_image, file, notes)


def _as_set(listing: Listing, of_image: dict[int, str], file: Path, notes: Sequence[str]) -> Source:
    labels = set(of_image.values())
    below = next((label for label in sorted(labels) if _MINUS.fullmatch(label)), None)
    numbered = all(_NUMBER.fullmatch(label) for label in labels)
    if below is not None and all(_NUMBER.fullmatch(label) or _MINUS.fullmatch(label) for label in labels):
        raise DataError(f"{file} has the class {below}, and outputs are numbered from 0; mend it, or leave out the rows of unknown class")
    if numbered:
        of_image = {position: label.partition(".")[0] for position, label in of_image.items()}
        longest = max(of_image.values(), key=lambda label: (len(label), label))  # whole numbers of any length, which int would not all read
        if len(longest) > len(str(MOST_CLASSES)) or int(longest) >= MOST_CLASSES:
            shown = f"{longest:.20}..." if len(longest) > 20 else longest
            raise DataError(f"{file} has the class {shown}, and outputs are numbered from 0 to {MOST_CLASSES - 1:,}; number the classes so")
        classes = [str(number) for number in range(int(longest) + 1)]
    else:
        classes = sorted(labels)
    positions = sorted(of_image)
    of_class = [of_image[position] for position in positions]
    digest = listing.digest(positions, of_class, "labels\n")
    return listing.source(positions, of_class, classes, digest, map(printable, notes), numbered)


def _label(cell: str, table: _Table) -> str:
    words = cell.split()
    return words[0] if words and table.head and _key(table.head[table.label]) == _BOXES else cell.strip()


def _read(file: Path, names: Names, listing: Listing) -> _Table:
    text = read_text(file, _WHAT)
    if not len(listing):
        raise DataError(f"{listing.root} holds no image that {file} could give a class; give the folder of the images")
    readings = [(_fits(rows, names), rows) for delimiter in _DELIMITERS if (rows := _rows(text, delimiter, file))]
    if not readings:
        raise DataError(f"{file} has no two columns; give {_WHAT}, with commas, semicolons or tabs between")
    _, rows = max(readings, key=lambda one: one[0])
    width = len(rows[0])
    for number, row in enumerate(rows, 1):
        if len(row) != width:
            raise DataError(f"row {number} of {file} has {len(row)} columns where the first has {width}; mend it")
    head = [cell.strip() for cell in rows[0]] if _is_head(rows[0], names) else []
    body = rows[1:] if head else rows
    if not body:
        raise DataError(f"{file} has a header and no rows; give {_WHAT}")
    image = _image_column(body, head, names, file, listing)
    return _Table(body, head, image, _class_column(body, head, image, file))


def _rows(text: str, delimiter: str | None, file: Path) -> list[list[str]]:
    """Rows of at least two columns; without a delimiter the last word of a line is the class."""
    if delimiter is None:
        return [parts for line in text.split("\n") if len(parts := line.rsplit(None, 1)) > 1]
    try:
        found = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
        rows = [row for row in found if any(map(str.strip, row))]
    except csv.Error as error:
        raise DataError(f"{file} cannot be read as a table ({error}); give {_WHAT}") from error
    return rows if rows and len(rows[0]) > 1 else []


def _fits(rows: list[list[str]], names: Names) -> int:
    """In how many of the first rows a cell names an image."""
    return sum(any(names.find(cell).position is not None for cell in row) for row in rows[:_SAMPLE])


def _key(head: str) -> str:
    return re.sub(r"[\W_]+", "", head.lower())


def _is_head(row: Sequence[str], names: Names) -> bool:
    known = sum(_key(cell) in _IMAGE_HEADS | _CLASS_HEADS for cell in row)
    return known > 1 or (known == 1 and not any(names.find(cell).position is not None for cell in row))


def _image_column(rows: list[list[str]], head: list[str], names: Names, file: Path, listing: Listing) -> int:
    """The column whose cells name images, closest to their whole names and hardly any twice."""
    found: list[tuple[int, int, set[int | None]]] = []
    for column in range(len(rows[0])):
        hits = [hit for row in rows if (hit := names.find(row[column])).position is not None]
        distinct = {hit.position for hit in hits}
        if hits and (2 * len(distinct) > len(hits) or (head and _key(head[column]) in _IMAGE_HEADS)):
            found.append((min(hit.looseness for hit in hits), column, distinct))
    named = [one for one in found if head and _key(head[one[1]]) in _IMAGE_HEADS]
    best = min((looseness for looseness, _, _ in found), default=0)
    left = named or [one for one in found if one[0] == best]
    if not left:
        shown = printable(rows[0][0])
        raise DataError(
            f"no column of {file} names images of {listing.root}: it begins with {shown!r:.80}, the images with "
            f"{printable(listing.names[0])}; give {_WHAT}"
        )
    columns = [column for _, column, _ in left]
    # several that say the same, such as a path and a name, are as good as one
    if any(names.find(row[column]).position != names.find(row[columns[0]]).position for column in columns[1:] for row in rows):
        raise DataError(f"several columns of {file} may name the images ({_shown(head, columns)}); keep one")
    return columns[0]


def _class_column(rows: list[list[str]], head: list[str], image: int, file: Path) -> int:
    others = [column for column in range(len(rows[0])) if column != image]
    known = [column for column in others if head and _key(head[column]) in _CLASS_HEADS]
    if not known and head:
        known = [column for column in others if _key(head[column]) not in _IMAGE_HEADS] if len(others) > 1 else others
    candidates = known or others
    if len(candidates) > 1 and not head:  # boxes and scores behind a name, as Tiny ImageNet has them
        words = [column for column in candidates if not all(re.fullmatch(r"[\d.+-]*", row[column].strip()) for row in rows)]
        candidates = words or candidates
    if len(candidates) > 1 and any(row[one] != row[candidates[0]] for one in candidates for row in rows):
        raise DataError(f"several columns of {file} may be the class ({_shown(head, candidates)}); keep one, or name it label")
    return candidates[0]


def _shown(head: list[str], columns: Sequence[int]) -> str:
    return ", ".join(head[column] if head else str(column + 1) for column in columns)
