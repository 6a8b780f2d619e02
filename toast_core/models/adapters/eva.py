"""timm's Eva: EVA, EVA-02, DINOv3 and ViTs with rotary embeddings. Rotary ties pairs of q and k dimensions, SwiGLU gate and value."""

from dataclasses import replace
from typing import Any

import torch
from timm.layers import AttentionPoolLatent, AttentionRope, GluMlp, LayerScale, Mlp, SwiGLU
from timm.layers.pos_embed_sincos import RotaryEmbeddingCat, RotaryEmbeddingDinoV3
from timm.models.eva import Eva, EvaAttention, EvaBlock
from torch import nn

from toast_core.cost.shapes import BlockShape, ModelShape
from toast_core.models.adapters.base import BlockParts, TokenLayout, check_parts, count, embed_macs, embed_refusal, global_block_shape
from toast_core.models.adapters.rotary import GiveRope, Rotation, rope_giver
from toast_core.models.adapters.vit import pool_macs


class Gated(nn.Module):
    """SwiGLU's activation: the first half of what comes in, activated, times the second half."""

    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.act = act

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., 2 M) -> (..., M)."""
        gate, value = x.chunk(2, dim=-1)
        return self.act(gate) * value


class EvaAdapter:
    """Global attention with rotary embeddings, fused or separate q, k and v, and gated feed-forward networks."""

    family = "eva"
    model_class = Eva
    timm_modules = ("timm.models.eva",)
    names = "eva_*, eva02_*, vit_*_dinov3 (rotary embeddings, SwiGLU)"
    default_token_fraction = 0.02

    def refusal(self, model: Eva) -> str:
        """Return why this Eva is outside the family, or an empty string."""
        if model.rope is not None and type(model.rope) not in (RotaryEmbeddingCat, RotaryEmbeddingDinoV3):
            return f"its rotary embedding is {type(model.rope).__name__}, whose angles are not the same in every block and head"
        block: Any
        for index, block in enumerate(model.blocks):
            attn: Any = getattr(block, "attn", None)
            if type(block) is not EvaBlock or type(attn) not in (EvaAttention, AttentionRope):
                return f"block {index} is {type(block).__name__} with {type(attn).__name__}, not timm's EvaBlock with its attention"
            if not isinstance(attn.norm, nn.Identity) or attn.gate is not None:
                return f"block {index} normalises or gates its attention output"
            if getattr(attn, "num_kv_heads", attn.num_heads) != attn.num_heads:
                return f"block {index} has fewer heads of k and v than of q"
            if reason := _mlp_refusal(block.mlp) or check_parts(self.parts(block)):
                return f"in block {index} {reason}"
        if model.attn_pool is not None and type(model.attn_pool) is not AttentionPoolLatent:
            return f"its pooling is {type(model.attn_pool).__name__}"
        return embed_refusal(model.patch_embed)

    def blocks(self, model: Eva) -> list[nn.Module]:
        """Return the blocks in order, each able to run by itself."""
        for block in model.blocks:
            if model.rope is not None and isinstance(block, EvaBlock) and rope_giver(block) is None:
                block.register_forward_pre_hook(GiveRope(model.rope, model.patch_embed.grid_size), with_kwargs=True)
        return list(model.blocks)

    def replace_block(self, model: Eva, index: int, block: nn.Module) -> None:
        """Put another module in a block's place."""
        model.blocks[index] = block

    def parts(self, block: EvaBlock) -> BlockParts:
        """Name the modules of a block; separate layers are put side by side in new ones, which `joined` says."""
        attn, mlp, giver = block.attn, block.mlp, rope_giver(block)
        qkv, fc1 = _joined_qkv(attn), _joined_fc1(mlp)
        half = bool(getattr(attn, "rotate_half", False))
        return BlockParts(
            norm1=block.norm1,
            qkv=qkv,
            q_norm=attn.q_norm,
            k_norm=attn.k_norm,
            proj=attn.proj,
            heads=attn.num_heads,
            head_dim=qkv.out_features // 3 // attn.num_heads,
            scale=attn.scale,
            attn_drop=attn.attn_drop.p,
            proj_drop=attn.proj_drop,
            ls1=_layer_scale(block.gamma_1),
            drop_path1=block.drop_path1,
            norm2=block.norm2,
            fc1=fc1,
            act=mlp.act if isinstance(mlp, Mlp) else Gated(mlp.act),
            drop1=mlp.drop1,
            fc2=mlp.fc2,
            drop2=mlp.drop2,
            ls2=_layer_scale(block.gamma_2),
            drop_path2=block.drop_path2,
            attention=attn,
            rotary=None if giver is None else Rotation(giver.table(), attn.num_prefix_tokens, half),
            gated=not isinstance(mlp, Mlp),
            hidden_norm=mlp.norm,
            joined=qkv is not attn.qkv,
        )

    def embed(self, model: Eva, images: torch.Tensor) -> torch.Tensor:
        """Run patch embedding, position embedding and the norm before the blocks, if any."""
        return model.norm_pre(model._pos_embed(model.patch_embed(images))[0])

    def before_block(self, model: Eva, index: int, x: torch.Tensor) -> torch.Tensor:
        """Nothing lies between the blocks."""
        return x

    def head(self, model: Eva, x: torch.Tensor) -> torch.Tensor:
        """Run the final norm, pooling and classifier."""
        return model.forward_head(model.norm(x))

    def layout(self, model: Eva, index: int) -> TokenLayout:
        """Say where the tokens stand; a class token counts as in use where the head reads it."""
        return TokenLayout(model.num_prefix_tokens, model.patch_embed.num_patches, model.global_pool == "token")

    def shape(self, model: Eva, name: str) -> ModelShape:
        """Describe the baseline model in plain integers."""
        tokens = model.patch_embed.num_patches + model.num_prefix_tokens
        blocks: list[Any] = self.blocks(model)
        return ModelShape(
            name=name,
            family=self.family,
            blocks=tuple(_block_shape(self.parts(block), block, tokens) for block in blocks),
            patches=model.patch_embed.num_patches,
            image_size=model.patch_embed.img_size[0],
            num_classes=model.num_classes,
            embed_macs=embed_macs(model.patch_embed, model.num_prefix_tokens),
            merge_macs=0,
            head_macs=(model.head.weight.numel() if isinstance(model.head, nn.Linear) else 0) + pool_macs(model.attn_pool, tokens),
            other_params=count(model) - sum(count(block) for block in blocks),
        )


def _mlp_refusal(mlp: nn.Module) -> str:
    plain = type(mlp) in (Mlp, SwiGLU, GluMlp) and isinstance(mlp.fc2, nn.Linear) and not getattr(mlp, "gate_last", False)
    norm = getattr(mlp, "norm", None)
    if not plain or not isinstance(norm, nn.Identity | nn.LayerNorm):
        kind = f"{type(mlp).__name__} with {type(norm).__name__}"
        return f"its feed-forward network is {kind}, neither plain nor SwiGLU, with a LayerNorm at most"
    return ""


def _block_shape(parts: BlockParts, block: EvaBlock, tokens: int) -> BlockShape:
    attn, has_norm = block.attn, isinstance(parts.hidden_norm, nn.LayerNorm)
    own = (attn.qkv, attn.q_proj, attn.k_proj, attn.v_proj, attn.q_norm, attn.k_norm, parts.fc1, parts.norm2, parts.hidden_norm)
    narrowed = sum(count(part) for part in own) + parts.proj.weight.numel() + parts.fc2.weight.numel()
    narrowed += sum(bias.numel() for name in ("q_bias", "v_bias") if (bias := getattr(attn, name, None)) is not None)
    return replace(
        global_block_shape(parts, tokens, count(block) - narrowed), qk_tied=1 if parts.rotary is None else 2,
        key_bias=isinstance(attn, AttentionRope), gated=parts.gated, hidden_norm=has_norm,
    )


def _linear(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.detach())
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach())
    return layer


def _joined_qkv(attn: Any) -> nn.Linear:
    """q, k and v as one layer; EVA's k has no bias, which is a bias of zeros here."""
    if attn.qkv is not None:
        bias = getattr(attn, "q_bias", None)
        return attn.qkv if bias is None else _linear(attn.qkv.weight, torch.cat([bias, torch.zeros_like(bias), attn.v_bias]))
    layers = (attn.q_proj, attn.k_proj, attn.v_proj)
    biases = [layer.bias for layer in layers]
    if all(bias is None for bias in biases):
        return _linear(torch.cat([layer.weight for layer in layers]), None)
    zeros = torch.zeros_like(next(bias for bias in biases if bias is not None))
    return _linear(torch.cat([layer.weight for layer in layers]), torch.cat([zeros if bias is None else bias for bias in biases]))


def _joined_fc1(mlp: Any) -> nn.Linear:
    """The rows of gate and value one above the other."""
    if not isinstance(mlp, SwiGLU):
        return mlp.fc1
    weights, biases = zip(*((layer.weight, layer.bias) for layer in (mlp.fc1_g, mlp.fc1_x)), strict=True)
    return _linear(torch.cat(weights), None if biases[0] is None else torch.cat(biases))


def _layer_scale(gamma: nn.Parameter | None) -> nn.Module:
    if gamma is None:
        return nn.Identity()
    layer = LayerScale(len(gamma), device="meta")
    layer.gamma = gamma
    return layer
