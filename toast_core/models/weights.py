"""Weights: put into a model, and told apart by their digest. `toast_core.models.checkpoint` reads them."""

import hashlib

import torch
from torch import nn

OFFLINE_HINT = "pass --weights FILE (a local checkpoint), --weights random, or use demo_vit or demo_swin"


def weights_digest(model: nn.Module) -> str:
    """Return the sha256 of every tensor that the model would save, by name: equal for equal weights, whatever file they came from."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
