"""timm's SwinTransformer, Swin-S3 included: shifted windows, relative position bias, patch merging, no class token."""

import torch
from timm.models.swin_transformer import SwinTransformer, SwinTransformerBlock, WindowAttention, window_partition, window_reverse
from torch import nn
from torch.nn import functional as F

from toast_core.cost.shapes import BlockShape, ModelShape
from toast_core.models.adapters.base import BlockParts, TokenLayout, check_mlp, check_parts, count, embed_macs, embed_refusal


class ShiftedWindows(nn.Module):
    """Cuts (B, H, W, D) into windows and puts them back, with padding and cyclic shift as timm's block does."""

    def __init__(self, block: SwinTransformerBlock) -> None:
        super().__init__()
        self.window_size, self.shift_size = tuple(block.window_size), tuple(block.shift_size)
        self.relative_position_bias_table = block.attn.relative_position_bias_table
        self.register_buffer("relative_position_index", block.attn.relative_position_index, persistent=False)
        self.register_buffer("attn_mask", block.attn_mask, persistent=False)

    def split(self, x: torch.Tensor) -> torch.Tensor:
        """(B, H, W, D) -> (B, windows, A, D), A the window's area."""
        if any(self.shift_size):
            x = torch.roll(x, (-self.shift_size[0], -self.shift_size[1]), (1, 2))
        pad_h, pad_w = (-x.shape[1] % self.window_size[0], -x.shape[2] % self.window_size[1])
        if pad_h or pad_w:
            x = F.pad(x, (0, 0, 0, pad_w, 0, pad_h))
        area = self.window_size[0] * self.window_size[1]
        return window_partition(x, self.window_size).reshape(x.shape[0], -1, area, x.shape[3])

    def join(self, windows: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """(B, windows, A, D) -> (B, H, W, D), the inverse of `split` for `like`'s H and W."""
        height, width = like.shape[1:3]
        padded = (height + -height % self.window_size[0], width + -width % self.window_size[1])
        x = window_reverse(windows.reshape(-1, *self.window_size, windows.shape[-1]), self.window_size, *padded)
        x = x[:, :height, :width]
        return torch.roll(x, self.shift_size, (1, 2)) if any(self.shift_size) else x

    def bias(self) -> torch.Tensor:
        """What is added to the attention logits: (1 or windows, H, A, A)."""
        area = self.window_size[0] * self.window_size[1]
        bias = self.relative_position_bias_table[self.relative_position_index.view(-1)].view(area, area, -1)
        bias = bias.permute(2, 0, 1).unsqueeze(0)
        return bias if self.attn_mask is None else bias + self.attn_mask.unsqueeze(1)


class SwinAdapter:
    """Swin and Swin-S3: attention within windows, in stages of falling resolution."""

    family = "swin"
    model_class = SwinTransformer
    timm_modules = ("timm.models.swin_transformer",)
    names = "swin_*, swin_s3_*"
    default_token_fraction = 0.20

    def refusal(self, model: SwinTransformer) -> str:
        """Return why this SwinTransformer is outside the family, or an empty string."""
        for index, block in enumerate(self.blocks(model)):
            if type(block) is not SwinTransformerBlock or type(block.attn) is not WindowAttention:
                return f"block {index} is {type(block).__name__}, not timm's SwinTransformerBlock"
            if getattr(block, "dynamic_mask", False):
                return f"block {index} computes its window mask from each input size (strict_img_size=False)"
            if reason := check_mlp(block.mlp) or check_parts(self.parts(block)):
                return f"in block {index} {reason}"
        return embed_refusal(model.patch_embed)

    def blocks(self, model: SwinTransformer) -> list[nn.Module]:
        """Return the blocks in order, counted through the stages."""
        return [block for stage in model.layers for block in stage.blocks]

    def replace_block(self, model: SwinTransformer, index: int, block: nn.Module) -> None:
        """Put another module in a block's place."""
        for stage in model.layers:
            if index < len(stage.blocks):
                stage.blocks[index] = block
                return
            index -= len(stage.blocks)

    def parts(self, block: SwinTransformerBlock) -> BlockParts:
        """Name the modules of a block."""
        attn, mlp = block.attn, block.mlp
        return BlockParts(
            norm1=block.norm1,
            qkv=attn.qkv,
            q_norm=nn.Identity(),
            k_norm=nn.Identity(),
            proj=attn.proj,
            heads=attn.num_heads,
            head_dim=attn.qkv.out_features // 3 // attn.num_heads,
            scale=attn.scale,
            attn_drop=attn.attn_drop.p,
            proj_drop=attn.proj_drop,
            ls1=nn.Identity(),
            drop_path1=block.drop_path1,
            norm2=block.norm2,
            fc1=mlp.fc1,
            act=mlp.act,
            drop1=mlp.drop1,
            fc2=mlp.fc2,
            drop2=mlp.drop2,
            ls2=nn.Identity(),
            drop_path2=block.drop_path2,
            attention=attn,
            windows=ShiftedWindows(block),
        )

    def embed(self, model: SwinTransformer, images: torch.Tensor) -> torch.Tensor:
        """Run the patch embedding: images (B, C, H, W) to tokens (B, H', W', D)."""
        return model.patch_embed(images)

    def before_block(self, model: SwinTransformer, index: int, x: torch.Tensor) -> torch.Tensor:
        """Run a stage's patch merging before its first block."""
        for stage in model.layers:
            if index == 0:
                return stage.downsample(x)
            if index < len(stage.blocks):
                return x
            index -= len(stage.blocks)
        return x

    def head(self, model: SwinTransformer, x: torch.Tensor) -> torch.Tensor:
        """Run the final norm, pooling and classifier."""
        return model.forward_head(model.norm(x))

    def layout(self, model: SwinTransformer, index: int) -> TokenLayout:
        """Say where the tokens stand: patches only."""
        height, width = self.blocks(model)[index].input_resolution
        return TokenLayout(0, height * width, False)

    def shape(self, model: SwinTransformer, name: str) -> ModelShape:
        """Describe the baseline model in plain integers."""
        blocks, merge_macs = [], 0
        for stage_index, stage in enumerate(model.layers):
            height, width = stage.blocks[0].input_resolution
            if not isinstance(stage.downsample, nn.Identity):
                merge_macs += height * width * stage.downsample.reduction.weight.numel()
            blocks += [_block_shape(self.parts(block), block, stage_index) for block in stage.blocks]
        inside = sum(count(block) for block in self.blocks(model))
        head = model.head.fc
        return ModelShape(
            name=name,
            family=self.family,
            blocks=tuple(blocks),
            patches=model.patch_embed.num_patches,
            image_size=model.patch_embed.img_size[0],
            num_classes=model.num_classes,
            embed_macs=embed_macs(model.patch_embed, 0),
            merge_macs=merge_macs,
            head_macs=head.weight.numel() if isinstance(head, nn.Linear) else 0,
            other_params=count(model) - inside,
        )


def _block_shape(parts: BlockParts, block: SwinTransformerBlock, stage: int) -> BlockShape:
    (height, width), (win_h, win_w) = block.input_resolution, block.window_size
    padded = (height + -height % win_h) * (width + -width % win_w)
    narrowed = sum(count(part) for part in (parts.qkv, parts.fc1, parts.norm2)) + parts.proj.weight.numel() + parts.fc2.weight.numel()
    return BlockShape(
        tokens=height * width,
        attention_tokens=padded,
        keys=win_h * win_w,
        width=parts.norm1.normalized_shape[0],
        heads=parts.heads,
        head_dim=parts.head_dim,
        hidden=parts.fc1.out_features,
        stage=stage,
        qkv_bias=parts.qkv.bias is not None,
        qk_norm=False,
        fc1_bias=parts.fc1.bias is not None,
        fixed_params=count(block) - narrowed,
    )
