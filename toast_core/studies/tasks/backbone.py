"""Features of a model without a classifier: pooled and of every patch, how alike two models' are, and those of a bank of known images."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from toast_core.models.adapters.base import Adapter
from toast_core.studies.tasks.bank import Bank
from toast_core.studies.tasks.base import Forward
from toast_core.studies.tasks.finiteness import check_finite


@dataclass(frozen=True, eq=False)
class BackboneOutput:
    """What a backbone says of a batch: pooled features (B, D), and patch tokens (B, N, D) as its pooling reads them, where known."""

    pooled: torch.Tensor
    tokens: torch.Tensor | None


def output_of(run: Forward, images: torch.Tensor) -> BackboneOutput:
    """The output of a whole timm model, pruned or not; of another function of images its pooled features alone."""
    if isinstance(run, nn.Module) and hasattr(run, "forward_features") and hasattr(run, "forward_head"):
        model: Any = run
        tokens = model.forward_features(images)
        return BackboneOutput(model.forward_head(tokens), _patches(run, tokens))
    return BackboneOutput(run(images), None)


def output_from(adapter: Adapter, model: nn.Module, x: torch.Tensor) -> BackboneOutput:
    """The output from what the last block gives. Tokens are those after the last norm, where the model has one for all tokens."""
    norm = getattr(model, "norm", None)
    return BackboneOutput(adapter.head(model, x), _patches(model, norm(x)) if isinstance(norm, nn.Module) else None)


def _patches(model: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """Tokens without class and registers, (B, N, D); a Swin's (B, H, W, D) are in a row."""
    return tokens[:, int(getattr(model, "num_prefix_tokens", 0)) :] if tokens.ndim == 3 else tokens.flatten(1, -2)


def likeness(output: BackboneOutput, reference: BackboneOutput) -> tuple[np.ndarray, np.ndarray]:
    """Cosines to the reference an image: of pooled features, and of patch tokens in the mean (NaN where they are not known), float32.

    Raises:
        PlanError: a feature is not a finite number, so that nothing can be compared.
    """
    for one in (output, reference):
        check_finite(one.pooled, "features")
    pooled = _cosines(output.pooled, reference.pooled)
    if output.tokens is None or reference.tokens is None:
        return pooled, np.full(len(pooled), np.nan, np.float32)
    return pooled, _cosines(output.tokens, reference.tokens).mean(1, dtype=np.float64).astype(np.float32)


def _cosines(one: torch.Tensor, other: torch.Tensor) -> np.ndarray:
    """Cosines along the last axis; 1 where both are the same, zeros included."""
    same = (one == other).all(-1)
    found = F.cosine_similarity(one.double(), other.double(), dim=-1).clamp(-1, 1)
    return torch.where(same, 1.0, found).float().cpu().numpy()


def bank_features(run: Forward, bank: Bank, parameter: torch.Tensor, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Pooled features (n, D) of the bank's images in the dtype and on the device of `parameter`, and their class numbers (n,).

    Raises:
        PlanError: a feature is not a finite number.
    """
    found, labels = [], []
    with torch.inference_mode():
        for batch in bank.images.batches(batch_size):
            features = run(batch.images.to(parameter.device, parameter.dtype))
            check_finite(features, "features of the known images", batch.index)
            found.append(features.float().cpu().numpy())
            labels.append(bank.numbers[batch.labels.numpy()])
    if not found:
        raise bank.images.unread()
    return np.concatenate(found), np.concatenate(labels)
