"""Candidates on calibration images that neither their curves nor their fits have seen."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import reduce
from statistics import NormalDist

import numpy as np
import torch
from torch import nn

from toast_core.data.load import Batch
from toast_core.intervals import Z95, mean_interval, paired_interval
from toast_core.studies.sensitivity.measure import cell_outcomes

FIRST_LOOK_IMAGES = 128


@dataclass(frozen=True)
class Judgement:
    """One candidate on held-out images: KL (nats) and whether the baseline's answer stays, an image each."""

    kl: np.ndarray
    agrees: np.ndarray

    def joined(self, other: "Judgement") -> "Judgement":
        """These images followed by the other's."""
        return Judgement(np.concatenate([self.kl, other.kl]), np.concatenate([self.agrees, other.agrees]))

    def first(self, images: int) -> "Judgement":
        """The same candidate on the first images only."""
        return Judgement(self.kl[:images], self.agrees[:images])


def judge(names: list[str], measure: Callable[[str, int], Judgement], looks: int) -> tuple[dict[str, Judgement], str, str]:
    """Compare candidates one after the other with the one ahead, look by look; one that is clearly worse is not looked at again.

    Intervals share 5 % over all looks and candidates (Bonferroni).

    Args:
        names: of the candidates, the one of least predicted damage first.
        measure: gives a candidate's judgement on the images of one look, the same images for every candidate. One candidate's looks
            are asked for before the next one's, so that one model need be held at a time.
        looks: how many there are.

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
            if is_better(judged[winner].first(len(judged[name].kl)), judged[name], z):
                break
        else:
            if is_better(judged[name], judged[winner], z):
                winner = name
    images = len(judged[first].kl)
    if winner == first:
        return judged, winner, f"{first} has the least predicted damage, and no candidate is clearly better on {images} held-out images"
    low, high = paired_interval(judged[first].agrees, judged[winner].agrees, z)
    by = f"agreement {low:+.2f} to {high:+.2f} points"
    if low <= 0:
        low, high = kl_interval(judged[winner], judged[first], z)
        by = f"KL {low:+.5f} to {high:+.5f}"
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


@torch.inference_mode()
def run_candidate(model: nn.Module, pruned: nn.Module, batches: list[Batch]) -> Judgement:
    """The pruned model beside the baseline on these batches."""
    parameter = next(model.parameters())
    found = []
    for batch in batches:
        x = batch.images.to(parameter.device, parameter.dtype)
        whole = model(x)
        outcomes = cell_outcomes(pruned(x), whole, whole.argmax(1))
        found.append(Judgement(outcomes.kl, outcomes.correct))
    return reduce(Judgement.joined, found)


def is_better(one: Judgement, other: Judgement, z: float) -> bool:
    """Whether `one` is clearly better: by agreement with the baseline, or by KL where agreement cannot tell."""
    low, high = paired_interval(other.agrees, one.agrees, z)
    if low > 0 or high < 0:
        return low > 0
    return kl_interval(one, other, z)[1] < 0


def kl_interval(one: Judgement, other: Judgement, z: float = Z95) -> tuple[float, float]:
    """The normal interval of the mean paired difference of KL, one - other."""
    return mean_interval(one.kl.astype(np.float64) - other.kl, z)
