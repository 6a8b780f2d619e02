"""Attention with fewer dimensions per head. Masked and compact differ in their weights alone, not in a line of the forward."""

import torch
from torch import nn
from torch.nn import functional as F

from toast_core.models.adapters.base import BlockParts
from toast_core.pruning.execution.linear import keep_inputs, keep_outputs
from toast_core.pruning.importance.activations import class_attention
from toast_core.pruning.plan import HeadKeep


class HeadNorm(nn.Module):
    """A q or k norm over the original head dimension d, computed from the kept dimensions: dropped ones count as zeros.

    What leaves is zero (masked) or absent (compact) for a dropped dimension, so that it adds nothing to the logits.
    """

    def __init__(self, norm: nn.LayerNorm, keep: torch.Tensor, head_dim: int, compact: bool) -> None:
        super().__init__()
        heads = keep.shape[0]
        weight, bias = (value.detach().expand(heads, head_dim) for value in (norm.weight, norm.bias))
        if compact:
            weight, bias = weight.gather(1, keep), bias.gather(1, keep)
        else:
            kept = torch.zeros(heads, head_dim, device=weight.device, dtype=weight.dtype).scatter_(1, keep, 1.0)
            weight, bias = weight * kept, bias * kept
        self.weight, self.bias = nn.Parameter(weight.unsqueeze(1).clone()), nn.Parameter(bias.unsqueeze(1).clone())
        self.head_dim, self.eps = head_dim, norm.eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, H, N, k) -> (B, H, N, k)."""
        return partial_norm(x, self.weight, self.bias, self.head_dim, self.eps)


def partial_norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, width: int, eps: float) -> torch.Tensor:
    """LayerNorm over `width` channels of which only x's last dimension is not zero."""
    centered, scale, _ = partial_moments(x, width, eps)
    return (centered * scale).to(x.dtype) * weight + bias


def partial_moments(x: torch.Tensor, width: int, eps: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return x - mean, 1 / std and the mean over `width` channels, those that x lacks being zeros; float32 or wider."""
    x = x if x.dtype == torch.float64 else x.float()
    mean = x.sum(dim=-1, keepdim=True) / width
    centered = x - mean
    variance = (centered.square().sum(dim=-1, keepdim=True) + (width - x.shape[-1]) * mean.square()) / width
    return centered, torch.rsqrt(variance + eps), mean


class PrunedAttention(nn.Module):
    """A timm attention whose heads keep `qk` and `vo` dimensions; the logits' scale stays that of the original dimension."""

    def __init__(self, parts: BlockParts, qk: HeadKeep | None, vo: HeadKeep | None, compact: bool) -> None:
        super().__init__()
        everything = torch.arange(parts.head_dim).expand(parts.heads, -1)
        full = HeadKeep(everything, everything)
        device = parts.qkv.weight.device
        q_keep, k_keep = ((side.to(device)) for side in ((qk or full).first, (qk or full).second))
        v_keep, o_keep = ((side.to(device)) for side in ((vo or full).first, (vo or full).second))
        self.heads, self.scale, self.attn_drop = parts.heads, parts.scale, parts.attn_drop
        self.qk_dim = q_keep.shape[1] if compact else parts.head_dim
        self.vo_dim = v_keep.shape[1] if compact else parts.head_dim
        rows = [
            _channel_idx(keep, parts.head_dim) + part * parts.heads * parts.head_dim for part, keep in enumerate((q_keep, k_keep, v_keep))
        ]
        self.qkv = parts.qkv if qk is None and vo is None else keep_outputs(parts.qkv, torch.cat(rows), compact)
        self.proj = parts.proj if vo is None else keep_inputs(parts.proj, _channel_idx(o_keep, parts.head_dim), compact)
        normed = isinstance(parts.q_norm, nn.LayerNorm) and qk is not None
        self.q_norm = HeadNorm(parts.q_norm, q_keep, parts.head_dim, compact) if normed else parts.q_norm
        self.k_norm = HeadNorm(parts.k_norm, k_keep, parts.head_dim, compact) if normed else parts.k_norm
        self.windows, self.proj_drop = parts.windows, parts.proj_drop
        narrow = compact and qk is not None and parts.rotary is not None
        self.rotary = parts.rotary.keeping(q_keep) if narrow else parts.rotary

    def forward(
        self, x: torch.Tensor, want_class_row: bool = False, rope: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attend over tokens (B, N, D), or within windows of (B, H, W, D); `rope` replaces the rotary embedding that is held.

        Returns the output in x's shape and, if wanted, the class token's attention row averaged over heads, (B, N).
        """
        mixed, row = self.mix(x, want_class_row, rope)
        return self.project(mixed, x), row

    def project(self, mixed: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """From what `mix` gives to the output, in the shape of x."""
        out = self.proj_drop(self.proj(mixed))
        return out if self.windows is None else self.windows.join(out, x)

    def mix(
        self, x: torch.Tensor, want_class_row: bool = False, rope: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attend, up to what the output projection is given: (B, N, H d), or (B, windows, tokens, H d); and the class token's row."""
        tokens = x if self.windows is None else self.windows.split(x)
        *lead, length, _ = tokens.shape
        sizes = [self.heads * self.qk_dim] * 2 + [self.heads * self.vo_dim]
        q, k, v = (part.reshape(*lead, length, self.heads, -1).transpose(-2, -3) for part in self.qkv(tokens).split(sizes, dim=-1))
        q, k = self.q_norm(q), self.k_norm(k)
        if self.rotary is not None:
            q, k = self.rotary(q, rope), self.rotary(k, rope)
        row = class_attention(q, k, self.scale) if want_class_row else None
        bias = None
        if self.windows is not None:  # (B, windows, H, A, d) -> (B, windows * H, A, d), so that one mask serves every image
            q, k, v = (part.flatten(1, 2) for part in (q, k, v))
            bias = self.windows.bias().expand(lead[1], -1, -1, -1).flatten(0, 1).unsqueeze(0).to(q.dtype)
        dropout = self.attn_drop if self.training else 0.0
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout, scale=self.scale)
        if self.windows is not None:
            out = out.unflatten(1, (lead[1], self.heads))
        out = out.transpose(-2, -3)
        if torch.compiler.is_exporting():  # the kernel's output is laid out as the next line likes it, which exporters do not know
            out = out.clone(memory_format=torch.contiguous_format)
        return out.flatten(-2), row


def _channel_idx(keep: torch.Tensor, head_dim: int) -> torch.Tensor:
    """Turn kept dimensions of every head (H, k) into indices of the heads laid side by side, (H * k,)."""
    return (keep + torch.arange(keep.shape[0], device=keep.device).unsqueeze(1) * head_dim).flatten()
