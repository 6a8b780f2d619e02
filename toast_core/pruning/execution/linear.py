"""Linear layers with fewer channels: left out (compact) or zeroed (masked). New layers; the originals stay as they are."""

import torch
from torch import nn


def _linear(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.detach().contiguous())
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().contiguous())
    return layer


def keep_outputs(layer: nn.Linear, idx: torch.Tensor, compact: bool) -> nn.Linear:
    """A linear layer with only these outputs (compact), or with zeros for the others (masked)."""
    if compact:
        return _linear(layer.weight[idx], None if layer.bias is None else layer.bias[idx])
    kept = torch.zeros(layer.out_features, device=idx.device, dtype=layer.weight.dtype).index_fill_(0, idx, 1.0)
    return _linear(layer.weight * kept.unsqueeze(1), None if layer.bias is None else layer.bias * kept)


def keep_inputs(layer: nn.Linear, idx: torch.Tensor, compact: bool) -> nn.Linear:
    """A linear layer with only these inputs (compact), or with zeros for the others (masked)."""
    bias = None if layer.bias is None else layer.bias.clone()
    if compact:
        return _linear(layer.weight[:, idx], bias)
    kept = torch.zeros(layer.in_features, device=idx.device, dtype=layer.weight.dtype).index_fill_(0, idx, 1.0)
    return _linear(layer.weight * kept, bias)
