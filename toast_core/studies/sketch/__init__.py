"""Sensitivity predicted from one forward and a few backward passes of the baseline, instead of a run a cell."""
