"""timm's VisionTransformer: ViT, DeiT, DeiT-3, MAE, CLIP, DINOv2 with registers, SigLIP, FlexiViT."""

import torch
from timm.layers import Attention, AttentionPoolLatent
from timm.models.vision_transformer import Block, VisionTransformer
from torch import nn

from toast_core.cost.shapes import BlockShape, ModelShape
from toast_core.models.adapters.base import (
    BlockParts,
    TokenLayout,
    check_mlp,
    check_parts,
    count,
    embed_macs,
    embed_refusal,
    global_block_shape,
)


class VitAdapter:
    """Global attention over prefix and patch tokens."""

    family = "vit"
    model_class = VisionTransformer
    timm_modules: tuple[str, ...] = ("timm.models.vision_transformer", "timm.models.deit")
    names = "vit_* (AugReg, CLIP, MAE, SigLIP, DINOv2, registers), flexivit_*, deit_*, deit3_*"
    default_token_fraction = 0.02

    def refusal(self, model: VisionTransformer) -> str:
        """Return why this VisionTransformer is outside the family, or an empty string."""
        for index, block in enumerate(model.blocks):
            if type(block) is not Block or type(block.attn) is not Attention:
                attention = getattr(block, "attn", None)
                return f"block {index} is {type(block).__name__} with {type(attention).__name__}, not timm's Block with Attention"
            if not isinstance(getattr(block.attn, "norm", nn.Identity()), nn.Identity) or getattr(block.attn, "gate", None) is not None:
                return f"block {index} normalises or gates its attention output"
            if reason := check_mlp(block.mlp) or check_parts(self.parts(block)):
                return f"in block {index} {reason}"
        if model.attn_pool is not None and type(model.attn_pool) is not AttentionPoolLatent:
            return f"its pooling is {type(model.attn_pool).__name__}"
        return embed_refusal(model.patch_embed)

    def blocks(self, model: VisionTransformer) -> list[nn.Module]:
        """Return the blocks in order."""
        return list(model.blocks)

    def replace_block(self, model: VisionTransformer, index: int, block: nn.Module) -> None:
        """Put another module in a block's place."""
        model.blocks[index] = block

    def parts(self, block: Block) -> BlockParts:
        """Name the modules of a block."""
        attn, mlp = block.attn, block.mlp
        return BlockParts(
            norm1=block.norm1,
            qkv=attn.qkv,
            q_norm=attn.q_norm,
            k_norm=attn.k_norm,
            proj=attn.proj,
            heads=attn.num_heads,
            head_dim=attn.head_dim,
            scale=attn.scale,
            attn_drop=attn.attn_drop.p,
            proj_drop=attn.proj_drop,
            ls1=block.ls1,
            drop_path1=block.drop_path1,
            norm2=block.norm2,
            fc1=mlp.fc1,
            act=mlp.act,
            drop1=mlp.drop1,
            fc2=mlp.fc2,
            drop2=mlp.drop2,
            ls2=block.ls2,
            drop_path2=block.drop_path2,
            attention=attn,
        )

    def embed(self, model: VisionTransformer, images: torch.Tensor) -> torch.Tensor:
        """Run patch embedding, position embedding and the norm before the blocks, if any."""
        return model.norm_pre(model.patch_drop(model._pos_embed(model.patch_embed(images))))

    def before_block(self, model: VisionTransformer, index: int, x: torch.Tensor) -> torch.Tensor:
        """Nothing lies between the blocks."""
        return x

    def head(self, model: VisionTransformer, x: torch.Tensor) -> torch.Tensor:
        """Run the final norm, pooling and classifier."""
        return model.forward_head(model.norm(x))

    def layout(self, model: VisionTransformer, index: int) -> TokenLayout:
        """Say where the tokens stand; a class token counts as in use where the head reads it."""
        in_use = model.has_class_token and model.global_pool == "token"
        return TokenLayout(model.num_prefix_tokens, model.patch_embed.num_patches, in_use)

    def shape(self, model: VisionTransformer, name: str) -> ModelShape:
        """Describe the baseline model in plain integers."""
        return self.described(model, name, [model.head] if isinstance(model.head, nn.Linear) else [])

    def described(self, model: VisionTransformer, name: str, classifiers: list[nn.Linear]) -> ModelShape:
        """The shape of a model with these classifiers."""
        tokens = model.patch_embed.num_patches + model.num_prefix_tokens
        blocks = tuple(_block_shape(self.parts(block), block, tokens) for block in model.blocks)
        inside = sum(count(block) for block in model.blocks)
        head_macs = sum(layer.weight.numel() for layer in classifiers)
        return ModelShape(
            name=name,
            family=self.family,
            blocks=blocks,
            patches=model.patch_embed.num_patches,
            image_size=model.patch_embed.img_size[0],
            num_classes=model.num_classes,
            embed_macs=embed_macs(model.patch_embed, model.num_prefix_tokens),
            merge_macs=0,
            head_macs=head_macs + pool_macs(model.attn_pool, tokens),
            other_params=count(model) - inside,
        )


def _block_shape(parts: BlockParts, block: Block, tokens: int) -> BlockShape:
    narrowed = sum(count(part) for part in (parts.qkv, parts.q_norm, parts.k_norm, parts.fc1, parts.norm2))
    narrowed += parts.proj.weight.numel() + parts.fc2.weight.numel()
    return global_block_shape(parts, tokens, count(block) - narrowed)


def pool_macs(pool: AttentionPoolLatent | None, tokens: int) -> int:
    """Attention pooling: one latent query (already in the weights) over all tokens, then its feed-forward network."""
    if pool is None:
        return 0
    latents = pool.latent_len
    inner = pool.num_heads * pool.head_dim
    products = 2 * latents * tokens * inner
    mlp = (
        sum(layer.weight.numel() for layer in pool.mlp.modules() if isinstance(layer, nn.Linear)) if isinstance(pool.mlp, nn.Module) else 0
    )
    return latents * (pool.q.weight.numel() + pool.proj.weight.numel() + mlp) + tokens * pool.kv.weight.numel() + products
