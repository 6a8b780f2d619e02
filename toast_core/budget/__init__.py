"""The schedule of least predicted damage within a budget, from measured curves. Imports no torch."""
