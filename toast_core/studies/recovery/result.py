"""What a recovery's report says in a line. Imports no torch."""

from collections.abc import Mapping
from typing import Any


def nothing_kept(report: Mapping[str, Any]) -> str | None:
    """That training made the model worse and nothing of it was kept, with the figures; None where an epoch was kept.

    Args:
        report: of a `Recovered`, or its cell in the evidence store, of an older program too.
    """
    if report["best_epoch"] > 0:
        return None
    start, *trained = (row["validation_loss"] for row in report["history"])
    after = f", {min(trained):.4g} at best after" if trained else ""
    return f"training made it worse (validation loss {start:.4g} before{after}): nothing was kept"
