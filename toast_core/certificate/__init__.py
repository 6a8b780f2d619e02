"""Certificates: every form of a pruned model measured side by side, and checked again later."""
