"""A model as plain integers: all that cost and legal ratios depend on. Imports no torch, so pages can count while dragging."""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

from toast_core.schedule.sites import BY_NAME


@dataclass(frozen=True)
class BlockShape:
    """One block.

    tokens            N, tokens that the feed-forward network sees
    attention_tokens  tokens that attention projects (more than N where a Swin pads its windows)
    keys              tokens each query attends to: N, or the window's area
    width             D
    heads, head_dim   H and d; attention's inner width is H * d
    hidden            M, feed-forward hidden units
    stage             the Swin stage, 0 for a ViT
    qkv_bias, qk_norm, fc1_bias   which of the parameters that pruning narrows exist
    fixed_params      parameters that pruning leaves alone (norm1, output biases, LayerScale, position bias)
    qk_tied           dimensions of q and k that only leave together: 2 where rotary embeddings turn pairs of them
    key_bias          whether k has a bias where q and v have one
    gated             whether fc1 has two rows a hidden unit, gate and value
    hidden_norm       whether a LayerNorm stands between the hidden layer and fc2
    """

    tokens: int
    attention_tokens: int
    keys: int
    width: int
    heads: int
    head_dim: int
    hidden: int
    stage: int
    qkv_bias: bool
    qk_norm: bool
    fc1_bias: bool
    fixed_params: int
    qk_tied: int = 1
    key_bias: bool = True
    gated: bool = False
    hidden_norm: bool = False

    def site_width(self, site: str) -> int:
        """How many channels a site chooses among: head dimensions for qk (pairs where they are tied) and vo, D for fc1, M for fc2."""
        width: int = getattr(self, BY_NAME[site].width)
        return width // self.qk_tied if site == "qk" else width

    @property
    def fc1_rows(self) -> int:
        """Rows of fc1 for a hidden unit."""
        return 2 if self.gated else 1


_USUAL = {field.name: field.default for field in fields(BlockShape) if field.default is not MISSING}


@dataclass(frozen=True)
class ModelShape:
    """A whole model: its blocks, and what lies outside them (patch embedding, merging, pooling, classifier)."""

    name: str
    family: str
    blocks: tuple[BlockShape, ...]
    patches: int
    image_size: int
    num_classes: int
    embed_macs: int
    merge_macs: int
    head_macs: int
    other_params: int

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values, a block an object; without what only some families have where this one has it not."""
        values = asdict(self)
        values["blocks"] = [{name: row[name] for name in row if row[name] != _USUAL.get(name)} for row in values["blocks"]]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ModelShape":
        """Return the shape whose `to_dict` gives these values."""
        return cls(
            **{f.name: values[f.name] for f in fields(cls) if f.name != "blocks"},
            blocks=tuple(BlockShape(**row) for row in values["blocks"]),
        )
