"""Scores of feed-forward channels from activations (paper, section 3.3: token channel selection)."""

import torch


def token_scores(
    x: torch.Tensor, patch_idx: torch.Tensor, token_weight: torch.Tensor | None, class_weight: float, patches: int
) -> torch.Tensor:
    """Score the channels of each image: (B, N, C) -> (B, C).

    With a class token (token 0): |class| * class_weight / (1 + P) + mean over the sampled patches of |patch| * alpha * P / (1 + P),
    alpha the class token's attention to that patch, averaged over heads. Without one: the plain mean over the sample.

    Args:
        patch_idx: (S,) positions in N of the sampled patch tokens.
        token_weight: (B, N) alpha, or None where no class token is in use.
        patches: P, all patches and not only the sampled ones.
    """
    sample = x.index_select(1, patch_idx).abs()
    if token_weight is None:
        return sample.mean(dim=1)
    patch_term = (sample * token_weight.index_select(1, patch_idx).unsqueeze(2)).mean(dim=1)
    return (x[:, 0].abs() * class_weight + patch_term * patches) / (1 + patches)


def top_channels(scores: torch.Tensor, keep: int) -> torch.Tensor:
    """Return the `keep` largest scores' indices along the last dimension, ascending; equal scores go to the lower index."""
    order = scores.argsort(dim=-1, descending=True, stable=True)
    return order[..., :keep].sort(dim=-1).values


def class_attention(q: torch.Tensor, k: torch.Tensor, scale: float) -> torch.Tensor:
    """The class token's attention row averaged over heads: q, k (B, H, N, d) -> (B, N). Only this row of the map is computed."""
    return (q[:, :, :1] * scale @ k.transpose(2, 3)).softmax(dim=-1).mean(dim=1).squeeze(1)
