"""Scores of the head dimensions that leave together (paper, section 3.2: structured coupled weight pruning)."""

import torch

from toast_core.errors import PlanError
from toast_core.schedule.scores import SCORES

_SIDE = {"q_only": (0, 0), "k_only": (1, 1), "proj_only": (0, 1)}  # which side of the qk pair, of the vo pair


def pair_scores(first: torch.Tensor, second: torch.Tensor, score: str, coupling: str, pair: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Score the two sides of a pair, each (H, d, D): query and key for `qk`, value and transposed output for `vo`.

    Returns (H, d) twice, larger is more important: the same tensor but for `uncoupled`, where each side is ranked by itself.

    Raises:
        ScheduleError: the score is unknown, or the package that adds it cannot be loaded.
        PlanError: the score does not give one finite number a row.
    """

    def measure(rows: torch.Tensor) -> torch.Tensor:
        found = SCORES[score](rows)
        if found.shape != rows.shape[:2] or not bool(found.isfinite().all()):
            wanted = f"one finite number a head dimension, {tuple(rows.shape[:2])}"
            raise PlanError(f"score {score!r} gives {tuple(found.shape)} for weights of {tuple(rows.shape)}; a score gives {wanted}")
        return found

    if coupling == "uncoupled":
        return measure(first), measure(second)
    if coupling == "coupled":
        joint = measure(torch.cat([first, second], dim=2))
    elif coupling == "average":
        joint = (measure(first) + measure(second)) / 2
    else:
        joint = measure((first, second)[_SIDE[coupling][pair == "vo"]])
    return joint, joint
