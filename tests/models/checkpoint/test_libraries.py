"""The library itself is the oracle: its model and timm's with its weights give the same logits.

transformers and open_clip are asked where they are installed.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from timm.models.deit import VisionTransformerDistilled
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from tests.support.checkpoints import seeded
from toast_core.models.checkpoint import read_checkpoint

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "image_size": 28, "patch_size": 14}
VIT = {"img_size": 28, "patch_size": 14, "embed_dim": 16, "depth": 2, "num_heads": 2}
SWIN = {"img_size": 28, "patch_size": 2, "embed_dim": 16, "depths": (2, 2), "num_heads": (2, 2), "window_size": 7, "num_classes": 3}


def agree(theirs: torch.Tensor, place: Path, ours: nn.Module, images: torch.Tensor) -> None:
    """Fill timm's model from the file and compare."""
    ours.load_state_dict(read_checkpoint(place).state)
    with torch.inference_mode():
        assert torch.allclose(ours.eval()(images), theirs, atol=1e-5)


@pytest.fixture
def images() -> torch.Tensor:
    """Two images of 28 pixels."""
    return torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(1))


class TestTorchvision:
    """Installed with timm."""

    def test_vit(self, tmp_path: Path, images: torch.Tensor) -> None:
        from torchvision.models import VisionTransformer as Theirs

        model = seeded(Theirs(28, 14, 2, 2, 16, 32, num_classes=3))
        torch.save(model.state_dict(), tmp_path / "w.pth")
        with torch.inference_mode():
            agree(model(images), tmp_path / "w.pth", VisionTransformer(**VIT, mlp_ratio=2, num_classes=3), images)

    def test_swin(self, tmp_path: Path, images: torch.Tensor) -> None:
        from torchvision.models import SwinTransformer as Theirs

        model = seeded_swin(Theirs([2, 2], 16, [2, 2], [2, 2], [7, 7], num_classes=3))
        torch.save(model.state_dict(), tmp_path / "w.pth")
        with torch.inference_mode():
            agree(model(images), tmp_path / "w.pth", SwinTransformer(**SWIN), images)


def seeded_swin(model: nn.Module) -> nn.Module:
    """Seeded values in parameters alone: torchvision keeps the positions' index as a buffer."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn(value.shape, generator=generator) * 0.1)
    return model.eval()


class TestTransformers:
    """A folder as its save_pretrained writes it."""

    @pytest.mark.parametrize(
        ("name", "config", "ours"),
        [
            ("ViTForImageClassification", "ViTConfig", lambda: VisionTransformer(**VIT, num_classes=3)),
            ("DeiTForImageClassificationWithTeacher", "DeiTConfig", lambda: VisionTransformerDistilled(**VIT, num_classes=3)),
            ("DeiTForImageClassification", "DeiTConfig", lambda: VisionTransformerDistilled(**VIT, num_classes=3)),
        ],
        ids=["vit", "deit-distilled", "deit"],
    )
    def test_classifiers(self, tmp_path: Path, images: torch.Tensor, name: str, config: str, ours: Any) -> None:
        library = pytest.importorskip("transformers")
        model = seeded(getattr(library, name)(getattr(library, config)(**SIZES, num_labels=3)))
        self.compare(model, lambda: model(images).logits, tmp_path, ours(), images)

    def test_swin(self, tmp_path: Path, images: torch.Tensor) -> None:
        library = pytest.importorskip("transformers")
        config = library.SwinConfig(embed_dim=16, depths=[2, 2], num_heads=[2, 2], image_size=28, window_size=7, patch_size=2, num_labels=3)
        model = seeded_swin(library.SwinForImageClassification(config))
        self.compare(model, lambda: model(images).logits, tmp_path, SwinTransformer(**SWIN), images)

    @pytest.mark.parametrize("registers", [0, 4])
    def test_dinov2(self, tmp_path: Path, images: torch.Tensor, registers: int) -> None:
        library = pytest.importorskip("transformers")
        sizes = {key: value for key, value in SIZES.items() if key != "intermediate_size"}
        kind = "Dinov2WithRegisters" if registers else "Dinov2"
        more = {"num_register_tokens": registers} if registers else {}
        model = seeded(getattr(library, f"{kind}Model")(getattr(library, f"{kind}Config")(**sizes, **more)))
        ours = VisionTransformer(**VIT, init_values=1.0, reg_tokens=registers, no_embed_class=bool(registers), num_classes=0)
        self.compare(model, lambda: model(images).last_hidden_state[:, 0], tmp_path, ours, images)

    def test_siglip(self, tmp_path: Path, images: torch.Tensor) -> None:
        library = pytest.importorskip("transformers")
        text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 99}
        model = seeded(library.SiglipModel(library.SiglipConfig(vision_config=SIZES, text_config=text)))
        ours = VisionTransformer(**VIT, class_token=False, global_pool="map", act_layer="gelu_tanh", num_classes=0)
        ours.attn_pool.mlp.act = nn.GELU("tanh")
        self.compare(model, lambda: model.vision_model(images).pooler_output, tmp_path, ours, images)

    def test_siglip_classifier(self, tmp_path: Path, images: torch.Tensor) -> None:
        library = pytest.importorskip("transformers")
        model = seeded(library.SiglipForImageClassification(library.SiglipConfig(vision_config=SIZES, num_labels=3)))
        ours = VisionTransformer(**VIT, class_token=False, global_pool="avg", fc_norm=False, act_layer="gelu_tanh", num_classes=3)
        self.compare(model, lambda: model(images).logits, tmp_path, ours, images)

    def test_clip(self, tmp_path: Path, images: torch.Tensor) -> None:
        library = pytest.importorskip("transformers")
        model = seeded(library.CLIPVisionModelWithProjection(library.CLIPVisionConfig(**SIZES, projection_dim=8)))
        ours = VisionTransformer(**VIT, pre_norm=True, num_classes=8, act_layer="quick_gelu")
        for norm in (module for module in ours.modules() if isinstance(module, nn.LayerNorm)):
            norm.eps = 1e-5
        self.compare(model, lambda: model(images).image_embeds, tmp_path, ours, images)

    def compare(self, model: nn.Module, run: Any, folder: Path, ours: nn.Module, images: torch.Tensor) -> None:
        """Save the library's model as it does, and compare."""
        model.save_pretrained(folder)
        with torch.inference_mode():
            agree(run(), folder / "model.safetensors", ours, images)


def test_open_clip(tmp_path: Path, images: torch.Tensor) -> None:
    library = pytest.importorskip("open_clip").model
    vision = library.CLIPVisionCfg(layers=2, width=16, head_width=8, patch_size=14, image_size=28)
    text = library.CLIPTextCfg(context_length=8, vocab_size=99, width=16, heads=2, layers=1)
    model = seeded_swin(library.CLIP(8, vision, text, quick_gelu=True))
    torch.save({"state_dict": {f"module.{name}": value for name, value in model.state_dict().items()}}, tmp_path / "w.pt")
    ours = VisionTransformer(**VIT, pre_norm=True, num_classes=8, act_layer="quick_gelu")
    for norm in (module for module in ours.modules() if isinstance(module, nn.LayerNorm)):
        norm.eps = 1e-5
    with torch.inference_mode():
        agree(model.encode_image(images), tmp_path / "w.pt", ours, images)
