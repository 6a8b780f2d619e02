"""The two ways to leave channels out of a feed-forward network: the only lines where masked and compact differ.

`keep` is None (every channel), (K,) indices for the whole batch, or (B, K) for each image. An entry maps the gated stream to
the hidden layer through LayerNorm and fc1; an exit maps the hidden layer to the output through fc2. Dropped channels are
zeros: LayerNorm's mean and variance still run over the full width, and a zeroed channel enters fc1 as its normalised zero,
-mean / std * gamma + beta (method: the exact compact form of fc1 pruning).
"""

import torch
from torch import nn
from torch.nn import functional as F

from toast_core.pruning.execution.attention import partial_moments
from toast_core.pruning.execution.linear import spaced_linear

Keep = torch.Tensor | None


def channel_mask(keep: torch.Tensor, width: int, like: torch.Tensor) -> torch.Tensor:
    """Return ones at kept channels and zeros elsewhere: (width,) or, with an image's own choice, (B, 1, width)."""
    mask = torch.zeros(*keep.shape[:-1], width, device=like.device, dtype=like.dtype).scatter_(-1, keep, 1.0)
    return mask if keep.ndim == 1 else mask.unsqueeze(1)


def take_channels(x: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    """(B, N, C) -> (B, N, K)."""
    if keep.ndim == 1:
        return x.index_select(2, keep)
    return x.gather(2, keep.unsqueeze(1).expand(-1, x.shape[1], -1))


class MaskedEntry(nn.Module):
    """LayerNorm and fc1 at full width; the caller has zeroed the dropped channels."""

    def __init__(self, norm: nn.LayerNorm, fc1: nn.Linear) -> None:
        super().__init__()
        self.norm, self.fc1 = norm, fc1

    def forward(self, x: torch.Tensor, keep: Keep) -> torch.Tensor:
        """(B, N, D) -> (B, N, M)."""
        return self.fc1(self.norm(x))


class GatheredEntry(MaskedEntry):
    """The same values from kept channels alone, chosen in the forward: compact for the dynamic modes."""

    def forward(self, x: torch.Tensor, keep: Keep) -> torch.Tensor:
        """(B, N, D) -> (B, N, M)."""
        if keep is None:
            return super().forward(x, keep)
        norm, fc1 = self.norm, self.fc1
        centered, scale, mean = partial_moments(take_channels(x, keep), x.shape[2], norm.eps)
        gamma, beta = norm.weight[keep], norm.bias[keep]
        if keep.ndim == 2:
            gamma, beta = gamma.unsqueeze(1), beta.unsqueeze(1)
        kept = (centered * scale).to(x.dtype) * gamma + beta
        absent = 1.0 - channel_mask(keep, x.shape[2], x)
        drop_gain, drop_bias = F.linear(norm.weight * absent, fc1.weight), F.linear(norm.bias * absent, fc1.weight)
        return gathered_linear(kept, keep, fc1) - (mean * scale).to(x.dtype) * drop_gain + drop_bias


class NarrowEntry(nn.Module):
    """The same values with a choice fixed beforehand: narrower weights, one index_select, no gather of weights."""

    def __init__(self, norm: nn.LayerNorm, fc1: nn.Linear, keep: torch.Tensor) -> None:
        super().__init__()
        width = norm.normalized_shape[0]
        absent = torch.ones(width, device=keep.device, dtype=torch.bool).index_fill_(0, keep, False)
        gamma, beta, weight = norm.weight.detach(), norm.bias.detach(), fc1.weight.detach()
        drop_bias = weight[:, absent] @ beta[absent]
        self.gamma, self.beta = nn.Parameter(gamma[keep].clone()), nn.Parameter(beta[keep].clone())
        self.weight = nn.Parameter(weight[:, keep].clone())
        self.bias = nn.Parameter(drop_bias if fc1.bias is None else fc1.bias.detach() + drop_bias)
        self.drop_gain = nn.Parameter(weight[:, absent] @ gamma[absent])
        self.width, self.eps = width, norm.eps

    def forward(self, x: torch.Tensor, keep: Keep) -> torch.Tensor:
        """(B, N, D) -> (B, N, M)."""
        return self.from_kept(x.index_select(2, keep))

    def from_kept(self, x: torch.Tensor) -> torch.Tensor:
        """(B, N, K) -> (B, N, M)."""
        centered, scale, mean = partial_moments(x, self.width, self.eps)
        kept = (centered * scale).to(x.dtype) * self.gamma + self.beta
        return spaced_linear(kept, self.weight, self.bias) - (mean * scale).to(x.dtype) * self.drop_gain


class MaskedExit(nn.Module):
    """fc2 at full width; dropped hidden units are zeroed here."""

    def __init__(self, fc2: nn.Linear) -> None:
        super().__init__()
        self.fc2 = fc2

    def forward(self, h: torch.Tensor, keep: Keep) -> torch.Tensor:
        """(B, N, M) -> (B, N, D)."""
        return self.fc2(h if keep is None else h * channel_mask(keep, h.shape[2], h))


class GatheredExit(MaskedExit):
    """fc2 from kept hidden units alone."""

    def forward(self, h: torch.Tensor, keep: Keep) -> torch.Tensor:
        """(B, N, M) -> (B, N, D)."""
        return self.fc2(h) if keep is None else gathered_linear(take_channels(h, keep), keep, self.fc2)


def gathered_linear(x: torch.Tensor, keep: torch.Tensor, layer: nn.Linear) -> torch.Tensor:
    """Apply a linear layer to its kept inputs (B, N, K); with (B, K) indices each image has its own weights."""
    if keep.ndim == 1:
        return F.linear(x, layer.weight.index_select(1, keep), layer.bias)
    out = torch.bmm(x, layer.weight.t()[keep])
    return out if layer.bias is None else out + layer.bias
