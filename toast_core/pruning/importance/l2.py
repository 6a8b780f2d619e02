"""A score by size alone, which the paper compares the geometric median with."""

import torch


def l2(rows: torch.Tensor) -> torch.Tensor:
    """Squared Euclidean norm, as the reference has it; `average` coupling sees the square: (H, d, C) -> (H, d)."""
    return rows.square().sum(dim=2)
