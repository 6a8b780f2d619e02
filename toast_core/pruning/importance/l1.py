"""A score by size alone, which the paper compares the geometric median with."""

import torch


def l1(rows: torch.Tensor) -> torch.Tensor:
    """Sum of absolute weights: (H, d, C) -> (H, d)."""
    return rows.abs().sum(dim=2)
