"""Recovery: fine-tuning a pruned model, at its own smaller cost, toward the baseline that it came from."""

from toast_core.recipe import Recipe
from toast_core.recovery.run import Recovered, recover

__all__ = ["Recipe", "Recovered", "recover"]
