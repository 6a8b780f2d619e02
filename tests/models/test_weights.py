"""Weights files: what is read, what is inferred, and what is refused before it can do harm."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.support.families import macs_without_slots
from toast_core.errors import ModelError
from toast_core.files import sha256_of
from toast_core.loading import load_model
from toast_core.models.checkpoint import DEMO_WEIGHTS
from toast_core.models.counting import count_macs
from toast_core.models.info import get_info


def write(path: Path, name: str = "demo_vit", edit: object = None, **options: object) -> Path:
    """Save random weights of a model as a plain safetensors file."""
    state = {key: value.clone() for key, value in load_model(name, weights="random", seed=9, **options).state_dict().items()}
    if edit:
        edit(state)
    save_file(state, path)
    return path


def equal(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    """Whether two models hold the same values."""
    other = second.state_dict()
    return first.state_dict().keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in first.state_dict().items())


@pytest.mark.parametrize(
    ("name", "options"), [("demo_vit", {}), ("demo_swin", {}), ("test_vit", {}), ("demo_vit", {"num_classes": 4, "img_size": 20})]
)
def test_a_plain_file_fills_the_model(tmp_path: Path, name: str, options: dict) -> None:
    path = write(tmp_path / "w.safetensors", name, **options)
    model = load_model(name, weights=path, **{key: value for key, value in options.items() if key != "num_classes"})
    assert equal(model, load_model(name, weights="random", seed=9, **options))
    assert get_info(model).weights == f"w.safetensors sha256:{sha256_of(path)[:12]}"
    assert not model.training


@pytest.mark.parametrize("name", ["demo_vit", "demo_swin", "test_vit"])
def test_the_classifier_takes_the_files_classes(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "w.safetensors", name, num_classes=6)
    model = load_model(name, weights=str(path))
    assert model.num_classes == get_info(model).shape.num_classes == 6
    assert model(torch.zeros(1, model.patch_embed.proj.in_channels, *model.patch_embed.img_size)).shape == (1, 6)


def test_the_embedded_weights_are_used_by_default() -> None:
    if not (DEMO_WEIGHTS / "demo_vit.safetensors").is_file():
        pytest.skip("the demo weights are not made yet")
    assert get_info(load_model("demo_vit")).weights.startswith("demo_vit.safetensors sha256:")


@pytest.mark.parametrize("name", ["deit_tiny_patch16_224", "vit_base_patch16_224.mae", "swin_tiny_patch4_window7_224"])
def test_without_a_network_the_message_says_what_to_do(name: str) -> None:
    with pytest.raises(
        ModelError, match=rf"^the pretrained weights of {name} .*cannot be fetched.*; pass --weights FILE .*demo_vit"
    ):
        load_model(name)


class TestRefusals:
    """One line each: the file, what is wrong, what to do."""

    @pytest.mark.parametrize("keep", [0, 4, 8, 500, -1, -4000])
    def test_a_truncated_file(self, tmp_path: Path, keep: int) -> None:
        path = write(tmp_path / "w.safetensors")
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(ModelError, match=r"w.safetensors is not a complete safetensors file \(.*\); copy it again or convert it anew"):
            load_model("demo_vit", weights=path)

    def test_a_renamed_pickle_is_not_unpickled(self, tmp_path: Path) -> None:
        touched = tmp_path / "touched"

        class Payload:
            def __reduce__(self) -> tuple:
                return Path.touch, (touched,)

        for number, data in enumerate((pickle.dumps(Payload()), b"\x80\x04.")):
            path = tmp_path / f"p{number}.safetensors"
            path.write_bytes(data)
            with pytest.raises(ModelError, match=r"p\d.safetensors (would run|cannot be read)"):
                load_model("demo_vit", weights=path)
        assert not touched.exists()

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match=r"none.safetensors does not exist; choose a file, a folder with a config.json, or hf-hub"):
            load_model("demo_vit", weights=tmp_path / "none.safetensors")

    def test_a_folder(self, tmp_path: Path) -> None:
        (tmp_path / "d.safetensors").mkdir()
        with pytest.raises(ModelError, match=r"d.safetensors"):
            load_model("demo_vit", weights=tmp_path / "d.safetensors")
        with pytest.raises(ModelError, match=r"holds no weights file \(it holds d.safetensors\)"):
            load_model("demo_vit", weights=tmp_path)

    def test_an_unknown_word(self) -> None:
        with pytest.raises(ModelError, match=r"weights file pretrained does not exist; choose a file"):
            load_model("demo_vit", weights="pretrained")

    @pytest.mark.parametrize("name", ["demo_swin", "test_vit", "swin_tiny_patch4_window7_224"])
    def test_another_models_weights(self, tmp_path: Path, name: str) -> None:
        path = write(tmp_path / "w.safetensors")
        with pytest.raises(ModelError, match=f"w.safetensors (does not fit|is no checkpoint of) {name}.*check --model"):
            load_model(name, weights=path)

    @pytest.mark.parametrize("name", ["demo_vit", "test_vit"])
    def test_another_number_of_classes(self, tmp_path: Path, name: str) -> None:
        path = write(tmp_path / "w.safetensors", name, num_classes=6)
        with pytest.raises(
            ModelError, match=rf"does not fit {name}: head.* is \(6,.*, the model's is \(5,.*; check --model, --num-classes and --img-size"
        ):
            load_model(name, weights=path, num_classes=5)

    def test_another_image_size_of_a_demo(self, tmp_path: Path) -> None:
        path = write(tmp_path / "w.safetensors")
        with pytest.raises(ModelError, match=r"pos_embed is \(1, 50, 96\), the model's is \(1, 26, 96\); check .*--img-size"):
            load_model("demo_vit", weights=path, img_size=20)

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    def test_values_that_are_not_finite(self, tmp_path: Path, value: float) -> None:
        def poison(state: dict) -> None:
            state["blocks.3.mlp.fc1.weight"][0, 0] = value

        path = write(tmp_path / "w.safetensors", edit=poison)
        with pytest.raises(
            ModelError, match=r"values that are not finite in 1 tensors, first blocks.3.mlp.fc1.weight; use another checkpoint"
        ):
            load_model("demo_vit", weights=path)

    def test_a_missing_tensor(self, tmp_path: Path) -> None:
        path = write(tmp_path / "w.safetensors", edit=lambda state: state.pop("blocks.0.norm1.bias"))
        with pytest.raises(ModelError, match=r"does not fit demo_vit: it lacks blocks.0.norm1.bias and 0 more; check --model"):
            load_model("demo_vit", weights=path)

    def test_a_tensor_too_many(self, tmp_path: Path) -> None:
        path = write(tmp_path / "w.safetensors", edit=lambda state: state.update(extra=torch.zeros(2)))
        with pytest.raises(ModelError, match="does not fit demo_vit: it has extra and 0 more too many; check --model"):
            load_model("demo_vit", weights=path)

    @pytest.mark.parametrize("name", ["deit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "demo_vit"])
    @pytest.mark.parametrize(
        "state",
        [
            {"x": torch.zeros(1)}, {"head.weight": torch.zeros(())}, {"head.weight": torch.zeros(0, 2)},
            {"patch_embed.proj.weight": torch.zeros(3)},
        ],
        ids=["stranger", "scalar", "empty", "flat"],
    )
    def test_a_file_of_something_else(self, tmp_path: Path, name: str, state: dict) -> None:
        save_file(state, tmp_path / "w.safetensors")
        with pytest.raises(ModelError):
            load_model(name, weights=tmp_path / "w.safetensors")


def test_timms_conversion_of_other_image_sizes_is_used(tmp_path: Path) -> None:
    path = write(tmp_path / "w.safetensors", "test_vit", img_size=96)
    model = load_model("test_vit", weights=path, img_size=128)
    assert get_info(model).shape.image_size == 128
    assert model(torch.zeros(1, 3, 128, 128)).isfinite().all()


def test_a_plain_timm_model_is_described_on_the_spot() -> None:
    import timm

    model = timm.create_model("test_vit", num_classes=5)
    info = get_info(model)
    assert (info.name, info.weights, info.execution, info.shape.num_classes) == ("test_vit", "as given", "baseline", 5)
    assert not hasattr(model, "toast_info")
    assert count_macs(model) == count_macs(info.shape) > macs_without_slots(model, count_macs(model))
