"""Which channels to keep when the rest will be folded into them (method, section 6)."""

import torch

from toast_core.compensation.threads import few_threads

_FLOOR = 1e-12  # times the largest variance: what is left of a channel below this follows from those chosen already


def rank_by_reconstruction(covariance: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Order channels so that every leading set predicts the layer's output well: greedy pivoted Cholesky.

    Each step takes the channel whose choice lowers tr(W Cov(x | chosen) W^T) most, the output error that the best linear
    reconstruction from the chosen ones leaves. Large layers take several channels a step.

    Args:
        covariance: of the inputs, (C, C).
        weight: of the layer, (Q, C), in the units in which errors count.

    Returns:
        (C,) int64, the most useful channel first; equal gains go to the lower index.
    """
    with few_threads(len(covariance)):
        return _rank(covariance, weight)


def _rank(covariance: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    channels = len(covariance)
    left, gram = covariance.clone(), weight.double().T @ weight.double()
    through = gram @ left
    floor = _FLOOR * max(covariance.diagonal().amax().item(), 1e-300)
    taken = torch.zeros(channels, dtype=torch.bool, device=covariance.device)
    order: list[int] = []
    at_once = max(1, channels // 512)
    while len(order) < channels:
        variance = left.diagonal()
        gains = torch.where(variance > floor, (left * through).sum(dim=0) / variance.clamp_min(floor), torch.zeros_like(variance))
        best = gains.masked_fill(taken, -1.0).argsort(descending=True, stable=True)[: min(at_once, channels - len(order))]
        for channel in best.tolist():
            order.append(channel)
            taken[channel] = True
            pivot = left[channel, channel].item()
            if pivot > floor:
                column, image = left[:, channel].clone(), through[:, channel].clone()
                left.addr_(column, column, alpha=-1 / pivot)
                through.addr_(image, column, alpha=-1 / pivot)
    return torch.tensor(order, device=covariance.device)
