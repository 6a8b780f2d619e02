"""Ridge regressions from sums over tokens: float64, one pass, a held-out half to choose the ridge (method, section 6)."""

from dataclasses import dataclass

import torch

from toast_core.compensation.threads import few_threads

RIDGES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # times the mean variance of the inputs
_CHUNK_TOKENS = 4096
_SYMMETRIC = 384  # inputs; below, one product takes less time than four


@dataclass(eq=False)
class Sums:
    """Sums over T tokens of inputs x (P,) and targets y (Q,): everything a linear fit of y on x depends on."""

    tokens: int
    x: torch.Tensor
    y: torch.Tensor
    xx: torch.Tensor
    xy: torch.Tensor
    yy: torch.Tensor

    @classmethod
    def zeros(cls, inputs: int, targets: int, device: torch.device | str = "cpu") -> "Sums":
        """Sums over no tokens yet, in float64 on a device: P is `inputs`, Q is `targets`."""
        shapes = ((inputs,), (targets,), (inputs, inputs), (inputs, targets), (targets,))
        return cls(0, *(torch.zeros(shape, dtype=torch.float64, device=device) for shape in shapes))

    def add(self, x: torch.Tensor, y: torch.Tensor) -> None:
        """Add tokens x (T, P) with their targets y (T, Q)."""
        self.tokens += len(x)
        for inputs, targets in zip(x.split(_CHUNK_TOKENS), y.split(_CHUNK_TOKENS), strict=True):
            inputs, targets = inputs.double(), targets.double()
            self.x += inputs.sum(dim=0)
            self.y += targets.sum(dim=0)
            add_gram(self.xx, inputs)
            self.xy.addmm_(inputs.T, targets)
            self.yy += targets.square().sum(dim=0)
        mirror(self.xx)

    def merge(self, other: "Sums") -> "Sums":
        """The sums of both token sets."""
        names = ("tokens", "x", "y", "xx", "xy", "yy")
        return Sums(*(getattr(self, name) + getattr(other, name) for name in names))

    def mapped(self, encoder: torch.Tensor) -> "Sums":
        """The sums that inputs `encoder @ x` would have given; encoder is (P', P)."""
        return Sums(self.tokens, encoder @ self.x, self.y, encoder @ self.xx @ encoder.T, encoder @ self.xy, self.yy)

    def kept(self, idx: torch.Tensor) -> "Sums":
        """The sums of these inputs alone."""
        return Sums(self.tokens, self.x[idx], self.y, self.xx[idx][:, idx], self.xy[idx], self.yy)

    def covariances(self, centered: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Cov(x), Cov(x, y) and Var(y), each divided by T; second moments about zero where not `centered`."""
        tokens = max(self.tokens, 1)
        xx, xy, yy = self.xx / tokens, self.xy / tokens, self.yy / tokens
        if centered:
            mean_x, mean_y = self.x / tokens, self.y / tokens
            xx, xy, yy = xx - mean_x.outer(mean_x), xy - mean_x.outer(mean_y), yy - mean_y.square()
        return xx, xy, yy


def add_gram(sums: torch.Tensor, x: torch.Tensor) -> None:
    """Add x^T x of x (T, P) to sums (P, P), on and below the diagonal alone where that saves work; `mirror` makes it whole."""
    for columns in _strips(len(sums)):
        sums[columns.start :, columns].addmm_(x[:, columns.start :].T, x[:, columns])


def mirror(sums: torch.Tensor) -> None:
    """Complete a symmetric matrix (P, P) of which `add_gram` has added to the lower part."""
    for columns in _strips(len(sums)):
        sums[columns, columns.stop :] = sums[columns.stop :, columns].T


def _strips(channels: int) -> list[slice]:
    """Strips of columns: all at once where there are few, else so many that three eighths of the work fall away."""
    width = channels if channels < _SYMMETRIC else -(-channels // 4)
    return [slice(start, min(start + width, channels)) for start in range(0, channels, width)]


@dataclass(eq=False)
class SplitSums:
    """Sums over images at even and at odd positions of their batch."""

    even: Sums
    odd: Sums

    @classmethod
    def zeros(cls, inputs: int, targets: int, device: torch.device | str = "cpu") -> "SplitSums":
        """Sums over no tokens yet in both halves, see `Sums.zeros`."""
        return cls(Sums.zeros(inputs, targets, device), Sums.zeros(inputs, targets, device))

    def add(self, x: torch.Tensor, y: torch.Tensor, keep: torch.Tensor | None = None) -> None:
        """Add x (B, T, P) and y (B, T, Q); `keep` (B, T) says which tokens count."""
        for sums, part in ((self.even, slice(0, None, 2)), (self.odd, slice(1, None, 2))):
            if keep is None:
                sums.add(x[part].flatten(0, 1), y[part].flatten(0, 1))
            else:
                sums.add(x[part][keep[part]], y[part][keep[part]])

    def whole(self) -> Sums:
        """The sums of all images."""
        return self.even.merge(self.odd)

    def fit(self, prior: torch.Tensor, with_bias: bool) -> "LinearFit":
        """The ridge regression toward `prior` whose ridge does best from one half on the other, see `fit_held_out`."""
        return fit_held_out(self.even, self.odd, prior, with_bias)

    @property
    def size(self) -> int:
        """Bytes of all sums."""
        return sum(8 * one.numel() for half in (self.even, self.odd) for one in (half.x, half.y, half.xx, half.xy, half.yy))

    def mapped(self, encoder: torch.Tensor) -> "SplitSums":
        """The sums that inputs `encoder @ x` would have given; encoder is (P', P)."""
        return SplitSums(self.even.mapped(encoder), self.odd.mapped(encoder))

    def kept(self, idx: torch.Tensor) -> "SplitSums":
        """The sums of these inputs alone."""
        return SplitSums(self.even.kept(idx), self.odd.kept(idx))


@dataclass(frozen=True)
class LinearFit:
    """y = weight x + bias: (Q, P) and (Q,); bias is None where the layer has none. `ridge` is None where the prior was kept."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    ridge: float | None = None


def squared_error(sums: Sums, fit: LinearFit) -> float:
    """Mean over tokens of |y - weight x - bias|^2."""
    tokens, weight = max(sums.tokens, 1), fit.weight
    error = sums.yy.sum() - 2 * (weight * sums.xy.T).sum() + ((weight @ sums.xx) * weight).sum()
    if fit.bias is not None:
        error += tokens * fit.bias.square().sum() - 2 * fit.bias @ (sums.y - weight @ sums.x)
    return max(error.item() / tokens, 0.0)


def fit_toward(sums: Sums, prior: torch.Tensor, ridge: float, with_bias: bool) -> LinearFit:
    """Minimise E|y - W x - b|^2 + ridge m |W - prior|^2 over W and b, m the mean variance of the inputs.

    Over the tokens of `sums` its error is never above the prior's own with the best b: the prior is one of the candidates.
    """
    return _Regression(sums, prior, with_bias).fit(ridge)


class _Regression:
    """What `fit_toward` takes that no ridge changes."""

    def __init__(self, sums: Sums, prior: torch.Tensor, with_bias: bool) -> None:
        self.sums, self.prior, self.with_bias = sums, prior, with_bias
        self.xx, xy, _ = sums.covariances(with_bias)
        self.scale = self.xx.diagonal().mean()
        self.missing = xy - self.xx @ prior.T

    def fit(self, ridge: float) -> LinearFit:
        """The fit of one ridge."""
        if not self.scale > 0:
            return with_best_bias(self.sums, self.prior, self.with_bias)
        system = self.xx + (ridge * self.scale) * torch.eye(len(self.xx), dtype=self.xx.dtype, device=self.xx.device)
        factor, failed = torch.linalg.cholesky_ex(system)
        step = torch.linalg.lstsq(system, self.missing).solution if failed else torch.cholesky_solve(self.missing, factor)
        return with_best_bias(self.sums, self.prior + step.T, self.with_bias, ridge)


def with_best_bias(sums: Sums, weight: torch.Tensor, with_bias: bool, ridge: float | None = None) -> LinearFit:
    """The weight with the bias that makes the mean error zero."""
    return LinearFit(weight, (sums.y - weight @ sums.x) / max(sums.tokens, 1) if with_bias else None, ridge)


def fit_held_out(even: Sums, odd: Sums, prior: torch.Tensor, with_bias: bool) -> LinearFit:
    """Fit on all tokens with the ridge that, fitted on one half, errs least on the other; the prior where no fit beats it there."""
    with few_threads(len(even.x)):
        return _fit_held_out(even, odd, prior, with_bias)


def _fit_held_out(even: Sums, odd: Sums, prior: torch.Tensor, with_bias: bool) -> LinearFit:
    halves = ((even, odd), (odd, even))
    errors = {None: sum(squared_error(other, with_best_bias(half, prior, with_bias)) for half, other in halves)}
    fits = [(_Regression(half, prior, with_bias), other) for half, other in halves]
    for ridge in RIDGES:
        errors[ridge] = sum(squared_error(other, half.fit(ridge)) for half, other in fits)
    ridge = min(errors, key=errors.__getitem__)
    whole = even.merge(odd)
    return with_best_bias(whole, prior, with_bias) if ridge is None else fit_toward(whole, prior, ridge, with_bias)
