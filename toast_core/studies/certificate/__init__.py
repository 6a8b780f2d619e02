"""Every form of a pruned model measured side by side in one sealed file, and checked again later."""
