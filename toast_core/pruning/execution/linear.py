"""Linear layers with fewer channels: left out (compact) or zeroed (masked). New layers; the originals stay as they are."""

import torch
from torch import nn
from torch.nn import functional as F

_ALIGNED = 16  # floats of a cache line
_NARROW = 128  # outputs, below which the rows' places made no difference that could be measured


def spaced_linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """F.linear, (..., K) -> (..., M), its rows laid out at cache lines.

    On a CPU the same float32 product takes up to 1.4 times as long where a row of the result does not begin at one, as with most
    kept counts. Compilers choose layouts themselves, and a result that is written in place has no gradient: there it is F.linear.
    """
    width = weight.shape[0]
    plain = x.device.type != "cpu" or x.dtype != torch.float32 or width % _ALIGNED == 0 or width < _NARROW or bias is None
    if plain or torch.compiler.is_compiling() or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
        return F.linear(x, weight, bias)
    rows = x.reshape(-1, x.shape[-1])
    out = x.new_empty(rows.shape[0], width + -width % _ALIGNED)[:, :width]
    torch.addmm(bias, rows, weight.t(), out=out)
    return out.unflatten(0, x.shape[:-1])


class SpacedLinear(nn.Linear):
    """A linear layer whose outputs are few of what they were."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., K) -> (..., M)."""
        return spaced_linear(x, self.weight, self.bias)


def _linear(weight: torch.Tensor, bias: torch.Tensor | None, kind: type[nn.Linear] = nn.Linear) -> nn.Linear:
    layer = kind(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.detach().contiguous())
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().contiguous())
    return layer


def keep_outputs(layer: nn.Linear, idx: torch.Tensor, compact: bool) -> nn.Linear:
    """A linear layer with only these outputs (compact), or with zeros for the others (masked)."""
    if compact:
        return _linear(layer.weight[idx], None if layer.bias is None else layer.bias[idx], SpacedLinear)
    kept = torch.zeros(layer.out_features, device=idx.device, dtype=layer.weight.dtype).index_fill_(0, idx, 1.0)
    return _linear(layer.weight * kept.unsqueeze(1), None if layer.bias is None else layer.bias * kept)


def keep_inputs(layer: nn.Linear, idx: torch.Tensor, compact: bool) -> nn.Linear:
    """A linear layer with only these inputs (compact), or with zeros for the others (masked)."""
    bias = None if layer.bias is None else layer.bias.clone()
    if compact:
        return _linear(layer.weight[:, idx], bias)
    kept = torch.zeros(layer.in_features, device=idx.device, dtype=layer.weight.dtype).index_fill_(0, idx, 1.0)
    return _linear(layer.weight * kept, bias)
