"""Random inputs, for the clock and for comparing files where no images are named."""

import torch
from torch import nn


def random_images(model: nn.Module, batch_size: int, seed: int = 0) -> torch.Tensor:
    """Seeded normal noise of the model's input shape, (B, C, H, W) in float32: the time of a forward does not depend on its values."""
    embed = model.patch_embed
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch_size, embed.proj.in_channels, *embed.img_size, generator=generator)
