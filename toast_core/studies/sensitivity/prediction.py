"""What a cell does to the headline, from its predicted damage: with nothing measured of it, or with a few images. Imports no torch.

A damage is known by its logarithm (`LogDamage`): from the sketch, set right by the measured cells of the site, and from what the cell
itself lost on the images that it was measured on. The headline follows from damage as in `sketch.prediction`: the labels' margins are
moved by a normal. How far that is off is learned for each site from its measured cells, and left open for the single cell.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from toast_core.intervals import Z95, Estimate
from toast_core.studies.sensitivity.cells import Cell
from toast_core.studies.sketch.calibration import NOISE
from toast_core.studies.sketch.prediction import MOST_LOST, right_after
from toast_core.studies.sketch.regression import LogDamage
from toast_core.studies.tasks.base import CellOutcomes

_SITE_SPREAD, _CELL_SPREAD = 0.35, 0.3  # a site's factor before it is measured, and the logarithm of what a cell has beside its site's
_LEAST, _MOST = 0.1, 2.5  # a site's factor
_LEAST_UNSURE = 16  # images among which the doubt is shared, evenly counted


@dataclass(frozen=True)
class Factor:
    """What a site's cells turn over what their damage says, and the variance that is left of it."""

    value: float = 1.0
    variance: float = _SITE_SPREAD**2

    @classmethod
    def learned(cls, missed: np.ndarray, expected: float) -> "Factor":
        """From what was turned beyond expectation, summed over cells image by image, (images,), and the expected sum.

        What makes a margin small makes it so for every cell: it is images that are independent.
        """
        if expected <= 0 or len(missed) < 2:
            return cls()
        noise = len(missed) * float(np.var(missed, ddof=1)) / expected**2
        share = cls.variance / (cls.variance + noise)
        return cls(float(np.clip(1 + share * missed.sum() / expected, _LEAST, _MOST)), cls.variance * (1 - share))


@dataclass(frozen=True, eq=False)
class Headline:
    """How the headline of a site's cells follows from damage.

    images        that the change is asked of, in all
    margins       of the baseline on some of them, see `CellOutcomes.margins`; None where the headline loses just the damage
    lost, gained  of images that turn wrong, and of those that turn right
    """

    images: int
    margins: np.ndarray | None
    lost: Factor = Factor()
    gained: Factor = Factor()

    def change(self, damage: LogDamage, level: float, z: float) -> Estimate | None:
        """The change in points and its interval; None where the margins do not tell it.

        They do not where very much is lost, where few images are unsure, and where images seem to turn right in earnest, which pruning
        does not do: then more than two classes are near each other. `level` is that of the damage's band, `z` the normal quantile for
        what the number of images and the factors leave open.
        """
        wide = LogDamage(damage.middle, damage.variance + _CELL_SPREAD**2, damage.freedom).within(level)
        if self.margins is None:
            return Estimate(-100 * wide.value, (-100 * wide.ci95[1], -100 * wide.ci95[0]))
        unsure = expit(self.margins) * expit(-self.margins)
        if unsure.sum() ** 2 < _LEAST_UNSURE * np.square(unsure).sum() or not unsure.any():
            return None
        value, deviation = self._points(wide.value)
        if value < -MOST_LOST or value > z * deviation:
            return None
        ends = [self._points(end)[0] for end in wide.ci95]
        low = float(np.hypot(min(*ends, value) - value, z * deviation))
        high = float(np.hypot(max(*ends, value) - value, z * deviation))
        return Estimate(value, (self.all_lost if min(ends) < -MOST_LOST else value - low, value + high))

    @property
    def all_lost(self) -> float:
        """The change if no image stayed right."""
        return 0.0 if self.margins is None else -100 * float(np.mean(self.margins > 0))

    def _points(self, damage: float) -> tuple[float, float]:
        """The expected change of margins' images, and the standard deviation of what factors, images and margins leave open."""
        if self.margins is None or not np.isfinite(damage):
            return self.all_lost, 0.0
        right, after = self.margins > 0, right_after(damage, self.margins)
        lost, gained = np.where(right, 1 - after, 0), np.where(right, 0, after)
        change = self.gained.value * gained - self.lost.value * lost
        # one image may turn where none is expected to: intervals of counts allow for it likewise
        asked = (float(np.mean(lost + gained)) * self.images + 1) / self.images**2
        known, rest = len(self.margins), max(0.0, 1 - len(self.margins) / self.images)
        of_known = float(np.var(change, ddof=1)) / known * rest if known > 1 else rest
        of_factors = self.lost.variance * float(np.mean(lost)) ** 2 + self.gained.variance * float(np.mean(gained)) ** 2
        return 100 * float(np.mean(change)), 100 * float(np.sqrt(asked + of_known + of_factors))


def headline(images: int, baseline: CellOutcomes, first: CellOutcomes, measured: Mapping[Cell, CellOutcomes]) -> Headline:
    """How the headline of a site's cells follows from their damage, by what its measured cells turned.

    Args:
        images: of the sweep, in all.
        baseline: of as many of its images as are known.
        first: the baseline on the first images, at least as many as any cell was measured on.
        measured: the site's cells, on the first images.
    """
    margins, known = baseline.margins(), first.margins()
    if margins is None or known is None:
        return Headline(images, None)
    missed, expected = np.zeros((2, len(first))), np.zeros(2)
    for outcomes in measured.values():
        own, turned = known[: len(outcomes)], outcomes.margins()
        after, right = right_after(float(outcomes.damage().mean()), own), own > 0
        if turned is None or 100 * float(np.mean(right - after)) > MOST_LOST:
            continue
        awaited = np.stack([np.where(right, 1 - after, 0), np.where(right, 0, after)])
        missed[:, : len(own)] += np.stack([right & (turned <= 0), ~right & (turned > 0)]) - awaited
        expected += awaited.sum(axis=1)
    return Headline(images, margins, *(Factor.learned(*one) for one in zip(missed, expected, strict=True)))


def measured_damage(damage: np.ndarray, before: LogDamage | None, freedom: int) -> LogDamage | None:
    """A cell's damage by the images it was measured on, (images,), joined with what was known `before`; None where it is none."""
    mean = float(damage.mean(dtype=np.float64))
    if mean <= NOISE or len(damage) < 2:
        return None
    variance = float(np.var(damage, ddof=1, dtype=np.float64)) / len(damage) / mean**2
    if before is None or not variance:
        return LogDamage(float(np.log(mean)), variance, freedom)
    own, other = 1 / variance, 1 / before.variance
    return LogDamage((own * float(np.log(mean)) + other * before.middle) / (own + other), 1 / (own + other), freedom)


def joined(predicted: Estimate, counted: tuple[float, float], z: float) -> Estimate:
    """A change as predicted (95 %) and as its interval of counted images says (quantile `z`), weighted by what each leaves open."""
    middle, half = (counted[0] + counted[1]) / 2, (counted[1] - counted[0]) / 2
    low, high = predicted.value - predicted.ci95[0], predicted.ci95[1] - predicted.value
    of_counts, of_prediction = (half / z) ** 2, ((low + high) / 2 / Z95) ** 2
    share = of_counts / (of_counts + of_prediction)
    value = share * predicted.value + (1 - share) * middle
    ends = (float(np.hypot(share * low, (1 - share) * half)), float(np.hypot(share * high, (1 - share) * half)))
    return Estimate(value, (value - ends[0], value + ends[1]))
