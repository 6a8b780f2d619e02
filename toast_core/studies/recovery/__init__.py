"""A pruned model fine-tuned toward the baseline that it came from."""
