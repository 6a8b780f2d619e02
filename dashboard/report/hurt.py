"""Classes that get worse, and the images themselves where they are at hand, from two evaluations image by image."""

import base64
from collections.abc import Callable, Sequence
from html import escape

from dashboard import wording
from dashboard.evidence.damage import Arrays, Damage, damage_of
from dashboard.report.drawing import difference_strip
from dashboard.report.paper import MEASURED, Section, badge, cell, paragraph, table

MOST_CLASSES = 8
_FEW = 4
MOST_PICTURES = 8
Pictures = Callable[[list[int]], Sequence[bytes | None]]
"""From positions in the image set to PNGs, None for one that cannot be read."""


def hurt_sections(before: Arrays, after: Arrays, names: Sequence[str], pictures: Pictures | None) -> list[Section]:
    """Which classes change, by the tests of the Compare page, and the newly wrong images; nothing where no image was seen by both."""
    found = damage_of(before, after)
    if found is None:
        return []
    known = list(names) or [f"class {label}" for label in range(1 + max(one.label for one in found.classes))]
    return [Section("Who gets hurt", _classes(found, known) + _pictures(found, known, pictures))]


def _classes(found: Damage, names: Sequence[str]) -> str:
    worse = [one for one in found.classes if one.is_clear and one.change.value < 0]
    said = (
        f"Of {found.images:,} images {found.newly_wrong:,} are newly wrong and {found.newly_right:,} newly right. "
        + (f"Clearly worse: {', '.join(_name(names, one.label) for one in worse[:MOST_CLASSES])}"
           f"{f' and {len(worse) - MOST_CLASSES} more' if len(worse) > MOST_CLASSES else ''}. " if worse
           else "No class is clearly worse. ")
        + f"{len(found.classes)} classes were tested together (exact McNemar tests, Holm at 5 %)."
    )
    ranked = sorted(found.classes, key=lambda one: (not (one.is_clear and one.change.value < 0), one.change.value))
    shown = ranked[: MOST_CLASSES if worse else _FEW]
    reach = max([5.0, *(abs(end) for one in shown for end in one.change.ci95)])
    rows = [
        (
            cell(_name(names, one.label)), cell(f"{one.images:,}"), cell(f"{one.newly_wrong:,}"), cell(f"{one.newly_right:,}"),
            cell(f"{wording.points(one.change)} ({wording.points_interval(one.change)})"),
            difference_strip(one.change, reach, one.is_clear),
            cell(("worse" if one.change.value < 0 else "better") if one.is_clear else "cannot tell"),
        )
        for one in shown
    ]
    heads = ("Class", "Images", "Newly wrong", "Newly right", "Top-1 difference (95 %)", "", "")
    more = f"The {len(shown)} of {len(found.classes)} classes that lose most." if len(found.classes) > len(shown) else ""
    return f"<p>{escape(said)} {badge(MEASURED)}</p>{table(heads, rows)}{paragraph(more, 'soft') if more else ''}"


def _name(names: Sequence[str], label: int) -> str:
    return names[label] if 0 <= label < len(names) else f"class {label}"


def _pictures(found: Damage, names: Sequence[str], pictures: Pictures | None) -> str:
    if not len(found.wrong):
        return ""
    if pictures is None:
        return paragraph("The images are not in the store, so none is shown here; the report that the dashboard makes shows them.", "soft")
    places = range(min(MOST_PICTURES, len(found.wrong)))
    shown = []
    for place, image in zip(places, pictures([int(found.wrong[place]) for place in places]), strict=True):
        true, taken = _name(names, int(found.label[place])), _name(names, int(found.predicted[place]))
        words = f"{escape(true)} \N{RIGHTWARDS ARROW} {escape(taken)}"
        code = None if image is None else base64.b64encode(image).decode()
        drawn = f'<img src="data:image/png;base64,{code}" alt="{escape(true)}">' if code else '<p class="soft">cannot be read</p>'
        shown.append(f"<figure>{drawn}<figcaption>{words}</figcaption></figure>")
    said = f"Newly wrong, the surest mistakes first, {len(shown)} of {len(found.wrong):,}: what each is, and what it is now taken for."
    return f'{paragraph(said, "soft")}<div class="pictures">{"".join(shown)}</div>'
