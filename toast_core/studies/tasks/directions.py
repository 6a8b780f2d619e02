"""Random directions in which a small change of a model's output is looked at: half the mean squared change along them is the damage."""

from collections.abc import Sequence

import numpy as np
import torch


def signed_directions(logits: torch.Tensor, draws: Sequence[np.random.Generator], count: int) -> torch.Tensor:
    """Directions sum_j s_j sqrt(p_j) (e_j - p) (count, B, C) with p = softmax(logits) and random signs s, each image by its own generator.

    Their covariance is diag(p) - p p^T, the curvature of KL(p || p') in the logits; so half the mean of (g . d)^2 is KL to second order.
    Labels drawn from p have the same covariance, but where the model is sure all the weight lies on rare ones: on both demos the order of
    cells by two draws with signs was as right as by four drawn labels.
    """
    root = logits.double().softmax(1).sqrt()
    drawn = np.stack([np.where(one.random((count, logits.shape[1])) < 0.5, -1.0, 1.0) for one in draws], axis=1)
    weighted = torch.from_numpy(drawn).to(root.device) * root
    return (weighted - weighted.sum(-1, keepdim=True) * root.square()).to(logits.dtype)


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
