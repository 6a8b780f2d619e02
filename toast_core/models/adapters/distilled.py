"""timm's VisionTransformerDistilled: a DeiT with a distillation token and a classifier of its own for it; both are averaged."""

from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from toast_core.cost.shapes import ModelShape
from toast_core.models.adapters.base import TokenLayout
from toast_core.models.adapters.vit import VitAdapter


class DistilledAdapter(VitAdapter):
    """A ViT whose head reads two tokens."""

    family = "deit_distilled"
    model_class = VisionTransformerDistilled
    timm_modules: tuple[str, ...] = ("timm.models.deit",)
    names = "deit_*_distilled_*"

    def layout(self, model: VisionTransformer, index: int) -> TokenLayout:
        """Say where the tokens stand: class token, distillation token, patches."""
        return TokenLayout(model.num_prefix_tokens, model.patch_embed.num_patches, True, read=2)

    def shape(self, model: VisionTransformer, name: str) -> ModelShape:
        """Describe the baseline model in plain integers; both classifiers count."""
        return self.described(model, name, [layer for layer in (model.head, model.head_dist) if isinstance(layer, nn.Linear)])
