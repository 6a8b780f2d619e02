"""The published score as the paper words it: distance to the point that has the least summed distance to all rows."""

import torch

STEPS = 200
TOLERANCE = 1e-7


def weiszfeld(rows: torch.Tensor) -> torch.Tensor:
    """Distance to the true geometric median by Weiszfeld's iteration in float64: (H, d, C) -> (H, d)."""
    points = rows.double()
    center = points.mean(dim=1, keepdim=True)
    for _ in range(STEPS):
        weight = 1.0 / (points - center).norm(dim=2, keepdim=True).clamp_min(1e-12)
        moved = (weight * points).sum(dim=1, keepdim=True) / weight.sum(dim=1, keepdim=True)
        step, center = (moved - center).norm(dim=2).max(), moved
        if step <= TOLERANCE * points.abs().max().clamp_min(1e-30):
            break
    return (points - center).norm(dim=2).to(rows.dtype)
