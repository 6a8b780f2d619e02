"""What an adapter tells the engine about a model, and the checks both families share."""

from dataclasses import dataclass, field
from typing import Protocol

import torch
from timm.layers import DropPath, LayerScale, Mlp
from torch import nn

from toast_core.cost.shapes import BlockShape, ModelShape
from toast_core.models.adapters.rotary import Rotation


@dataclass(frozen=True)
class TokenLayout:
    """Where a block's tokens stand: `prefix` tokens (class, registers), then `patches`; token 0 may be the class token in use.

    Where it is, the head reads the first `read` tokens and no others.
    """

    prefix: int
    patches: int
    has_class_token: bool
    read: int = 1


class Windows(Protocol):
    """How a block's tokens are cut for attention; a ViT has none and attends over all."""

    def split(self, x: torch.Tensor) -> torch.Tensor: ...
    def join(self, windows: torch.Tensor, like: torch.Tensor) -> torch.Tensor: ...
    def bias(self) -> torch.Tensor: ...


@dataclass(frozen=True)
class BlockParts:
    """The modules of one timm block, by the role they play; nothing is copied but what `joined` says.

    windows      cuts the tokens for attention; None: attention over all
    rotary       turns q and k by their places, which ties pairs of their dimensions; None: nothing does
    gated        fc1 has a row for the gate and one for the value of every hidden unit, gates first, and `act` multiplies them
    hidden_norm  stands between the hidden layer and fc2
    joined       qkv is a new layer of what timm keeps apart
    """

    norm1: nn.LayerNorm
    qkv: nn.Linear
    q_norm: nn.Module
    k_norm: nn.Module
    proj: nn.Linear
    heads: int
    head_dim: int
    scale: float
    attn_drop: float
    proj_drop: nn.Module
    ls1: nn.Module
    drop_path1: nn.Module
    norm2: nn.LayerNorm
    fc1: nn.Linear
    act: nn.Module
    drop1: nn.Module
    fc2: nn.Linear
    drop2: nn.Module
    ls2: nn.Module
    drop_path2: nn.Module
    attention: nn.Module
    windows: nn.Module | None = None
    rotary: Rotation | None = None
    gated: bool = False
    hidden_norm: nn.Module = field(default_factory=nn.Identity)
    joined: bool = False

    @property
    def normalises_hidden(self) -> bool:
        """Whether a LayerNorm stands between the hidden layer and fc2."""
        return isinstance(self.hidden_norm, nn.LayerNorm)

    @property
    def hidden_reader(self) -> nn.Module:
        """The module whose input is the hidden layer."""
        return self.hidden_norm if self.normalises_hidden else self.fc2


class Adapter(Protocol):
    """One family of models.

    family                  its word in shapes: vit, swin
    model_class             the class of its models; a subclass may override anything, so it is a stranger
    timm_modules            modules whose registered model names are its
    names                   those names for people, with * for what varies
    default_token_fraction  of the patch tokens, what dynamic selection scores where a schedule does not say
    """

    family: str
    model_class: type
    timm_modules: tuple[str, ...]
    names: str
    default_token_fraction: float

    def refusal(self, model: nn.Module) -> str:
        """Return why this model is outside the family, or an empty string."""

    def blocks(self, model: nn.Module) -> list[nn.Module]:
        """Return the blocks in order, counted through the stages."""

    def replace_block(self, model: nn.Module, index: int, block: nn.Module) -> None:
        """Put another module in a block's place."""

    def parts(self, block: nn.Module) -> BlockParts:
        """Name the modules of a block."""

    def embed(self, model: nn.Module, images: torch.Tensor) -> torch.Tensor:
        """Run what comes before block 0."""

    def before_block(self, model: nn.Module, index: int, x: torch.Tensor) -> torch.Tensor:
        """Run what lies between block `index - 1` and block `index` (a Swin's patch merging)."""

    def head(self, model: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """Run what comes after the last block, up to the logits."""

    def layout(self, model: nn.Module, index: int) -> TokenLayout:
        """Say where a block's tokens stand."""

    def shape(self, model: nn.Module, name: str) -> ModelShape:
        """Describe the baseline model in plain integers."""


def count(module: nn.Module | None) -> int:
    """Return how many parameters a module has."""
    return sum(parameter.numel() for parameter in module.parameters()) if module is not None else 0


def check_mlp(mlp: nn.Module) -> str:
    """Return why a feed-forward network is not a plain fc1, activation, fc2, or an empty string."""
    plain = type(mlp) is Mlp and isinstance(mlp.fc1, nn.Linear) and isinstance(getattr(mlp, "norm", None), nn.Identity)
    return "" if plain else f"its feed-forward network is {type(mlp).__name__}, not a plain fc1, activation, fc2"


def check_parts(parts: BlockParts) -> str:
    """Return why a block's parts are not those that pruning handles, or an empty string."""
    for label, norm in (("norm1", parts.norm1), ("norm2", parts.norm2)):
        if not isinstance(norm, nn.LayerNorm) or norm.weight is None or norm.bias is None:
            return f"{label} is {type(norm).__name__}, not an affine LayerNorm"
    if parts.normalises_hidden and (parts.hidden_norm.weight is None or parts.hidden_norm.bias is None or parts.fc2.bias is None):
        return "the norm of its hidden layer has no weight or bias, or fc2 no bias"
    for label, norm in (("q_norm", parts.q_norm), ("k_norm", parts.k_norm)):
        if not isinstance(norm, nn.Identity) and not (isinstance(norm, nn.LayerNorm) and norm.bias is not None):
            return f"{label} is {type(norm).__name__}, not a LayerNorm with a bias"
    for label, layer in (("ls1", parts.ls1), ("ls2", parts.ls2)):
        if not isinstance(layer, LayerScale | nn.Identity):
            return f"{label} is {type(layer).__name__}, not LayerScale"
    for label, layer in (("drop_path1", parts.drop_path1), ("drop_path2", parts.drop_path2)):
        if not isinstance(layer, DropPath | nn.Identity):
            return f"{label} is {type(layer).__name__}, not DropPath"
    return ""


def embed_refusal(patch_embed: nn.Module) -> str:
    """Return why a patch embedding is not one strided convolution, or an empty string."""
    from timm.layers import PatchEmbed

    if type(patch_embed) is not PatchEmbed or not isinstance(patch_embed.proj, nn.Conv2d):
        return f"its patch embedding is {type(patch_embed).__name__}, not one strided convolution"
    return ""


def embed_macs(patch_embed: nn.Module, prefix: int) -> int:
    """Return the patch embedding's multiply-accumulates for one image; a slot for each prefix token too, as published budgets count."""
    return (patch_embed.num_patches + prefix) * patch_embed.proj.weight.numel()


def global_block_shape(parts: BlockParts, tokens: int, fixed_params: int) -> BlockShape:
    """Return the shape of a block that attends over all of its tokens; `fixed_params` are those that no schedule can drop."""
    return BlockShape(
        tokens=tokens,
        attention_tokens=tokens,
        keys=tokens,
        width=parts.norm1.normalized_shape[0],
        heads=parts.heads,
        head_dim=parts.head_dim,
        hidden=parts.fc2.in_features,
        stage=0,
        qkv_bias=parts.qkv.bias is not None,
        qk_norm=not isinstance(parts.q_norm, nn.Identity),
        fc1_bias=parts.fc1.bias is not None,
        fixed_params=fixed_params,
    )
