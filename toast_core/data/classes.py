"""Which output of a model a class of an image set is: decided here alone, from a class map, from names that both know, or from an order."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from toast_core.data.class_maps import map_key, names_by_output, read_class_map
from toast_core.data.sources import Source
from toast_core.errors import DataError
from toast_core.models.info import ModelInfo
from toast_core.preprocessing import Reading

_SHOWN = 4
_LOSES_CLASSES = ("link", "cannot be looked at", "hidden", "system")  # in what was left aside: a class folder may be among it
_DIGITS = 4000  # of a number inside a name; Python reads no more than 4,300 into one


def match_classes(source: Source, info: ModelInfo, reading: Reading) -> Source:
    """Return the set with the model's outputs for labels and their names for classes, `class_to_index` said, and notes on what was guessed.

    A class map decides alone. Else an order that was chosen does; else names, where the model knows all names of the set; else the order
    that the model's file names; else the alphabetical one. Sets that number their classes themselves keep their numbers.

    Raises:
        DataError: the map cannot be read or lacks a class, or the set has another number of classes than the model.
    """
    outputs, known, names = info.shape.num_classes, info.classes, source.classes
    notes: list[str] = []
    if reading.class_map is not None:
        found = read_class_map(reading.class_map)
        index = _mapped(source, found, outputs, reading.class_map)
        all_names = names_by_output(found, outputs)
        if known is not None and (line := _differ(info, known, all_names)):
            notes.append(line)
        return _renumbered(source, index, all_names, notes)
    says_numbers = source.numbered and names == tuple(map(str, range(len(names))))  # they are outputs, whatever a file calls those
    by_name = _by_name(names, known) if known is not None and not says_numbers else None
    if by_name is not None and known is not None and reading.class_order is None and not (source.numbered and names == known):
        if list(by_name) != list(range(len(names))):
            notes.append(f"the {len(names)} classes of {source.name} are matched by name to the {outputs} that {info.name}'s weights name")
        return _renumbered(source, by_name, known, notes)
    if says_numbers and len(source) and int(source.labels.min()) == 1:
        if len(names) == outputs + 1:
            what = f"{source.name} numbers its classes from 1 to {outputs} but the outputs of {info.name} are 0 to {outputs - 1}"
            raise DataError(f"{what}: numbered from 1? outputs are numbered from 0; take 1 from each")
        notes.append(f"no image of {source.name} is of output 0: numbered from 1? outputs are numbered from 0")
    if says_numbers and len(names) < outputs:
        # a table of labels says outputs by number; that it has no image of the last ones is no error
        names = tuple(map(str, range(outputs)))
        source = replace(source, classes=names)
    if len(names) != outputs:
        lost = [note for note in source.notes if note.startswith("left aside: ") and any(word in note for word in _LOSES_CLASSES)]
        what = f"{source.name} has {len(names)} classes but {info.name} has {outputs}{'; '.join(('', *lost))}"
        raise DataError(
            f"{what}; pass --num-classes {len(names)} with weights trained for it, or --class-map FILE with the names of the model's "
            "outputs where the images are of fewer"
        )
    order = list(range(outputs)) if source.numbered else _order(names, reading.class_order or info.class_order)
    index = [order.index(position) for position in range(outputs)]
    doubt = _orders_differ(names, info.class_order) if not source.numbered and reading.class_order is None else ""
    if doubt:
        notes.append(doubt)
    ordered = tuple(names[position] for position in order)
    if known is not None and (line := _differ(info, known, ordered)):
        notes.append(line)
    return replace(_renumbered(source, index, ordered, notes), guessed=bool(doubt))


def _mapped(source: Source, found: Mapping[str, int], outputs: int, file: str) -> list[int]:
    missing = [name for name in source.classes if map_key(name) not in found]
    if missing:
        what = f"class map {file} lacks {len(missing)} of the {len(source.classes)} classes of {source.name}, first {missing[0]}"
        raise DataError(f"{what}; it begins with {next(iter(found))!r:.60}: add them")
    if min(found.values()) == 1 and max(found.values()) == outputs:
        raise DataError(f"class map {file} numbers from 1 to {outputs}; the model's outputs are 0 to {outputs - 1}: take 1 from each")
    index = [found[map_key(name)] for name in source.classes]
    beyond = [(name, number) for name, number in zip(source.classes, index, strict=True) if not 0 <= number < outputs]
    if beyond:
        raise DataError(f"class map {file} numbers {beyond[0][0]} as {beyond[0][1]}; the model's outputs are 0 to {outputs - 1}")
    return index


def _by_name(names: Sequence[str], known: Sequence[str]) -> list[int] | None:
    """The outputs of these names; None where one is not known, or where two could be meant. Case and punctuation do not count."""
    plain = [_plain(name) for name in known]
    index = [plain.index(_plain(name)) if plain.count(_plain(name)) == 1 else -1 for name in names]
    return index if -1 not in index and len(set(index)) == len(index) else None


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.casefold()) or name


def _order(names: Sequence[str], order: str | None) -> list[int]:
    """Positions in the set's alphabetical order, by output."""
    if order != "natural":
        return list(range(len(names)))
    return sorted(range(len(names)), key=lambda position: (natural_key(names[position]), names[position]))


def natural_key(name: str) -> list[int | str]:
    """What timm's training sorts class folders by: numbers inside a name by value, case ignored."""
    parts = re.split(r"(\d+)", name.lower())
    return [(int(part) if len(part) <= _DIGITS else 10**_DIGITS) if part.isdecimal() else part for part in parts]


def _orders_differ(names: Sequence[str], stored: str | None) -> str:
    natural = _order(names, "natural")
    if stored is not None or natural == list(range(len(names))):
        return ""
    first = next(number for number, position in enumerate(natural) if number != position)
    return (
        f"class folders are numbered alphabetically, so output {first} is {names[first]}; timm's training numbers them naturally, where it "
        f"is {names[natural[first]]}: pass --class-order natural if the model was trained so, or --class-order alphabetical to confirm"
    )


def _differ(info: ModelInfo, known: Sequence[str], names: Sequence[str]) -> str:
    first = next((start for start in (0, 1) if all(_number(name) == number for number, name in enumerate(names, start))), 0)
    pairs = enumerate(zip(known, names, strict=True))
    differ = [number for number, (one, other) in pairs if _plain(one) != _plain(other) and _number(other) != number + first]  # no name
    if not differ:
        return ""
    shown = ", ".join(f"{known[number]} / {names[number]}" for number in differ[:_SHOWN])
    return (
        f"class names do not belong together in {len(differ)} of {len(known)} outputs ({info.name}'s / the images': {shown}"
        f"{', ...' if len(differ) > _SHOWN else ''}); labels are matched by number, which --class-order and --class-map can change"
    )


def _number(name: str) -> int | None:
    """The number that a name is, zeros before it or not; None for another name."""
    return int(name) if re.fullmatch(r"[0-9]{1,9}", name) else None


def _renumbered(source: Source, index: Sequence[int], names: Sequence[str], notes: Sequence[str]) -> Source:
    """The set with these outputs for its classes; one whose numbers stay keeps its digest, so that what is stored of it stays valid."""
    changed = list(index) != list(range(len(names)))
    digest = source.digest
    if changed:
        digest = hashlib.sha256(f"{digest}\0{json.dumps(list(map(int, index)))}".encode()).hexdigest()
    labels = np.asarray(index, np.int64)[source.labels] if changed else source.labels
    to_index = dict(zip(source.classes, map(int, index), strict=True))
    own = dict(zip(reversed(list(map(int, index))), reversed(source.classes), strict=True))  # the first name of an output stays
    classes = tuple(own.get(number, name) for number, name in enumerate(names))
    return replace(source, classes=classes, labels=labels, digest=digest, class_to_index=to_index, notes=(*source.notes, *notes))
