"""Milliseconds on this machine: two models in turns, and a table of block shapes."""
