"""Checkpoints of another shape: what the name fixes must match, what it leaves open is taken from the file and said."""

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from tests.support.families import randomise, tiny_swin
from toast_core.errors import ModelError
from toast_core.loading import load_model, save_model
from toast_core.models.checkpoint.nearest import nearest
from toast_core.models.choose import Build, choose_build
from toast_core.models.fill import fill
from toast_core.models.form import Form, form_of, square_side
from toast_core.models.info import get_info
from toast_core.pruning.execution.apply import apply_plan
from toast_core.pruning.planner import make_plan
from toast_core.schedule.schedule import Schedule

NAME = "test_vit"  # timm's: patches of 16, width 64, six blocks of two heads, 160 x 160 pixels
FILE = Path("w.safetensors")


def made(name: str = NAME, **options: object) -> nn.Module:
    """A model of timm with noise in every parameter, changed by what its entry point takes."""
    return randomise(timm.create_model(name, **{"num_classes": 5, "img_size": 64, **options}))


def written(path: Path, model: nn.Module) -> Path:
    """The model's tensors as a plain file."""
    save_file({key: value.clone().contiguous() for key, value in model.state_dict().items()}, path / "w.safetensors")
    return path / "w.safetensors"


@pytest.fixture
def quick_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """No models are built to find one that fits."""
    monkeypatch.setattr("toast_core.models.choose.nearest", lambda file, name: "one would")


def logits(model: nn.Module) -> torch.Tensor:
    """What a model says of fixed noise."""
    x = torch.randn(2, model.patch_embed.proj.in_channels, *model.patch_embed.img_size, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        return model(x)


class TestWhatANameFixes:
    """Each of these was resampled, or is another model."""

    @pytest.mark.parametrize("size", [None, 64, 160])
    @pytest.mark.parametrize(
        ("options", "has", "wants"),
        [
            ({"patch_size": 32}, "patches of 32 x 32 pixels", "patches of 16 x 16 pixels"),
            ({"patch_size": 8}, "patches of 8 x 8 pixels", "patches of 16 x 16 pixels"),
            ({"patch_size": 14, "img_size": 70}, "patches of 14 x 14 pixels", "patches of 16 x 16 pixels"),
            ({"patch_size": (16, 8)}, "patches of 16 x 8 pixels", "patches of 16 x 16 pixels"),
            ({"depth": 5}, "5 blocks", "6 blocks"),
            ({"embed_dim": 96}, "width 96, 288 hidden units", "width 64, 192 hidden units"),
            ({"mlp_ratio": 4}, "256 hidden units", "192 hidden units"),
            ({"reg_tokens": 4}, "4 register tokens", "0 register tokens"),
            ({"init_values": 0.1}, "a layer scale", "no layer scale"),
            ({"qkv_bias": False}, "no bias of q, k and v", "a bias of q, k and v"),
            ({"qk_norm": True}, "norms of q and k over 32", "norms of q and k over 0"),
            ({"class_token": False, "global_pool": "avg"}, "no class token", "a class token"),
        ],
    )
    @pytest.mark.usefixtures("quick_search")
    def test_must_match(self, tmp_path: Path, options: dict, has: str, wants: str, size: int | None) -> None:
        path = written(tmp_path, made(**options))
        with pytest.raises(ModelError, match=rf"does not fit {NAME}: it has .*{has}.*, the model .*{wants}.*; check --model: one would$"):
            load_model(NAME, weights=path, img_size=size)

    @pytest.mark.usefixtures("quick_search")
    def test_a_distilled_checkpoint_is_no_plain_one(self) -> None:
        state = {**made().state_dict(), "dist_token": torch.zeros(1, 1, 64)}
        with pytest.raises(ModelError, match="it has a distillation token, the model no distillation token"):
            choose_build(state, FILE, made(), Build())

    def test_a_number_of_heads_is_seen_where_heads_are_normalised(self) -> None:
        other = form_of(made(qk_norm=True, num_heads=4).state_dict())
        assert [row[1:] for row in other.differences(form_of(made(qk_norm=True).state_dict()))] == [
            ("norms of q and k over 16", "norms of q and k over 32")
        ]

    @pytest.mark.parametrize(
        ("options", "has"),
        [
            ({"window_size": 4}, "windows of 4"), ({"window_size": 14}, "windows of 14"), ({"num_heads": (2, 6)}, "2/6 heads"),
            ({"depths": (2, 3)}, "5 blocks, stages of 2/3 blocks"), ({"depths": (1, 3)}, "stages of 1/3 blocks"),
        ],
    )
    @pytest.mark.parametrize("size", [None, 56])
    @pytest.mark.usefixtures("quick_search")
    def test_a_swins_windows_and_heads_must_match(self, options: dict, has: str, size: int | None) -> None:
        state = tiny_swin(**{"img_size": 112, **options}).state_dict()
        with pytest.raises(ModelError, match=f"it has .*{has}, the model "):
            choose_build(state, FILE, tiny_swin(112), Build(img_size=size))

    def test_nothing_is_resampled_unasked_even_past_the_check(self) -> None:
        small = made(img_size=32)
        with pytest.raises(ModelError, match=r"the position embedding, .*, would be resampled from 4 x 4 to 2 x 2; .* pass --img-size"):
            fill(small, made().state_dict(), FILE)

    @pytest.mark.usefixtures("quick_search")
    def test_a_flexible_patch_is_resampled_by_an_explicit_size_only(self) -> None:
        named = made("test_vit")
        named.toast_info = replace(get_info(named), name="flexivit_test", shape=replace(get_info(named).shape, name="flexivit_test"))
        state = made(patch_size=8, img_size=32).state_dict()
        with pytest.raises(ModelError, match="patches of 8 x 8 pixels"):
            choose_build(state, FILE, named, Build())
        assert choose_build(state, FILE, named, Build(img_size=64)).img_size == 64
        assert fill(named, state, FILE, sized=True).notes == (
            "the patch embedding, in pixels, was resampled from 8 x 8 to 16 x 16, as --img-size asks",
        )


def test_a_distilled_checkpoint_fills_a_distilled_model(tmp_path: Path) -> None:
    original = made("deit_tiny_distilled_patch16_224", img_size=32, num_classes=10)
    model = load_model("deit_tiny_distilled_patch16_224", weights=written(tmp_path, original))
    assert torch.equal(logits(model), logits(original))


class TestImageSize:
    """Position embeddings say for which pictures they are made."""

    @pytest.mark.parametrize("size", [32, 64, 224])
    def test_it_is_the_files(self, tmp_path: Path, size: int) -> None:
        original = made(img_size=size)
        model = load_model(NAME, weights=written(tmp_path, original))
        side = size // 16
        assert get_info(model).shape.image_size == size
        assert torch.equal(logits(model), logits(original))
        assert get_info(model).notes == (
            f"built for {size} x {size} pixels: the file's positions are taken as a square grid of {side} x {side} patches; "
            "160 x 160 is usual: --img-size 160 resamples them",
        )

    def test_the_names_own_size_needs_no_word(self, tmp_path: Path) -> None:
        assert get_info(load_model(NAME, weights=written(tmp_path, made(img_size=160)))).notes == ()

    def test_another_is_resampled_where_it_is_asked_for(self, tmp_path: Path) -> None:
        model = load_model(NAME, weights=written(tmp_path, made()), img_size=96)
        assert get_info(model).notes == (
            "the position embedding, in patches of a square grid, was resampled from 4 x 4 to 6 x 6, as --img-size asks",
        )

    @pytest.mark.parametrize("size", [None, 64, 160])
    def test_a_rectangular_grid_is_refused(self, tmp_path: Path, size: int | None) -> None:
        path = written(tmp_path, made(img_size=(96, 32)))
        with pytest.raises(ModelError, match="of 12 patches, which make no square grid; rectangular input is not supported"):
            load_model(NAME, weights=path, img_size=size)

    @pytest.mark.usefixtures("quick_search")
    def test_a_class_token_without_a_position_makes_no_rectangle(self, tmp_path: Path) -> None:
        path = written(tmp_path, made(no_embed_class=True))
        with pytest.raises(ModelError, match=r"it has 16 positions, a square grid of 16 patches that gives no position to the class token, "
                           r"the model gives a position to the class token .or a rectangle of 15 .*; check --model: one would"):
            load_model(NAME, weights=path)
        state = made().state_dict()
        with pytest.raises(ModelError, match=r"it has 17 positions, .* gives a position to the class token, the model gives no position"):
            choose_build(state, FILE, made(no_embed_class=True, img_size=96), Build())

    def test_a_rectangle_of_a_squares_count_is_said_to_be_taken_as_a_square(self, tmp_path: Path) -> None:
        model = load_model(NAME, weights=written(tmp_path, made(img_size=(128, 32))))
        assert "taken as a square grid of 4 x 4 patches" in get_info(model).notes[0]

    def test_a_demos_file_too(self, tmp_path: Path) -> None:
        path = written(tmp_path, load_model("demo_vit", weights="random", img_size=20))
        assert get_info(load_model("demo_vit", weights=path)).shape.image_size == 20

    def test_a_swins_clipped_windows_say_it(self) -> None:
        build = choose_build(tiny_swin(32).state_dict(), FILE, tiny_swin(56), Build())  # stage 1 has 4 x 4 tokens, its windows are 4
        assert build.img_size == 32
        assert build.notes[0].startswith("built for 32 x 32 pixels, as the file's windows show; 56 x 56 is usual")
        model = tiny_swin(32)
        assert fill(model, tiny_swin(32).state_dict(), FILE).notes == ()
        assert fill(tiny_swin(32), tiny_swin(56).state_dict(), FILE, sized=True).notes == (
            "a relative position table, in tokens, was resampled from 7 x 7 to 4 x 4, as --img-size asks",
        )

    def test_an_original_swins_masks_say_it(self) -> None:
        model = tiny_swin(112)
        state = {**model.state_dict(), "layers.0.blocks.1.attn_mask": model.layers[0].blocks[1].attn_mask}
        assert choose_build(state, FILE, tiny_swin(56), Build()).img_size == 112
        assert choose_build(state, FILE, model, Build()).img_size is None


class TestPooling:
    """A norm behind the pooling is average pooling; one before it is the class token's."""

    def test_a_fine_tuned_mae_is_pruned_saved_and_read(self, tmp_path: Path) -> None:
        original = made(global_pool="avg")
        model = load_model(NAME, weights=written(tmp_path, original))
        assert torch.equal(logits(model), logits(original))
        assert "built with average pooling: the file's last norm is fc_norm, behind the pooling" in get_info(model).notes
        pruned = apply_plan(model, make_plan(model, Schedule.uniform(6, qk=0.5, fc2=0.5, selection="per_image")))
        save_model(pruned, tmp_path / "p.safetensors")
        assert torch.equal(logits(load_model(weights=tmp_path / "p.safetensors")), logits(pruned))

    def test_the_inverse(self, tmp_path: Path) -> None:
        own = made(global_pool="avg")
        build = choose_build(made().state_dict(), FILE, own, Build())
        assert (build.global_pool, build.notes[-1][:39]) == ("token", "built with the class token as output: t")

    def test_without_a_class_token_nothing_is_guessed(self) -> None:
        state = made("test_vit2").state_dict()
        state = {key.replace("fc_norm.", "norm."): value for key, value in state.items()}
        assert choose_build(state, FILE, made("test_vit2"), Build()).global_pool is None


class TestChannels:
    """Grey and colour pictures."""

    def test_they_are_the_files(self, tmp_path: Path) -> None:
        original = made(in_chans=1)
        model = load_model(NAME, weights=written(tmp_path, original))
        assert torch.equal(logits(model), logits(original))
        assert "pictures are read in grey: channels of the file's patch embedding: 1, of the model's name: 3" in get_info(model).notes

    def test_asking_for_them_is_no_guess(self, tmp_path: Path) -> None:
        path = written(tmp_path, made(in_chans=1))
        assert len(get_info(load_model(NAME, weights=path, in_chans=1)).notes) == 1  # of the image size
        with pytest.raises(ModelError, match=r"w.safetensors takes 1 channels, not 3; leave out --in-chans"):
            load_model(NAME, weights=path, in_chans=3)

    def test_others_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match=r"takes 4 channels; pictures have 1 or 3"):
            load_model(NAME, weights=written(tmp_path, made(in_chans=4)))

    def test_a_pruned_file_keeps_them(self, tmp_path: Path) -> None:
        model = load_model(NAME, weights="random", img_size=64, in_chans=1)
        pruned = apply_plan(model, make_plan(model, Schedule.uniform(6, vo=0.5)))
        save_model(pruned, tmp_path / "p.safetensors")
        assert torch.equal(logits(load_model(weights=tmp_path / "p.safetensors")), logits(pruned))


def outline(name: str, **options: object) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        return timm.create_model(name, **options).state_dict()


class TestRefusalsNameWhatFits:
    """Names of timm with the file's tensors, or the closest."""

    def test_a_model_that_fits(self) -> None:
        text = nearest(outline("vit_small_patch32_224"), "deit_small_patch16_224")
        assert text.startswith("vit_small_patch32_224") and text.endswith(" would fit")

    def test_one_that_fits_nothing_has_neighbours(self) -> None:
        text = nearest(outline("vit_tiny_patch16_224", patch_size=32), "deit_tiny_patch16_224")
        assert text.startswith("no supported model of timm has just these tensors; closest: vit_")

    def test_same_sizes_are_not_yet_a_fit(self) -> None:
        state = outline("vit_small_patch16_224") | {"blocks.0.extra.weight": torch.zeros(3)}
        text = nearest(state, "vit_tiny_patch16_224")
        assert text.startswith("no supported model of timm has just these tensors; closest: vit_small_patch16")

    def test_a_swin_of_another_window(self) -> None:
        text = nearest(outline("swin_base_patch4_window12_384"), "swin_base_patch4_window7_224")
        assert text.startswith("swin_base_patch4_window12_384") and text.endswith(" would fit")


def test_of_strangers_a_form_is_empty() -> None:
    assert form_of({"weight": torch.zeros(3)}) == Form()
    assert form_of({}) == Form()


def test_squares() -> None:
    assert [square_side(count) for count in (-1, 0, 1, 2, 4, 8, 196)] == [None, None, 1, None, 2, None, 14]
