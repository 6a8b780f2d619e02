"""Learning from a few measured damages what many predicted ones are worth: linear in logarithms, held to a prior. Imports no torch."""

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from toast_core.intervals import Estimate

LEVEL = 0.95
_SPREAD, _FREEDOM = 0.35, 3  # what residuals are taken for before any is seen, and how many measurements that is worth


@dataclass(frozen=True)
class LogDamage:
    """The logarithm of a damage as known so far: Student's t around `middle`, of this variance and these degrees of freedom."""

    middle: float
    variance: float
    freedom: int

    def within(self, level: float) -> Estimate:
        """The damage, and the band that holds it at this level, such as 0.95."""
        half = float(stdtrit(self.freedom, 0.5 + level / 2) * np.sqrt(self.variance))
        return Estimate(float(np.exp(self.middle)), (float(np.exp(self.middle - half)), float(np.exp(self.middle + half))))


@dataclass(frozen=True, eq=False)
class LogRegression:
    """The logarithm of measured damage as a linear function of features, and how far single measurements are from it.

    coefficients  (features,)
    covariance    (features, features), in units of the residuals' variance
    variance      of the residuals
    freedom       degrees of freedom of `variance`, the prior's included
    points        how many measurements it was learned from
    """

    coefficients: np.ndarray
    covariance: np.ndarray
    variance: float
    freedom: int
    points: int

    def predict(self, features: np.ndarray, sampling: float = 0.0) -> Estimate:
        """The damage, and the 95 % band (Student's t) of one more measurement.

        Args:
            features: (features,).
            sampling: standard error that the predicted damage has from its images, relative to it; joined in as if independent.
        """
        return self.spread(features, sampling).within(LEVEL)

    def spread(self, features: np.ndarray, sampling: float = 0.0) -> LogDamage:
        """The same, before a band is taken of it."""
        variance = self.variance * (1 + features @ self.covariance @ features) + sampling**2
        return LogDamage(float(features @ self.coefficients), float(variance), self.freedom)


def regress(features: np.ndarray, damages: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> LogRegression:
    """Ridge regression of log damages toward a prior: Bayesian with a conjugate normal and inverse gamma prior.

    Args:
        features: (points, features).
        damages: (points,), all above 0.
        mean: of the coefficients before anything is measured, (features,).
        deviation: how far the coefficients are thought to be from it, (features,).
    """
    targets = np.log(damages)
    prior = np.diag(_SPREAD**2 / np.square(deviation))
    precision = prior + features.T @ features
    found = np.linalg.solve(precision, prior @ mean + features.T @ targets)
    missed, moved = targets - features @ found, found - mean
    freedom = _FREEDOM + len(damages)
    variance = float((_FREEDOM * _SPREAD**2 + missed @ missed + moved @ prior @ moved) / freedom)
    return LogRegression(found, np.linalg.inv(precision), variance, freedom, len(damages))
