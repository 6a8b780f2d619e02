"""Pure tensor functions that score channels. No nn.Module, no timm, no randomness."""
