"""A folder of images as a set: one subfolder a class, or any tree where classes are not used. Imports no torch."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from toast_core.data.aside import LOOSE, NO_IMAGE, OTHER_KIND
from toast_core.data.image_set import Source
from toast_core.data.listing import UNLABELLED, Listing
from toast_core.data.splits import are_splits, folders_to_give
from toast_core.errors import DataError
from toast_core.files import printable

_SHOWN = 4


def class_folders(listing: Listing, hint: str) -> Source:
    """The set of the images that lie in a folder's subfolders, each subfolder a class, one without images too.

    Raises:
        DataError: there are none, or the subfolders are parts of a data set, such as train and val; `hint` says what else to give.
    """
    root, folders, tops = listing.root, listing.folders, listing.tops()
    if not folders:
        what = "holds images but no class folders" if len(listing) else "is empty" if _is_bare(root) else "has no class folders"
        table = " (their classes may stand in a table: --labels FILE.csv)" if len(listing) else ""
        raise DataError(f"data folder {root} {what}{table}; {hint}")
    positions = [position for position, top in enumerate(tops) if top]
    if not positions:
        found = "but no image in them" if len(listing) else "but no image"
        raise DataError(f"data folder {root} has {len(folders)} class folders {found}{_instead(listing)}; {hint}")
    refuse_parts(root, [listing.names[position] for position in positions])
    for position, top in enumerate(tops):
        if not top:
            listing.aside.add(LOOSE, listing.names[position])
    of_class = [tops[position] for position in positions]
    return listing.source(positions, of_class, folders, listing.digest(positions), _empty(folders, of_class))


def any_tree(listing: Listing, hint: str) -> Source:
    """The set of all images below a folder, for uses without labels; where there are subfolders they are groups, as classes would be.

    Raises:
        DataError: there are none; `hint` says what else to give.
    """
    root, folders, tops = listing.root, listing.folders, listing.tops()
    if not len(listing):
        raise DataError(f"data folder {root} {'is empty' if _is_bare(root) else f'holds no image{_instead(listing)}'}; {hint}")
    grouped = [position for position, top in enumerate(tops) if top]
    if not grouped:
        return listing.unlabelled()
    loose = [position for position, top in enumerate(tops) if not top]
    groups = [*folders, UNLABELLED] if loose else list(folders)
    positions = [*grouped, *loose]
    of_group = [tops[position] or UNLABELLED for position in positions]
    parts = Counter(of_group)
    notes = _empty(folders, of_group)
    if are_splits([name for name in folders if name in parts]):
        counts = ", ".join(f"{printable(name)} {parts[name]:,}" for name in folders[:_SHOWN])
        notes.append(f"read as one set, without labels: images of {counts}; give one of these folders to read it alone")
    has_classes = not loose and not folders_to_give([listing.names[position] for position in grouped], Path(root).name)
    return listing.source(positions, of_group, groups, listing.digest(positions), notes, has_classes=has_classes)


def refuse_parts(root: str, names: Sequence[str]) -> None:
    """Raise a DataError where images lie in train, val and the like: as classes, those would give an accuracy that means nothing."""
    better = folders_to_give(names, Path(root).name)
    if better:
        tops = sorted({name.partition("/")[0] for name in names})
        what = "is no class" if len(tops) == 1 else "are parts of a data set, not classes"
        shown = ", ".join(tops[:_SHOWN]) + (", ..." if len(tops) > _SHOWN else "")
        give = " or ".join(str(Path(root) / one) for one in better[:_SHOWN])
        raise DataError(f"{root} is a folder above the classes: {shown} {what}; give {give}")


def _empty(folders: Sequence[str], of_class: Sequence[str]) -> list[str]:
    filled = set(of_class)
    empty = [printable(name) for name in folders if name not in filled]
    if not empty:
        return []
    shown = ", ".join(empty[:_SHOWN]) + (", ..." if len(empty) > _SHOWN else "")
    hold = "holds" if len(empty) == 1 else "hold"
    return [f"{len(empty)} of {len(folders)} class folders {hold} no image ({shown}) and still {'counts' if len(empty) == 1 else 'count'}"]


def _is_bare(root: str) -> bool:
    with os.scandir(root) as entries:
        return next(entries, None) is None


def _instead(listing: Listing) -> str:
    """What a folder without images holds instead."""
    if listing.aside.count(OTHER_KIND) or listing.aside.count(NO_IMAGE):
        return f" ({'; '.join(listing.aside.notes()[:2])})"
    return ""
