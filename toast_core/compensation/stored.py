"""The fit of one block, and as bytes and back: safetensors, so that nothing is unpickled."""

import json
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from toast_core.pruning.plan import BlockPlan, FixedKeep, HeadKeep
from toast_core.schedule.sites import CHANNEL_SITES, HEAD_SITES

_FACTS = "facts"


@dataclass(frozen=True)
class Fit:
    """What became of a block: its plan, and what could not be done as asked."""

    plan: BlockPlan
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of its tensors."""
        return sum(x.numel() * x.element_size() for x in _tensors(self.plan).values())


def write_fit(fit: Fit) -> bytes:
    """The fit as bytes; which of its tensors lie on the model's device, if that is not the CPU, is kept with them."""
    tensors = _tensors(fit.plan)
    facts = {"notes": fit.notes, "away": [name for name, value in tensors.items() if value.device.type != "cpu"]}
    text = torch.frombuffer(bytearray(json.dumps(facts).encode()), dtype=torch.uint8)
    return save({name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()} | {_FACTS: text})


def read_fit(content: bytes, device: torch.device) -> Fit | None:
    """The fit of `write_fit`, its tensors where they were: on the CPU or on the model's device. None for other bytes."""
    try:
        tensors = load(content)
        facts = json.loads(bytes(tensors.pop(_FACTS).tolist()))
        placed = {name: value.to(device) if name in facts["away"] else value for name, value in tensors.items()}
        kept: dict[str, Any] = {site: FixedKeep(placed[site]) for site in CHANNEL_SITES if site in placed}
        kept |= {site: HeadKeep(placed[f"{site}.first"], placed[f"{site}.second"]) for site in HEAD_SITES if f"{site}.first" in placed}
        weights = {name.removeprefix("weights."): value for name, value in placed.items() if name.startswith("weights.")}
        return Fit(BlockPlan(**kept, weights=weights or None), tuple(facts["notes"]))
    except (SafetensorError, ValueError, KeyError, TypeError):
        return None


def _tensors(plan: BlockPlan) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for site in HEAD_SITES:
        if (keep := getattr(plan, site)) is not None:
            found |= {f"{site}.first": keep.first, f"{site}.second": keep.second}
    found |= {site: keep.idx for site in CHANNEL_SITES if isinstance(keep := getattr(plan, site), FixedKeep)}
    return found | {f"weights.{name}": value for name, value in (plan.weights or {}).items()}
