"""The schedule that meets a budget with the least predicted damage, from measured curves. Imports no torch."""
