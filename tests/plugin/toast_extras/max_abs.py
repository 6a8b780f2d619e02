"""A score of head dimensions by their largest weight."""

import torch


def max_abs(rows: torch.Tensor) -> torch.Tensor:
    """The largest absolute weight of every row: (H, d, C) -> (H, d)."""
    return rows.abs().amax(dim=2)
