"""Folders that are the parts of a data set and no classes of it, as train/ and val/ are. Imports no torch."""

import re
from collections.abc import Sequence

# What each part is called, first the one to measure on
_PARTS = {
    "validation": ["val", "valid", "validation", "validate", "validating", "dev", "devel", "development", "holdout", "minival"],
    "test": ["test", "testing", "tst", "eval", "evaluation", "pred", "predict", "prediction", "predictions", "inference"],
    "training": ["train", "training", "trn", "trainval", "trainvalid", "unlabeled", "unlabelled"],
}
_PART_OF = {word: part for part, words in _PARTS.items() for word in words}
_BARE = {word + added: word for word in _PART_OF for added in ("set", "data")}
_ADDED = ["set", "data", "dataset", "split", "images", "image", "imgs", "img", "pictures", "files", "folder", "dir"]
# Folders that hold a data set and are named after that
_CONTAINERS = {"data", "dataset", "datasets", "images", "image", "imgs", "img", "pictures", "photos", "files"}
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_VALIDATION = {"val", "valid", "validation"}  # no thing that a picture shows is called so
_REPEATED = 2  # folders below that a part and its neighbour have in common: one may be a camera or a day
_FOLD = re.compile(r"(fold|split|cv)[\W_]*\d+", re.IGNORECASE)


def part_of(name: str) -> str | None:
    """Which part of a data set a folder's whole name says, such as `Val`, `test_images` or `train2017`; None for another name."""
    if _FOLD.fullmatch(name):
        return f"fold {name.lower()}"
    words = [word for word in _words(name) if word not in _ADDED and len(word) > 1]
    found = {_PART_OF.get(word) for word in words}
    return found.pop() if len(found) == 1 else None


def _mentioned(name: str) -> str | None:
    """The part that a longer name begins or ends with, as `seg_train` does."""
    words = _words(name)
    return next((_PART_OF[word] for word in (*words[:1], *words[-1:]) if word in _PART_OF), None)


def are_splits(names: Sequence[str]) -> bool:
    """Whether folders with images are the parts of a data set: all of them, two different ones beside others, or one for validation.

    One folder `train` beside others is a class, for there are trains; so are `bullet_train` and `steam_train`. `valid` beside `invalid` is
    one too.
    """
    if any(name.lower() in _VALIDATION and not any(other.lower().endswith(name.lower()) for other in names if other != name)
           for name in names):
        return True
    exact = [part_of(name) for name in names]
    named = {part for part in exact if part is not None}
    if len(named) > 1:
        return True
    if named and all(part or name.lower() in _CONTAINERS for name, part in zip(names, exact, strict=True)):
        return True
    mentioned = [part_of(name) or _mentioned(name) for name in names]
    return None not in mentioned and len(set(mentioned)) > 1


def folders_to_give(names: Sequence[str], root_name: str) -> list[str]:
    """Where images lie in the parts of a data set and not in classes, the folders to give in place of the one above, best first; else none.

    Args:
        names: of all images, relative to the folder and with slashes.
        root_name: the folder's own name; archives often hold a folder of their own name.
    """
    tops = sorted({name.partition("/")[0] for name in names if "/" in name})
    if not are_splits(tops) and not _hold_the_same(names, tops):
        if len(tops) != 1:
            return []
        deeper = folders_to_give(_below(names, tops[0]), tops[0])
        contains = tops[0].lower() in _CONTAINERS or tops[0] == root_name
        return [f"{tops[0]}/{one}" for one in deeper] or ([tops[0]] if contains else [])
    order = list(_PARTS)
    ranked = sorted(tops, key=lambda top: (order.index(part) if (part := part_of(top) or _mentioned(top)) in order else len(order), top))
    return [f"{top}/{deeper[0]}" if (deeper := folders_to_give(_below(names, top), top)) else top for top in ranked]


def _hold_the_same(names: Sequence[str], tops: Sequence[str]) -> bool:
    """Whether a part's folder, such as `test`, and one beside it are divided into folders of the same names, as parts are by class."""
    parts = [top for top in tops if part_of(top)]
    if not parts or len(parts) == len(tops):
        return False
    inside = {top: {below.partition("/")[0] for below in _below(names, top) if "/" in below} for top in tops}
    return any(len(inside[part] & inside[top]) >= _REPEATED for part in parts for top in tops if top != part)


def _below(names: Sequence[str], top: str) -> list[str]:
    return [name.partition("/")[2] for name in names if name.startswith(f"{top}/")]


def _words(name: str) -> list[str]:
    """The words of a name in lower case, without numbers; `trainset` and `valdata` count as their first part."""
    words = [word.lower() for word in _WORD.findall(name) if not word.isdigit()]
    return [_BARE.get(word, word) for word in words]
