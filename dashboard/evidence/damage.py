"""Who gets hurt: two models' outcomes on the same images, image by image and class by class. Pure; imports no torch."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from toast_core.intervals import paired_interval
from toast_core.studies.evaluation.result import Estimate
from toast_core.studies.tasks.registry import task_of_row

Arrays = Mapping[str, np.ndarray]
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class ClassDamage:
    """One class. `change` is the paired difference in points with its 95 % interval; `p` the exact McNemar p-value after Holm."""

    label: int
    images: int
    newly_wrong: int
    newly_right: int
    change: Estimate
    p: float

    @property
    def is_clear(self) -> bool:
        """Whether the class has changed, with all classes looked at together."""
        return self.p < SIGNIFICANT


@dataclass(frozen=True, eq=False)
class Damage:
    """What a candidate does to single images, against the same images' outcomes before.

    classes      every class with an image, most newly wrong first
    change       the difference over all images in points
    wrong        positions of the newly wrong images in the set, with `label`, `before` (always the label) and `predicted` of
                 each; the surest mistake first, where margins are stored
    confusion    how often a true class is newly taken for another, most frequent first
    """

    images: int
    newly_wrong: int
    newly_right: int
    change: Estimate
    classes: tuple[ClassDamage, ...]
    wrong: np.ndarray
    label: np.ndarray
    predicted: np.ndarray
    confusion: tuple[tuple[tuple[int, int], int], ...]


def on_the_same_images(before: Arrays, after: Arrays) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Both models' arrays on the images that both have seen, by position in the set."""
    _, left, right = np.intersect1d(before["index"], after["index"], return_indices=True)
    return {name: values[left] for name, values in before.items()}, {name: values[right] for name, values in after.items()}


def paired_change(before: Arrays, after: Arrays) -> tuple[Estimate, int] | None:
    """The difference in top-1, or in another task's headline, on the images that both have seen, and how many; None where none are."""
    before, after = on_the_same_images(before, after)
    count, task = len(before["index"]), None if "predicted" in after else task_of_row(after)
    if count and task is not None:
        return task.read(after).change(task.read(before)), count
    return (_change(_correct(before), _correct(after)), count) if count else None


def damage_of(before: Arrays, after: Arrays) -> Damage | None:
    """Compare image by image; None where no image was seen by both."""
    before, after = on_the_same_images(before, after)
    was, now, label = _correct(before), _correct(after), before["label"]
    if not len(label):
        return None
    lost, gained = was & ~now, ~was & now
    labels = [int(one) for one in np.unique(label)]
    chosen = {one: label == one for one in labels}
    adjusted = holm([mcnemar(int(lost[mask].sum()), int(gained[mask].sum())) for mask in chosen.values()])
    classes = [
        ClassDamage(one, int(mask.sum()), int(lost[mask].sum()), int(gained[mask].sum()), _change(was[mask], now[mask]), p)
        for (one, mask), p in zip(chosen.items(), adjusted, strict=True)
    ]
    wrong = np.flatnonzero(lost)
    if "margin" in after:
        wrong = wrong[np.argsort(after["margin"][wrong], kind="stable")]
    pairs = Counter(zip(label[wrong].tolist(), after["predicted"][wrong].tolist(), strict=True))
    return Damage(
        len(label), int(lost.sum()), int(gained.sum()), _change(was, now),
        tuple(sorted(classes, key=lambda one: (-one.newly_wrong, one.change.value, one.label))),
        before["index"][wrong], label[wrong], after["predicted"][wrong], tuple(pairs.most_common()),
    )


def mcnemar(lost: int, gained: int) -> float:
    """Two-sided p-value of the exact McNemar test: whether images change in one direction more often than by a coin."""
    changed = lost + gained
    tail = sum(math.comb(changed, count) for count in range(min(lost, gained) + 1))
    return min(1.0, float(2 * tail / 2**changed)) if changed else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values adjusted by Holm's step-down, in the order given: one below 0.05 is clear among all of them."""
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, position in enumerate(sorted(range(len(p_values)), key=lambda one: p_values[one])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[position]))
        adjusted[position] = highest
    return adjusted


def _correct(arrays: Arrays) -> np.ndarray:
    return arrays["predicted"] == arrays["label"]


def _change(was: np.ndarray, now: np.ndarray) -> Estimate:
    return Estimate(100 * float(np.mean(now) - np.mean(was)), paired_interval(was, now))
