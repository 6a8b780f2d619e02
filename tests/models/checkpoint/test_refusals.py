"""What is not read is refused in one line that names what the file is, and nothing that a file says is run."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.support.checkpoints import FORMS, hub_cache, named, noise_like, state_of
from tests.support.renamed import prefixed
from toast_core.errors import ModelError
from toast_core.loading import load_model
from toast_core.models.checkpoint import read_checkpoint
from toast_core.models.checkpoint.tensors import read_tensors


def zipped(**files: bytes) -> bytes:
    """A zip archive of these files in a folder, as PyTorch's formats are."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"archive/{name.replace('__', '.')}", content)
    return buffer.getvalue()


FOREIGN: dict[str, tuple[bytes, str]] = {
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "a Git LFS pointer.*git lfs pull"),
    "html": (b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "an HTML page"),
    "xml": (b"<?xml version='1.0'?><net name='vit'/>", "an XML text"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(64), "an HDF5 file, as Keras"),
    "npy": (b"\x93NUMPY\x01\x00" + bytes(64), "a NumPy array"),
    "npz": (zipped(kernel__npy=b"x"), "a NumPy archive, as JAX and Flax"),
    "gguf": (b"GGUF\x03\x00\x00\x00" + bytes(64), "a GGUF file"),
    "gzip": (b"\x1f\x8b\x08" + bytes(20), "compressed .gzip.; unpack it"),
    "torchscript": (zipped(data__pkl=b"x", constants__pkl=b"x"), "a TorchScript program.*state_dict"),
    "pt2": (zipped(archive_format=b"pt2", data__pkl=b"x"), "an exported program"),
    "keras": (zipped(**{"model__weights.h5": b"x"}), "a Keras model"),
    "zip": (zipped(readme__md=b"x"), r"a zip archive without torch.save's data \(it holds archive/readme.md\)"),
    "tflite": (b"\x1c\x00\x00\x00TFL3" + bytes(40), "a TensorFlow Lite model"),
    "onnx": (b"\x08\x08\x12\x07pytorch\x1a\x05" + bytes(40), "an ONNX model"),
    "msgpack": (b"\x82\xa6params\x80\xa4step\x01", "a msgpack file, as Flax"),
    "tar": (b"weights.pth".ljust(257, b"\0") + b"ustar\x0000" + bytes(300), "a tar archive"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(20), "a PNG image"),
    "json": (b'{"hello": 1}', "JSON without a weight_map"),
    "text": (b"hello, here are no weights", r"(no checkpoint that is known \(it begins with 68 65|is not a complete safetensors file)"),
    "empty": (b"", "is not a complete safetensors file"),
    "cut-zip": (zipped(data__pkl=b"x")[:40], "is cut off or damaged"),
}


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w"])
@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_of_another_kind_is_named_whatever_its_suffix(tmp_path: Path, kind: str, name: str) -> None:
    content, what = FOREIGN[kind]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=f"{name} .*{what}|JSON") as refusal:
        load_model("test_vit", weights=tmp_path / name)
    assert "\n" not in str(refusal.value)


def test_what_torch_wrote_is_read_under_the_other_suffix(tmp_path: Path) -> None:
    state = state_of(named())
    torch.save({"state_dict": state}, tmp_path / "w.safetensors")
    assert all(torch.equal(value, state[name]) for name, value in read_checkpoint(tmp_path / "w.safetensors").state.items())


def whole_model() -> object:
    return torch.nn.Linear(2, 2)


CONTENTS: dict[str, tuple[Callable[[], object], str]] = {
    "optimizer": (
        lambda: {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1}]},
        "holds an optimizer's state .*, no weights",
    ),
    "whole-model": (whole_model, r"holds a whole pickled model \(torch.nn.modules.linear.Linear\)"),
    "tensor": (lambda: torch.zeros(2, 3), r"holds one tensor of shape \(2, 3\)"),
    "list": (lambda: [torch.zeros(2)], "holds a list, not weights by name"),
    "no-tensors": (lambda: {"epoch": 3, "note": "x"}, r"holds no tensors by name \(it holds epoch, note\)"),
    "nothing": (dict, r"holds no tensors by name \(it holds nothing\)"),
    "lora": (lambda: {"base_model.model.vit.q.lora_A.weight": torch.zeros(2)}, "holds a LoRA adapter"),
    "two-backbones": (
        lambda: prefixed(state_of(named()), "left.") | prefixed(noise_like(state_of(named())), "right."),
        r"holds 2 models, left.\* and right.\*; save the one that you mean alone",
    ),
    "two-containers": (
        lambda: {"generator": state_of(named()), "critic": noise_like(state_of(named()))},
        "holds 2 models, generator and critic",
    ),
    "mmpretrain": (
        lambda: {"state_dict": {"backbone.layers.0.ffn.layers.0.0.weight": torch.zeros(2, 2)}},
        "these are mmpretrain's names for a vision transformer, which are not read",
    ),
    "resnet": (lambda: {"conv1.weight": torch.zeros(4, 3, 7, 7), "layer1.0.conv1.weight": torch.zeros(2)}, "these are a ResNet's names"),
    "beit": (
        lambda: {
            "beit.embeddings.patch_embeddings.projection.weight": torch.zeros(4, 3, 2, 2),
            "beit.encoder.layer.0.attention.attention.query.weight": torch.zeros(4, 4),
            "beit.encoder.layer.0.lambda_1": torch.zeros(4),
        },
        "these are transformers' names for a BEiT",
    ),
    "student-and-larger-teacher": (
        lambda: {
            **{f"student.{name}": value for name, value in state_of(named()).items()},
            **{f"teacher.{name}": torch.zeros(9) for name in state_of(named())},
        },
        "holds 2 models, student",
    ),
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_a_file_without_one_models_weights_is_refused_by_what_it_holds(tmp_path: Path, kind: str) -> None:
    content, what = CONTENTS[kind]
    torch.save(content(), tmp_path / "w.pth")
    with pytest.raises(ModelError, match=what) as refusal:
        read_checkpoint(tmp_path / "w.pth")
    assert "\n" not in str(refusal.value)


class TestAveragedWeights:
    """By choice, and never in silence."""

    def test_the_plain_ones_are_taken_unless_asked(self, tmp_path: Path) -> None:
        state = state_of(named())
        torch.save({"model": state, "model_ema": {f"module.{key}": value + 1 for key, value in state.items()}}, tmp_path / "w.pth")
        plain, averaged = read_checkpoint(tmp_path / "w.pth"), read_checkpoint(tmp_path / "w.pth", use_ema=True)
        assert torch.equal(plain.state["norm.bias"], state["norm.bias"])
        assert torch.equal(averaged.state["norm.bias"], state["norm.bias"] + 1)
        assert "took model of w.pth, not the averaged weights model_ema module.*; --use-ema takes those" in plain.notes
        assert averaged.source.endswith("(EMA)") and not plain.source.endswith("(EMA)")

    def test_where_there_are_no_others_they_are_taken_and_said(self, tmp_path: Path) -> None:
        torch.save({"state_dict_ema": state_of(named())}, tmp_path / "w.pth")
        assert any("there are no others" in note for note in read_checkpoint(tmp_path / "w.pth").notes)

    @pytest.mark.parametrize("weights", ["file", "random", None])
    def test_asked_for_and_absent(self, tmp_path: Path, weights: str | None) -> None:
        save_file(state_of(named()), tmp_path / "w.safetensors")
        with pytest.raises(ModelError, match=r"averaged \(EMA\) weights.*leave out --use-ema"):
            load_model("test_vit", weights=tmp_path / "w.safetensors" if weights == "file" else weights, use_ema=True)

    def test_a_distillation_teacher_beside_the_model_is_left(self, tmp_path: Path) -> None:
        state = state_of(named())
        both = {f"model.{key}": value for key, value in state.items()} | {f"teacher.{key}": value + 1 for key, value in state.items()}
        torch.save({"state_dict": both}, tmp_path / "w.ckpt")
        checkpoint = read_checkpoint(tmp_path / "w.ckpt")
        assert torch.equal(checkpoint.state["norm.bias"], state["norm.bias"])
        assert any("not state_dict teacher.*: it is another model" in note for note in checkpoint.notes)


class TestNumbers:
    """Real, finite, and in float32 when read."""

    @pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.bool, torch.int64, torch.complex64, torch.float8_e4m3fn])
    @pytest.mark.parametrize("key", ["timm-safetensors", "transformers-vit"])
    def test_another_kind_is_refused_by_the_tensors_name(self, tmp_path: Path, key: str, dtype: torch.dtype) -> None:
        place = FORMS[key].write(tmp_path, {name: value.to(dtype) for name, value in state_of(named()).items()})
        with pytest.raises(ModelError, match=r"numbers of another kind in \d+ tensors, first [\w.]+ \((int|uint|bool|complex|float8)"):
            load_model("test_vit", weights=place, img_size=32)

    def test_one_tensor_is_enough(self, tmp_path: Path) -> None:
        state = state_of(named()) | {"blocks.3.mlp.fc1.weight": torch.zeros(192, 64, dtype=torch.int8)}
        save_file(state, tmp_path / "w.safetensors")
        with pytest.raises(ModelError, match=r"in 1 tensors, first blocks.3.mlp.fc1.weight \(int8\)"):
            load_model("test_vit", weights=tmp_path / "w.safetensors", img_size=32)

    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize(
        "odd",
        [
            lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8),
            lambda value: value.to_sparse(),
            lambda value: value.to("meta"),
        ],
        ids=["quantised", "sparse", "meta"],
    )
    def test_quantised_sparse_and_absent(self, tmp_path: Path, odd: Callable[[torch.Tensor], torch.Tensor]) -> None:
        state = state_of(named())
        torch.save(state | {"head.weight": odd(state["head.weight"])}, tmp_path / "w.pth")
        with pytest.raises(ModelError, match=r"first head.weight \(|cannot be read as what torch.save writes"):
            read_checkpoint(tmp_path / "w.pth")

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_other_precisions_are_read_and_rounding_is_said(self, tmp_path: Path, dtype: torch.dtype) -> None:
        state = {name: value.to(dtype) for name, value in state_of(named()).items()}
        save_file(state, tmp_path / "w.safetensors")
        checkpoint = read_checkpoint(tmp_path / "w.safetensors")
        assert all(torch.equal(checkpoint.state[name], value.float()) for name, value in state.items())
        assert checkpoint.notes == (
            (f"rounded {len(state)} tensors of w.safetensors from float64 to float32",) if dtype == torch.float64 else ()
        )

    def test_what_float32_cannot_hold_is_refused(self, tmp_path: Path) -> None:
        state = state_of(named())
        save_file(state | {"norm.bias": torch.full((64,), 1e300, dtype=torch.float64)}, tmp_path / "w.safetensors")
        with pytest.raises(ModelError, match=r"beyond float32's largest, first in norm.bias"):
            read_checkpoint(tmp_path / "w.safetensors")


class Canary:
    """Writes a file when it is unpickled the wrong way."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def hostile(kind: str, folder: Path, canary: Canary) -> str | Path:
    """A checkpoint of a pickle-bearing kind with the canary inside, and where it lies."""
    state = state_of(named())
    inside = {
        "value": {"state_dict": state, "best": canary}, "key": {"state_dict": state, "hyper_parameters": {"model": canary}},
        "tensor": {**state, "norm.bias": canary},
    }  # fmt: skip
    if kind in inside:
        torch.save(inside[kind], folder / "w.ckpt")
        return folder / "w.ckpt"
    if kind == "legacy":
        torch.save({"model": state, "x": canary}, folder / "w.pt", _use_new_zipfile_serialization=False)
        return folder / "w.pt"
    if kind == "pickle":
        (folder / "w.bin").write_bytes(pickle.dumps({"a": canary}))
        return folder / "w.bin"
    if kind == "renamed":
        (folder / "w.safetensors").write_bytes(pickle.dumps(canary))
        return folder / "w.safetensors"
    if kind == "npz":
        np.savez(folder / "w.npz", a=np.array([canary], dtype=object))
        return folder / "w.npz"
    if kind == "shard":
        torch.save({**state, "x": canary}, folder / "pytorch_model-00001-of-00001.bin")
        index = {"weight_map": dict.fromkeys([*state, "x"], "pytorch_model-00001-of-00001.bin")}
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index), encoding="utf-8")
        return folder
    if kind == "torchscript":
        (folder / "w.pt").write_bytes(zipped(data__pkl=pickle.dumps(canary), constants__pkl=pickle.dumps(canary), version=b"3"))
        return folder / "w.pt"
    torch.save({**state, "x": canary}, folder / "pytorch_model.bin")
    return f"local-dir:{folder}"


@pytest.mark.parametrize("kind", ["value", "key", "tensor", "legacy", "pickle", "renamed", "npz", "shard", "torchscript", "folder"])
def test_a_hostile_pickle_is_refused_and_nothing_is_run(tmp_path: Path, kind: str) -> None:
    canary = Canary(tmp_path / "ran")
    place = hostile(kind, tmp_path, canary)
    for use_ema in (False, True):
        with pytest.raises(ModelError) as refusal:
            load_model("test_vit", weights=place, use_ema=use_ema)
    with pytest.raises(ModelError):
        load_model(None, weights=place)
    assert "\n" not in str(refusal.value)
    assert not canary.path.exists()


def test_a_hostile_file_in_the_hubs_cache_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    hub_cache(tmp_path, state_of(named()))
    (weights,) = tmp_path.rglob("model.safetensors")
    weights.unlink()
    canary = Canary(tmp_path / "ran")
    torch.save({"x": canary}, weights.with_name("pytorch_model.bin"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"would run .* when read, so it was not read"):
        load_model("hf-hub:someone/vit")
    assert not canary.path.exists()


def test_what_training_programs_keep_beside_weights_is_no_hindrance(tmp_path: Path) -> None:
    from argparse import Namespace
    from collections import OrderedDict

    beside = {
        "args": Namespace(lr=1e-3, out=Path("x")),
        "metric": np.float64(81.5),
        "steps": np.int64(3),
        "history": [1, "a"],
    }
    torch.save({"state_dict": OrderedDict(state_of(named())), **beside}, tmp_path / "w.pth")
    assert read_tensors(tmp_path / "w.pth")["metric"] == 81.5


class TestShards:
    """An index stands for all its files, which lie beside it."""

    @pytest.mark.parametrize(
        ("edit", "what"),
        [("missing", "which is not beside it"), ("outside", "it must name files beside it"), ("lacking", "that no shard holds")],
    )
    def test_refusals(self, tmp_path: Path, edit: str, what: str) -> None:
        path = FORMS["sharded"].write(tmp_path, state_of(named()))
        index = json.loads(path.read_text(encoding="utf-8"))
        if edit == "missing":
            (tmp_path / "model-00002-of-00002.safetensors").unlink()
        elif edit == "outside":
            index["weight_map"]["norm.bias"] = "../secret.safetensors"
        else:
            index["weight_map"]["extra"] = "model-00001-of-00002.safetensors"
        path.write_text(json.dumps(index), encoding="utf-8")
        with pytest.raises(ModelError, match=what):
            read_checkpoint(path)


class TestFolders:
    """One model's weights, or a refusal that lists what there is."""

    def test_several_files_are_listed(self, tmp_path: Path) -> None:
        for name in ("a.pth", "b.pth"):
            torch.save(state_of(named()), tmp_path / name)
        with pytest.raises(ModelError, match=r"holds 2 weights files \(a.pth, b.pth\); name the one that you mean"):
            read_checkpoint(tmp_path)

    @pytest.mark.parametrize(
        ("name", "what"),
        [
            ("__0_0.distcp", "torch.distributed checkpoint"),
            ("saved_model.pb", "TensorFlow SavedModel"),
            ("flax_model.msgpack", "holds flax_model.msgpack only"),
        ],
    )
    def test_other_libraries_folders(self, tmp_path: Path, name: str, what: str) -> None:
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(ModelError, match=what):
            read_checkpoint(tmp_path)

    def test_a_model_that_is_not_in_the_cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(ModelError, match=r"the weights of hf-hub:someone/else are not in the local cache \(nothing of it\)"):
            load_model("hf-hub:someone/else")
        with pytest.raises(ModelError, match="cannot be fetched from the hub"):
            load_model("hf-hub:some one/../else")


def test_without_a_models_name_the_refusal_names_those_that_fit(tmp_path: Path) -> None:
    torch.save(FORMS["transformers-vit"].write(tmp_path, state_of(named())) and state_of(named()), tmp_path / "w.pth")
    with pytest.raises(
        ModelError, match=r"a ViT with 6 blocks of width 64, 16-pixel patches of 3 channels, 5 outputs: pass --model test_vit$"
    ):
        load_model(weights=tmp_path / "w.pth")
