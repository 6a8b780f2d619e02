"""Scores of head dimensions from weights alone (paper, section 3.2: structured coupled weight pruning).

Rows are head dimensions: a score maps (H, d, C) to (H, d), larger is more important.
"""

from collections.abc import Callable

import torch

WEISZFELD_STEPS = 200
WEISZFELD_TOLERANCE = 1e-7


def geometric_median(rows: torch.Tensor) -> torch.Tensor:
    """Distance to the coordinate-wise median, the reference implementation's reading of the geometric median."""
    return (rows - rows.median(dim=1, keepdim=True).values).norm(dim=2)


def weiszfeld(rows: torch.Tensor) -> torch.Tensor:
    """Distance to the true geometric median, the point with the least summed distance (Weiszfeld's iteration, float64)."""
    points = rows.double()
    center = points.mean(dim=1, keepdim=True)
    for _ in range(WEISZFELD_STEPS):
        weight = 1.0 / (points - center).norm(dim=2, keepdim=True).clamp_min(1e-12)
        moved = (weight * points).sum(dim=1, keepdim=True) / weight.sum(dim=1, keepdim=True)
        step, center = (moved - center).norm(dim=2).max(), moved
        if step <= WEISZFELD_TOLERANCE * points.abs().max().clamp_min(1e-30):
            break
    return (points - center).norm(dim=2).to(rows.dtype)


def l1(rows: torch.Tensor) -> torch.Tensor:
    """Sum of absolute weights."""
    return rows.abs().sum(dim=2)


def l2(rows: torch.Tensor) -> torch.Tensor:
    """Squared Euclidean norm, as the reference has it; `average` coupling sees the square."""
    return rows.square().sum(dim=2)


Score = Callable[[torch.Tensor], torch.Tensor]
WEIGHT_SCORES: dict[str, Score] = {"geometric_median": geometric_median, "weiszfeld": weiszfeld, "l1": l1, "l2": l2}
_SIDE = {"q_only": (0, 0), "k_only": (1, 1), "proj_only": (0, 1)}  # which side of the qk pair, of the vo pair


def pair_scores(first: torch.Tensor, second: torch.Tensor, score: str, coupling: str, pair: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Score the two sides of a pair, each (H, d, D): query and key for `qk`, value and transposed output for `vo`.

    Returns (H, d) twice: the same tensor but for `uncoupled`, where each side is ranked by itself.
    """
    measure = WEIGHT_SCORES[score]
    if coupling == "uncoupled":
        return measure(first), measure(second)
    if coupling == "coupled":
        joint = measure(torch.cat([first, second], dim=2))
    elif coupling == "average":
        joint = (measure(first) + measure(second)) / 2
    else:
        joint = measure((first, second)[_SIDE[coupling][pair == "vo"]])
    return joint, joint
