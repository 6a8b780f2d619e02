"""Weights: read from .safetensors files, and told apart by their digest. Nothing is unpickled."""

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from toast_core.errors import ModelError

DEMO_WEIGHTS = Path(__file__).resolve().parents[1] / "assets" / "fashion_mnist"
OFFLINE_HINT = "pass --weights FILE.safetensors (a local checkpoint), --weights random, or use demo_vit or demo_swin"


def weights_path(weights: str | Path | None) -> Path | None:
    """Return the weights file, or None for the words that mean no file.

    Raises:
        ModelError: there is no such file, or it is not a .safetensors file.
    """
    if weights is None or weights in ("random", "none"):
        return None
    path = Path(weights)
    if path.suffix != ".safetensors":
        raise ModelError(
            f"weights {path} is not a .safetensors file; other formats can run code when read: convert it with safetensors.torch.save_file"
        )
    if not path.is_file():
        raise ModelError(f"weights file {path} does not exist; {OFFLINE_HINT}")
    return path


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read a .safetensors file.

    Raises:
        ModelError: it is truncated, is not safetensors (a renamed pickle, say), or holds values that are not finite.
    """
    try:
        with safe_open(path, framework="pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"weights file {path} is not a complete safetensors file ({error}); copy it again or convert it anew") from error
    broken = [key for key, value in state.items() if value.is_floating_point() and not bool(torch.isfinite(value).all())]
    if broken:
        raise ModelError(
            f"weights file {path} holds values that are not finite in {len(broken)} tensors, first {broken[0]}; use another checkpoint"
        )
    return state


def weights_digest(model: nn.Module) -> str:
    """Return the sha256 of every tensor that the model would save, by name: equal for equal weights, whatever file they came from."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
