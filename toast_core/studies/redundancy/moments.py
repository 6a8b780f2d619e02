"""Sums over tokens from which every redundancy figure follows: float64, one pass, mergeable, as large as the width squared."""

import math
from dataclasses import dataclass, fields

import numpy as np
import torch

from toast_core.studies.redundancy.result import ABSOLUTE_THRESHOLDS

BINS_AN_OCTAVE = 128
_SHIFT = 23 - int(math.log2(BINS_AN_OCTAVE))  # a float32 has 23 bits below its octave
BINS = 1 << (31 - _SHIFT)
_CHUNK_TOKENS = 2048
_WITHOUT_FLOAT64 = ("mps",)
_NARROW_CHUNK_TOKENS = 128  # a float32 product over so few tokens loses nothing that matters before it is added in float64


@dataclass(eq=False)
class Moments:
    """Accumulators of one site over one set of tokens; C channels.

    images     how many images the tokens came from
    tokens     T
    total      sum of x, (C,) float64
    gram       sum of x x^T, (C, C) float64
    abs_total  sum of |x|, (C,) float64
    score      sum over images of the TCS score, (C,) float64
    below      how many |x| are at or below each of ABSOLUTE_THRESHOLDS, int64
    histogram  how many |x| fall in each bin of float32 bit patterns, 128 bins an octave, (BINS,) int64
    """

    images: int
    tokens: int
    total: torch.Tensor
    gram: torch.Tensor
    abs_total: torch.Tensor
    score: torch.Tensor
    below: torch.Tensor
    histogram: torch.Tensor

    @classmethod
    def zeros(cls, channels: int, device: torch.device | str = "cpu") -> "Moments":
        """The accumulators of a site before its first token, on `device`; the Gram matrix on the CPU where the device lacks float64."""
        home = "cpu" if torch.device(device).type in _WITHOUT_FLOAT64 else device
        total, abs_total = (torch.zeros(channels, dtype=torch.float64, device=home) for _ in range(2))
        gram, score = torch.zeros(channels, channels, dtype=torch.float64, device=home), torch.zeros(channels, dtype=torch.float64)
        below, histogram = (torch.zeros(size, dtype=torch.int64) for size in (len(ABSOLUTE_THRESHOLDS), BINS))
        return cls(0, 0, total, gram, abs_total, score, below, histogram)

    def add(self, x: torch.Tensor) -> None:
        """Add tokens x (..., C) of any float dtype; they are not held. Images and scores are counted by whoever knows them."""
        x = x.detach().reshape(-1, x.shape[-1]).float()
        self.tokens += len(x)
        narrow = x.device.type in _WITHOUT_FLOAT64
        for chunk in x.split(_NARROW_CHUNK_TOKENS if narrow else _CHUNK_TOKENS):
            size = chunk.abs()
            self.below += torch.stack([(size <= float32_at_or_below(tau)).sum() for tau in ABSOLUTE_THRESHOLDS.values()]).cpu()
            # the sign gone, a float32's bit pattern grows with its value: its upper bits are a logarithmic grid
            self.histogram += torch.bincount((size.view(torch.int32) >> _SHIFT).flatten(), minlength=BINS).cpu()
            if narrow:
                self.gram += (chunk.T @ chunk).cpu().double()
                self.total += chunk.cpu().double().sum(dim=0)
                self.abs_total += size.cpu().double().sum(dim=0)
            else:
                wide = chunk.double()
                self.gram.addmm_(wide.T, wide)
                self.total += wide.sum(dim=0)
                self.abs_total += wide.abs_().sum(dim=0)

    def merge(self, other: "Moments") -> "Moments":
        """The moments of both token sets together."""
        return Moments(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def on_cpu(self) -> "Moments":
        """The same accumulators on the CPU."""
        values = (getattr(self, f.name) for f in fields(self))
        return Moments(*(value.cpu() if isinstance(value, torch.Tensor) else value for value in values))

    @property
    def finite(self) -> bool:
        """Whether every activation was a finite number."""
        return bool(self.total.isfinite().all())

    @property
    def rms(self) -> float:
        """Root mean square of all activations."""
        return math.sqrt(self.gram.diagonal().sum().item() / (self.tokens * len(self.total)))

    @property
    def mean(self) -> torch.Tensor:
        """Mean activation of every channel, (C,) float64 on the CPU."""
        return self.total.cpu() / self.tokens

    def covariance(self, order: torch.Tensor | None = None) -> torch.Tensor:
        """Covariance of the channels (divided by T), (C, C) float64 on the CPU; `order` (C,) permutes rows and columns."""
        order = torch.arange(len(self.total)) if order is None else order
        mean = self.mean[order]
        return self.gram.cpu()[order][:, order].div_(self.tokens).addr_(mean, mean, alpha=-1)

    def fraction_below(self, edge: "Edge") -> float:
        """Exact fraction of activations with |x| <= edge.tau."""
        return int(self.histogram[: edge.bins].sum()) / (self.tokens * len(self.total))


@dataclass(frozen=True)
class SplitMoments:
    """The moments of one site, apart for images at even and at odd positions of the data set."""

    even: Moments
    odd: Moments

    @classmethod
    def zeros(cls, channels: int, device: torch.device | str = "cpu") -> "SplitMoments":
        """The accumulators of both halves before the first image."""
        return cls(Moments.zeros(channels, device), Moments.zeros(channels, device))

    def merge(self, other: "SplitMoments") -> "SplitMoments":
        """The moments of both shards together: equal to one pass over both, as long as positions counted on through the shards."""
        return SplitMoments(self.even.merge(other.even), self.odd.merge(other.odd))

    def on_cpu(self) -> "SplitMoments":
        """The same accumulators on the CPU."""
        return SplitMoments(self.even.on_cpu(), self.odd.on_cpu())

    def whole(self) -> Moments:
        """The moments of all images."""
        return self.even.merge(self.odd)


@dataclass(frozen=True)
class Edge:
    """A threshold for which the histogram counts exactly: |x| <= tau is what the first `bins` bins hold."""

    tau: float
    bins: int


def edge_at_or_below(value: float) -> Edge:
    """The largest exact threshold at or below `value`, at most 1/128 octave away; zero and denormals share the first bin."""
    bits = int(np.float32(float32_at_or_below(value)).view(np.int32))
    bins = max(1, (bits + 1) >> _SHIFT)
    return Edge(float(np.int32((bins << _SHIFT) - 1).view(np.float32)), bins)


def float32_at_or_below(value: float) -> float:
    """The largest float32 at or below `value`: comparing float32 activations with it counts as comparing with `value` does."""
    near = np.float32(value)
    return float(near if float(near) <= value else np.nextafter(near, np.float32(-np.inf)))
