"""What is chosen about preprocessing, against torchvision's own transforms and timm's own configuration."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config
from timm.data.auto_augment import RandAugment
from torch import nn
from torchvision import transforms as T

from tests.support.folders import pixels
from toast_core.data.transform import transform_for
from toast_core.errors import DataError, SetupError
from toast_core.loading import load_model
from toast_core.models.info import get_info
from toast_core.preprocessing import INTERPOLATIONS, OWN, Preprocessing, numbers
from toast_core.setup import Setup

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PICTURE = Image.fromarray(pixels(3, (80, 112)))


def chosen(model: nn.Module, preprocessing: Preprocessing) -> nn.Module:
    """The model with this preprocessing over its own."""
    model.toast_info = replace(get_info(model), preprocessing=preprocessing)
    return model


@pytest.fixture
def vit() -> nn.Module:
    return load_model("vit_tiny_patch16_224", "random", num_classes=3, img_size=64)


class TestTransform:
    """The model's input is what the person's own script made of an image."""

    def test_a_plain_resize_as_own_scripts_have_it(self, vit: nn.Module) -> None:
        found = transform_for(chosen(vit, Preprocessing(MEAN, STD, 1.0, "squash", "bilinear")))(PICTURE)
        plain = T.Compose([T.Resize((64, 64)), T.ToTensor(), T.Normalize(MEAN, STD)])
        assert torch.allclose(found, plain(PICTURE), atol=1e-6)

    def test_nothing_chosen_is_timms_own(self, vit: nn.Module) -> None:
        config = resolve_data_config({}, model=vit) | {"input_size": (3, 64, 64)}
        assert torch.equal(transform_for(vit)(PICTURE), create_transform(**config, is_training=False)(PICTURE))
        assert transform_for(vit).description == (
            "input_size=(3, 64, 64) interpolation=bicubic crop_pct=0.9 mean=(0.5, 0.5, 0.5) std=(0.5, 0.5, 0.5)"
        )

    @pytest.mark.parametrize("part", [
        Preprocessing(mean=MEAN), Preprocessing(std=STD), Preprocessing(crop_pct=0.7), Preprocessing(crop_mode="border"),
        Preprocessing(interpolation="nearest"), Preprocessing(exif_rotate=True),
    ], ids=lambda part: next(iter(part.to_dict())))
    def test_each_choice_is_in_the_description_that_evidence_keeps(self, vit: nn.Module, part: Preprocessing) -> None:
        own = transform_for(vit).description
        assert next(iter(part.to_dict())) in transform_for(chosen(vit, part)).description != own

    @pytest.mark.parametrize("interpolation", INTERPOLATIONS)
    def test_every_interpolation_trains(self, vit: nn.Module, interpolation: str) -> None:
        training = transform_for(chosen(vit, Preprocessing(interpolation=interpolation))).training
        assert training.transforms[0].interpolation == getattr(Image.Resampling, interpolation.upper())
        assert all(training(PICTURE).shape == (3, 64, 64) for _ in range(30))  # of the draws, most turn, shear or shift

    def test_a_picture_may_lose_all_its_bits_in_training(self, vit: nn.Module) -> None:
        ops = next(part for part in transform_for(vit).training.transforms if isinstance(part, RandAugment)).ops
        step = next(step for step in ops if step.name == "PosterizeIncreasing")
        assert step.aug_fn(PICTURE, 0).getextrema() == ((0, 0),) * 3
        assert np.array_equal(step.aug_fn(PICTURE, 3), np.asarray(PICTURE) & 0b11100000)

    def test_one_number_stands_for_all_channels(self, vit: nn.Module) -> None:
        transform = transform_for(chosen(vit, Preprocessing(mean=(0.5,), std=(0.25,))))
        assert (transform.mean, transform.std) == ((0.5,) * 3, (0.25,) * 3)

    def test_three_numbers_for_a_grey_model_are_refused(self) -> None:
        with pytest.raises(DataError, match="mean has 3 numbers, the model takes 1 channel; give one number"):
            transform_for(chosen(load_model("demo_vit", "random"), Preprocessing(mean=MEAN)))

    @pytest.mark.parametrize("share", [0.5, 1.5])
    def test_a_grey_models_crop_is_not_passed_over(self, share: float) -> None:
        """Grey arrays in the model's size are normalised at once, which is right only where nothing is cropped or padded."""
        arrays = pixels(1, (28, 28))[None, :, :, 0]
        transform = transform_for(chosen(load_model("demo_vit", "random"), Preprocessing(crop_pct=share)))
        assert not transform.fits(arrays)
        assert not np.allclose(transform(Image.fromarray(arrays[0])).numpy(), transform.normalize(arrays)[0].numpy())


class TestValues:
    """Reading, refusing and writing down."""

    @pytest.mark.parametrize("text", ["0.5,0.25,1", "0.5 0.25 1", " 0.5, 0.25, 1 "])
    def test_numbers(self, text: str) -> None:
        assert numbers("mean", text) == (0.5, 0.25, 1.0)

    @pytest.mark.parametrize(
        ("values", "says"),
        [
            ({"mean": "half"}, "mean is 'half'; write one number, or three with commas"), ({"mean": "0.5,0.5"}, "mean is"),
            ({"std": "0"}, "std is 0.0; write numbers of at least 0.001"), ({"std": "1e-40"}, "std is 1e-40; write"),
            ({"mean": "nan"}, "mean is"), ({"std": ""}, "std is"),
            ({"crop_pct": 1e-9}, "crop-pct is 1e-09; write a number of 0.05 to 10"), ({"crop_pct": 95.0}, "crop-pct is 95.0"),
            ({"mean": "123.675,116.28,103.53"}, "mean is 123.675,116.28,103.53, above 1; it is in shares of 1: divide by 255"),
            ({"mean": "73"}, "divide by 255"), ({"std": "58.4"}, "std is 58.4, above 2; it is in shares of 1: divide by 255"),
            ({"crop_mode": "centre"}, "crop-mode is 'centre'; choose from center, squash, border"),
            ({"interpolation": "cubic"}, "interpolation is 'cubic'; choose from bicubic, bilinear"),
        ],
        ids=str,
    )
    def test_a_setup_refuses_at_once(self, values: dict, says: str) -> None:
        with pytest.raises(SetupError, match=says):
            Setup(**values)

    def test_choices_go_over_a_files_own(self) -> None:
        file = Preprocessing(mean=MEAN, crop_pct=0.95)
        assert Preprocessing(mean=(0.5,)).over(file) == Preprocessing(mean=(0.5,), crop_pct=0.95) and OWN.over(file) == file

    def test_it_survives_json(self) -> None:
        value = Preprocessing(MEAN, STD, 0.9, "squash", "bilinear", True)
        assert Preprocessing(**value.to_dict()) == value and OWN.to_dict() == {}
