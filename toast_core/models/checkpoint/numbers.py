"""What numbers a checkpoint holds: real and finite ones become float32, all others are refused by the tensor's name."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch

from toast_core.errors import ModelError

REAL = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
# computed from the model's sizes or kept for training: no weights, and whole numbers by right
COMPUTED = re.compile(r"(.*\.)?(relative_position_index|relative_coords_table|position_ids|attn_mask|num_batches_tracked)")


def check_numbers(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Refuse tensors whose numbers are no real and finite ones.

    Raises:
        ModelError: whole, boolean, complex, 8-bit, quantised, sparse or absent numbers, or some that are not finite.
    """
    odd = {name: _oddity(value) for name, value in tensors.items() if _oddity(value)}
    if odd:
        name = next(iter(odd))
        raise ModelError(
            f"weights file {path} holds numbers of another kind in {len(odd)} tensors, first {name} ({odd[name]}); "
            "use the checkpoint in float32, float16 or bfloat16 that it was made from"
        )
    broken = [key for key, value in tensors.items() if value.is_floating_point() and not bool(torch.isfinite(value).all())]
    if broken:
        raise ModelError(
            f"weights file {path} holds values that are not finite in {len(broken)} tensors, first {broken[0]}; use another checkpoint"
        )


def as_float32(path: Path, tensors: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    """Return the tensors in float32, and a note where that rounds (of float64; from 16 bits it is exact).

    Raises:
        ModelError: a float64 value is beyond what float32 holds.
    """
    state = {name: value.to(torch.float32) for name, value in tensors.items()}
    wide = [name for name, value in tensors.items() if value.dtype == torch.float64]
    broken = [name for name in wide if not bool(torch.isfinite(state[name]).all())]
    if broken:
        raise ModelError(f"weights file {path} holds values beyond float32's largest, first in {broken[0]}; use another checkpoint")
    return state, (f"rounded {len(wide)} tensors of {path.name} from float64 to float32",) if wide else ()


def _oddity(value: torch.Tensor) -> str:
    """Why a tensor's numbers are no weights, empty where they are."""
    if value.device.type == "meta":
        return "without values"
    if value.layout != torch.strided:
        return str(value.layout).removeprefix("torch.")
    return "" if value.dtype in REAL else str(value.dtype).removeprefix("torch.")
