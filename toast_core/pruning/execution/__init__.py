"""Executing a plan: one forward, masked or compact."""
