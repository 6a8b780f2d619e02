"""Files of a pruned model for others, written and verified in the background."""
