"""Random directions in which a small change of a model's output is looked at: half the mean squared change along them is the damage."""

from collections.abc import Sequence

import numpy as np
import torch


def label_directions(logits: torch.Tensor, draws: Sequence[np.random.Generator], count: int) -> torch.Tensor:
    """Directions e_y - p (count, B, C) with y drawn from p = softmax(logits), each image by its own generator.

    Their covariance is diag(p) - p p^T, the curvature of KL(p || p') in the logits; so half the mean of (g . d)^2 is KL to second order.
    """
    probability = logits.double().softmax(1)
    rising = probability.cumsum(1).cpu().numpy()
    uniform = np.stack([one.random(count) for one in draws], axis=1)
    drawn = [np.searchsorted(row, uniform[:, image] * row[-1], side="right") for image, row in enumerate(rising)]
    labels = torch.from_numpy(np.stack(drawn, axis=1).clip(max=logits.shape[1] - 1)).to(logits.device)
    found = -probability.unsqueeze(0).repeat(count, 1, 1)
    return found.scatter_add_(2, labels.unsqueeze(2), torch.ones_like(found[..., :1])).to(logits.dtype)


def turning_directions(features: torch.Tensor, draws: Sequence[np.random.Generator], count: int) -> torch.Tensor:
    """Normal directions (count, B, D) at right angles to the features (B, D), over their length, each image by its own generator.

    1 - cos(f, f + d) is half the square of d's part across f over |f|, to second order; a normal direction sees that part's square in
    the mean.
    """
    drawn = np.stack([one.standard_normal((count, features.shape[1])) for one in draws], axis=1)
    wide = features.double()
    length = wide.norm(dim=1, keepdim=True).clamp_min(1e-12)
    along = wide / length
    found = torch.from_numpy(drawn).to(wide.device)
    return ((found - (found * along).sum(-1, keepdim=True) * along) / length).to(features.dtype)
