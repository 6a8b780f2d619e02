"""The published score: how far a head dimension's weights lie from the middle of their head's (paper, section 3.2)."""

import torch


def geometric_median(rows: torch.Tensor) -> torch.Tensor:
    """Distance to the coordinate-wise median, the reference implementation's reading of the geometric median: (H, d, C) -> (H, d)."""
    return (rows - rows.median(dim=1, keepdim=True).values).norm(dim=2)
