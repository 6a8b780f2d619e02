"""Candidates on calibration images that neither their curves nor their fits have seen."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import reduce
from statistics import NormalDist

import numpy as np
from torch import nn

from toast_core.data.load import Batch
from toast_core.intervals import Z95, mean_interval, paired_interval
from toast_core.studies.evaluation.measure import beside_baseline

FIRST_LOOK_IMAGES = 128


@dataclass(frozen=True)
class Judgement:
    """One candidate on held-out images: damage, and whether the baseline's answer stays where there are answers; an image each."""

    damage: np.ndarray
    agrees: np.ndarray | None

    def joined(self, other: "Judgement") -> "Judgement":
        """These images followed by the other's."""
        agrees = None if self.agrees is None or other.agrees is None else np.concatenate([self.agrees, other.agrees])
        return Judgement(np.concatenate([self.damage, other.damage]), agrees)

    def first(self, images: int) -> "Judgement":
        """The same candidate on the first images only."""
        return Judgement(self.damage[:images], None if self.agrees is None else self.agrees[:images])


def judge(
    names: list[str], measure: Callable[[str, int], Judgement], looks: int, damage: str = "KL"
) -> tuple[dict[str, Judgement], str, str]:
    """Compare candidates one after the other with the one ahead, look by look; one that is clearly worse is not looked at again.

    Intervals share 5 % over all looks and candidates (Bonferroni).

    Args:
        names: of the candidates, the one of least predicted damage first.
        measure: gives a candidate's judgement on the images of one look, the same images for every candidate. One candidate's looks
            are asked for before the next one's, so that one model need be held at a time.
        looks: how many there are.
        damage: what damage is called.

    Returns:
        each candidate's judgement, the winner's name, and why it won. The first candidate wins unless another is clearly better.
    """
    z = NormalDist().inv_cdf(1 - 0.025 / max(1, looks * (len(names) - 1)))
    first = winner = names[0]
    judged = {first: reduce(Judgement.joined, (measure(first, look) for look in range(looks)))}
    for name in names[1:]:
        for look in range(looks):
            found = measure(name, look)
            judged[name] = judged[name].joined(found) if look else found
            if is_better(judged[winner].first(len(judged[name].damage)), judged[name], z):
                break
        else:
            if is_better(judged[name], judged[winner], z):
                winner = name
    images = len(judged[first].damage)
    if winner == first:
        return judged, winner, f"{first} has the least predicted damage, and no candidate is clearly better on {images} held-out images"
    kept = agreement_interval(judged[winner], judged[first], z)
    if kept is not None and kept[0] > 0:
        by = f"agreement {kept[0]:+.2f} to {kept[1]:+.2f} points"
    else:
        low, high = damage_interval(judged[winner], judged[first], z)
        by = f"{damage} {low:+.5f} to {high:+.5f}"
    return judged, winner, f"{winner} is clearly better than {first} on {images} held-out images: {by}"


def looks_of(batches: list[Batch]) -> Iterator[list[Batch]]:
    """Batches in groups that end at 128, 256, 512, ... images and at the last."""
    seen, until, group = 0, FIRST_LOOK_IMAGES, []
    for batch in batches:
        group.append(batch)
        seen += len(batch.index)
        if seen >= until:
            yield group
            group = []
            while until <= seen:
                until *= 2
    if group:
        yield group


def run_candidate(model: nn.Module, pruned: nn.Module, batches: list[Batch]) -> Judgement:
    """The pruned model beside the baseline on these batches."""
    found = beside_baseline(model, pruned, batches)
    return Judgement(found.damage(), found.kept())


def is_better(one: Judgement, other: Judgement, z: float) -> bool:
    """Whether `one` is clearly better: by agreement with the baseline, or by damage where agreement cannot tell."""
    kept = agreement_interval(one, other, z)
    if kept is not None and (kept[0] > 0 or kept[1] < 0):
        return kept[0] > 0
    return damage_interval(one, other, z)[1] < 0


def agreement_interval(one: Judgement, other: Judgement, z: float = Z95) -> tuple[float, float] | None:
    """The paired interval of the difference in agreement, one - other, in points; None where there are no answers."""
    return None if one.agrees is None or other.agrees is None else paired_interval(other.agrees, one.agrees, z)


def damage_interval(one: Judgement, other: Judgement, z: float = Z95) -> tuple[float, float]:
    """The normal interval of the mean paired difference of damage, one - other."""
    return mean_interval(one.damage.astype(np.float64) - other.damage, z)
