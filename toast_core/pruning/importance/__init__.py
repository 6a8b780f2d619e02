"""Pure tensor functions that score channels, a score a file: no nn.Module, no timm, no randomness.

A score of weights maps the rows of head dimensions, (H, d, C), to one number each, (H, d); the larger it is, the more important the row.
`toast_core.schedule.scores` says which names there are.
"""
