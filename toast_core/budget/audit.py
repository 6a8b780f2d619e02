"""How far a prediction can be trusted: what measured schedules say about the sum of single-site damages."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import t

FEWEST = 3
LEVEL = 0.95


@dataclass(frozen=True)
class Interaction:
    """What sites do to each other on the whole: measured damage is `ratio` times the sum of single sites', give or take.

    ratio      geometric mean of measured / predicted
    spread     standard deviation of its logarithm between schedules
    schedules  how many were measured
    """

    ratio: float
    spread: float
    schedules: int

    def band(self, predicted: float) -> tuple[float, float, float]:
        """The corrected damage with the band (95 %, Student's t) in which another schedule's measured damage is expected."""
        half = float(t.ppf(0.5 + LEVEL / 2, self.schedules - 1)) * self.spread * (1 + 1 / self.schedules) ** 0.5
        middle = predicted * self.ratio
        return middle, middle * float(np.exp(-half)), middle * float(np.exp(half))

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values, as a tuning stores them."""
        return asdict(self)


def learn(predicted: Sequence[float], measured: Sequence[float]) -> Interaction | None:
    """Learn from schedules that were predicted and measured (nats); None where fewer than `FEWEST` have damage in both."""
    pairs = [(one, other) for one, other in zip(predicted, measured, strict=True) if one > 0 and other > 0]
    if len(pairs) < FEWEST:
        return None
    logs = np.log([other / one for one, other in pairs])
    return Interaction(float(np.exp(logs.mean())), float(logs.std(ddof=1)), len(pairs))


def coverage(predicted: Sequence[float], measured: Sequence[float]) -> tuple[int, int]:
    """How many measured damages lie in the band learned from the other schedules, and of how many that could be asked."""
    covered = asked = 0
    for index, (one, other) in enumerate(zip(predicted, measured, strict=True)):
        rest = [number for number in range(len(predicted)) if number != index]
        learned = learn([predicted[number] for number in rest], [measured[number] for number in rest])
        if learned is not None and one > 0 and other > 0:
            _, low, high = learned.band(one)
            asked, covered = asked + 1, covered + (low <= other <= high)
    return covered, asked
