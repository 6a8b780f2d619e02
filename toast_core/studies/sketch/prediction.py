"""What a whole schedule is predicted to do, from a sketch of single cells and from schedules that were measured. Imports no torch.

The damage of a schedule follows from two sums over its cells: of what they move together, interactions included, and of their single
damages. Which of the two is nearer depends on how large the changes are; a regression on both, held to a prior, learns it from measured
schedules. Top-1 follows from damage by one more step: the label's margin over the next logit is taken to be moved by a normal of the
same width on every image, whose width is the one that gives the damage. Of two classes with margin m, and s = 1 / (1 + exp(-m)),
KL is s (1 - s) t^2 / 2 to second order where t is that width, and the answer stays right with probability Phi(m / t).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import expit, ndtr

from toast_core.cost.shapes import ModelShape
from toast_core.intervals import Z95, Estimate
from toast_core.schedule.schedule import Schedule
from toast_core.schedule.sites import SITES
from toast_core.schedule.stops import effective_ratio
from toast_core.studies.sketch.regression import LogRegression, regress
from toast_core.studies.sketch.result import Sketch, Trial

MOST_LOST = 15.0  # points: beyond it accuracy depends on more than the two largest logits
_CENTER = np.log(0.02)
# Of log damage before any schedule is measured: an offset at the center, the logarithm of the sum of single damages, and that of what all
# move together over that sum. Refitted cells change little, and the sketch is right; without, larger changes bend what is predicted.
_REFITTED = np.array([_CENTER + 0.2, 1.0, 0.5]), np.array([0.25, 0.1, 0.2])
_DROPPED = np.array([_CENTER + 0.8, 1.3, 0.3]), np.array([0.5, 0.2, 0.25])


@dataclass(frozen=True)
class Prediction:
    """A schedule's predicted damage with its 95 % band, and `calibrated_by` how many measured schedules; `why` there is none, if so."""

    damage: Estimate | None
    calibrated_by: int
    why: str = ""


@dataclass(frozen=True, eq=False)
class Predictor:
    """Predicts schedules of one model, all compensated or none of them, from a sketch of such cells.

    shape        of the model
    sketch       of its cells, of single sites
    compensated  whether the cells are
    more         schedules of the same kind that were measured, beside the sketch's own
    """

    shape: ModelShape
    sketch: Sketch
    compensated: bool = False
    more: tuple[Trial, ...] = ()

    def damage(self, schedule: Schedule, margins: np.ndarray | None = None) -> Prediction:
        """The damage of a schedule, in the sketch's unit: of the sketched images, or of others by their margins, see `predicted_change`."""
        found = self._features(schedule)
        if isinstance(found, str):
            return Prediction(None, self._learned.points, found)
        if found is None:
            return Prediction(Estimate(0.0, (0.0, 0.0)), self._learned.points)
        features, sampling = found
        damage, factor = self._learned.predict(features, sampling), self.factor(margins)
        low, high = damage.ci95
        return Prediction(Estimate(factor * damage.value, (factor * low, factor * high)), self._learned.points)

    def factor(self, margins: np.ndarray | None) -> float:
        """How many times the sketched images' damage images of these margins have: as many times as the baseline is less sure of them."""
        return unsureness(margins) / self.sketch.unsure if margins is not None and self.sketch.unsure else 1.0

    @cached_property
    def _learned(self) -> LogRegression:
        found = [(self._features(trial.schedule), trial.damage) for trial in (*self.sketch.trials, *self.more) if trial.damage > 0]
        usable = [(features[0], damage) for features, damage in found if features is not None and not isinstance(features, str)]
        prior = _REFITTED if self.compensated else _DROPPED
        points = np.array([features for features, _ in usable]).reshape(-1, len(prior[0]))
        return regress(points, np.array([damage for _, damage in usable]), *prior)

    @cached_property
    def _lines(self) -> dict[tuple[int, str], tuple[np.ndarray, np.ndarray]]:
        """By block and site the sketched ratios, 0 before them, and what cells at them move, (ratios, draws, images)."""
        found = {}
        places: dict[tuple[int, str], list[int]] = {}
        for number, cell in enumerate(self.sketch.cells):
            places.setdefault((cell.block, cell.site), []).append(number)
        for place, numbers in places.items():
            numbers.sort(key=lambda number: self.sketch.cells[number].ratio)
            moved = self.sketch.moved[numbers].astype(np.float64)
            found[place] = np.array([0.0, *(self.sketch.cells[number].ratio for number in numbers)]), np.concatenate([0 * moved[:1], moved])
        return found

    def _features(self, schedule: Schedule) -> tuple[np.ndarray, float] | str | None:
        """The regression's features and the relative standard error of the damage over images; None where nothing is dropped.

        A text where a site is not sketched that far: why the schedule cannot be predicted.
        """
        together, alone = 0.0, 0.0
        for index, (block, entry) in enumerate(zip(self.shape.blocks, schedule.blocks, strict=True)):
            for site in SITES:
                ratio = effective_ratio(block.site_width(site), getattr(entry, site), schedule.multiple_of)
                if not ratio:
                    continue
                if (index, site) not in self._lines:
                    return f"{site} of block {index} is not sketched"
                ratios, moved = self._lines[index, site]
                if ratio > ratios[-1]:
                    return f"block {index} drops {100 * ratio:.4g} % of {site}, sketched are ratios up to {100 * ratios[-1]:.4g} %"
                right = int(np.searchsorted(ratios, ratio))
                share = (ratio - ratios[right - 1]) / (ratios[right] - ratios[right - 1])
                own = moved[right - 1] + share * (moved[right] - moved[right - 1])
                together, alone = together + own, alone + 0.5 * np.square(own).mean()
        if isinstance(together, float) or not alone:
            return None
        damage = 0.5 * np.square(together).mean(axis=0)
        joint = max(float(damage.mean()), 1e-12 * alone)
        sampling = float(damage.std(ddof=1) / np.sqrt(len(damage)) / joint) if len(damage) > 1 else 0.0
        return np.array([1.0, np.log(alone) - _CENTER, np.log(joint / alone)]), sampling


def predicted_change(damage: Estimate, margins: np.ndarray) -> Estimate | None:
    """The change in top-1 in points that goes with a damage (KL in nats), on as many images as there are margins.

    The band joins that of the damage with what these images' number leaves open, as if independent. None where more than MOST_LOST points
    are predicted to be lost: see `predicted_change`'s module.

    Args:
        damage: predicted, with its band.
        margins: of the baseline, (images,): the label's logit less the largest other one.
    """
    value, spread = _change(damage.value, margins)
    if value < -MOST_LOST:
        return None
    worst, best = _change(damage.ci95[1], margins)[0], _change(damage.ci95[0], margins)[0]
    low = min(worst, best) - value
    high = max(worst, best) - value
    return Estimate(value, (value - float(np.hypot(low, Z95 * spread)), value + float(np.hypot(high, Z95 * spread))))


def _change(damage: float, margins: np.ndarray) -> tuple[float, float]:
    """The expected change in points, and its standard deviation over which images are asked."""
    right, after = margins > 0, right_after(damage, margins)
    turned = np.where(right, 1 - after, after)
    return 100 * float(np.mean(after) - np.mean(right)), 100 * float(np.sqrt(np.mean(turned) / len(margins)))


def unsureness(margins: np.ndarray) -> float:
    """The mean of s (1 - s) over images, s = 1 / (1 + exp(-margin)): what KL is proportional to where margins are moved alike."""
    return float(np.mean(expit(margins) * expit(-margins)))


def right_after(damage: float, margins: np.ndarray) -> np.ndarray:
    """How probably each image is right after a damage, (images,), for margins as in `predicted_change`."""
    unsure = unsureness(margins)
    if damage <= 0 or unsure <= 0:
        return (margins > 0).astype(np.float64)
    found: np.ndarray = ndtr(margins / np.sqrt(2 * damage / unsure))
    return found
