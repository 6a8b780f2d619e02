"""How well dropped channels follow from kept ones by linear regression (method.md, section 3), from moments alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from toast_core.schedule.rounding import keep_count
from toast_core.studies.redundancy.moments import Moments, SplitMoments
from toast_core.studies.redundancy.result import fraction_key

RIDGE = 1e-6  # times the mean eigenvalue of the kept channels' covariance


@dataclass(frozen=True)
class R2Curves:
    """R2 by dropped fraction, each {"in_sample", "held_out"}: `full` is the measurement, `half` shows how far it moves.

    full   in sample: fitted on and measured over all tokens; held out: fitted on the even half, measured over the odd half
    half   in sample: the even half alone; held out: the halves' roles swapped
    """

    full: dict[str, dict[str, float]]
    half: dict[str, dict[str, float]]


@dataclass(frozen=True)
class _Tokens:
    """Moments with the channels reordered: the most important first, so that every kept set is a leading block."""

    covariance: torch.Tensor
    mean: torch.Tensor

    @classmethod
    def of(cls, moments: Moments, order: torch.Tensor) -> "_Tokens":
        return cls(moments.covariance(order), moments.mean[order])


def r2_curves(moments: SplitMoments, whole: Moments, importance: torch.Tensor, fractions: Sequence[float]) -> R2Curves:
    """Regress the dropped channels on the kept ones at every dropped fraction; kept are the top keep_count(C, fraction) by importance.

    With an intercept and a ridge of RIDGE times the mean eigenvalue of the kept covariance. R2 is weighted by variance: one minus
    all squared errors over all squared deviations from the measured tokens' own mean, so it is negative where a fit does worse
    than that mean. Both halves rank channels by the importance over all images.
    """
    order = importance.argsort(descending=True, stable=True)  # equal scores in top_channels' order
    counts = {fraction_key(fraction): keep_count(len(importance), fraction) for fraction in fractions}
    everything = _Tokens.of(whole, order)
    in_sample = {key: _r2(everything, everything, _fit(everything, kept), kept) for key, kept in counts.items()}
    del everything
    even, odd = _Tokens.of(moments.even, order), _Tokens.of(moments.odd, order)
    full, half = {}, {}
    for key, kept in counts.items():
        on_even = _fit(even, kept)
        full[key] = {"in_sample": in_sample[key], "held_out": _r2(even, odd, on_even, kept)}
        half[key] = {"in_sample": _r2(even, even, on_even, kept), "held_out": _r2(odd, even, _fit(odd, kept), kept)}
    return R2Curves(full, half)


def _fit(tokens: _Tokens, kept: int) -> torch.Tensor:
    """Coefficients of the dropped channels on the kept ones, (K, C - K); zero where the kept channels never vary."""
    system = tokens.covariance[:kept, :kept].clone()
    mean_eigenvalue = system.diagonal().mean()
    if not mean_eigenvalue > 0:
        return tokens.covariance.new_zeros(kept, len(tokens.mean) - kept)
    system.diagonal().add_(RIDGE * mean_eigenvalue)
    return torch.cholesky_solve(tokens.covariance[:kept, kept:], torch.linalg.cholesky(system))


def _r2(fitted: _Tokens, measured: _Tokens, beta: torch.Tensor, kept: int) -> float:
    """R2 over `measured` of the regression fitted on `fitted`; nothing to explain is 1 where nothing is missed, else 0."""
    covariance = measured.covariance
    deviations = covariance.diagonal()[kept:].sum().item()
    # the intercept makes the fitted tokens' mean residual zero; over other tokens a shift of the means is part of the error
    shift = (measured.mean - fitted.mean)[kept:] - (measured.mean - fitted.mean)[:kept] @ beta
    explained = 2 * (beta * covariance[:kept, kept:]).sum() - (beta * (covariance[:kept, :kept] @ beta)).sum()
    errors = deviations - explained.item() + shift.square().sum().item()
    if deviations > 0:
        return 1 - errors / deviations
    return 1.0 if errors <= 0 else 0.0
