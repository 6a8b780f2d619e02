"""What a recovery's report says in a line. Imports no torch."""

from collections.abc import Mapping
from typing import Any

_SAME = 0.01  # of a loss: a difference that is no difference


def nothing_kept(report: Mapping[str, Any]) -> str | None:
    """That training made the model worse, or no better, and nothing of it was kept, with the figures; None where an epoch was kept.

    Args:
        report: of a `Recovered`, or its cell in the evidence store, of an older program too.
    """
    if report["best_epoch"] > 0:
        return None
    start, *trained = (row["validation_loss"] for row in report["history"])
    best = min(trained, default=start)
    how = "worse" if best > (1 + _SAME) * start else "no better"
    return f"training made it {how} (validation loss {start:.4g} before, {best:.4g} at best after): nothing was kept"
