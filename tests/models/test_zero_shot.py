"""Class embeddings as a tower's head: equal to a loop, carried by files, refused where they do not fit."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from tests.support.checkpoints import FORMS, named, state_of
from tests.support.commands import run_toast, toast
from tests.support.families import randomise, tiny_swin, tiny_vit
from tests.support.folders import make_folder
from toast_core.errors import ModelError, SetupError
from toast_core.models.adapters import adapter_for
from toast_core.models.checkpoint.config import is_projection
from toast_core.models.counting import count_macs, counted_macs
from toast_core.models.demo import DEMO_BUILDERS
from toast_core.models.info import ModelInfo
from toast_core.models.zero_shot import CosineHead, read_class_embeddings, with_class_embeddings
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup
from toast_core.workbench import Workbench

NAMES = ["coat", "bag", "shirt"]


def tower(projected: bool, width: int = 24) -> nn.Module:
    """A tiny CLIP-like tower (its head is a projection), or a SigLIP-like one without a head."""
    pooling = {} if projected else {"class_token": False, "global_pool": "map"}
    model = randomise(tiny_vit(num_classes=16 if projected else 0, embed_dim=width, **pooling))
    model.toast_info = ModelInfo("tiny", "random", adapter_for(model, "tiny").shape(model, "tiny"))
    return model


def embeddings(path: Path, width: int, scale: float | None = None, **more: torch.Tensor) -> Path:
    """A file of three classes."""
    tensors = {"text": torch.randn(3, width, generator=torch.Generator().manual_seed(5)) * 7, **more}
    if scale is not None:
        tensors["logit_scale"] = torch.tensor(math.log(scale))
    save_file(tensors, path, {"classes": json.dumps(NAMES)})
    return path


@pytest.mark.parametrize("projected", [True, False])
def test_logits_are_scaled_cosines_of_the_tower_s_embedding(projected: bool, tmp_path: Path) -> None:
    model, width = tower(projected), 16 if projected else 24
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    file, before, own = embeddings(tmp_path / "c.safetensors", width, scale=50.0), count_macs(model), counted_macs(model, images[:1])
    with torch.no_grad():
        embedded = model(images)
        found = with_class_embeddings(model, file)
        logits = found(images)
    vectors = read_class_embeddings(file).vectors
    for row, image in zip(logits, embedded, strict=True):
        for value, vector in zip(row, vectors, strict=True):
            assert float(value) == pytest.approx(50 * float(image @ vector / (image.norm() * vector.norm())), rel=1e-4, abs=1e-4)
    info = found.toast_info
    assert info.shape.num_classes == 3 and info.classes == tuple(NAMES) and "logit scale 50" in info.notes[-1]
    assert count_macs(found) - before == counted_macs(found, images[:1]) - own == 3 * width


def test_the_scale_is_the_embeddings_the_weights_or_one(tmp_path: Path) -> None:
    file = embeddings(tmp_path / "classes.safetensors", 16)
    weights = tmp_path / "tower.pth"
    torch.save({"state_dict": {"logit_scale": torch.tensor(math.log(20.0))}}, weights)
    assert float(with_class_embeddings(tower(True), file, weights).head.scale) == pytest.approx(20)
    own = embeddings(tmp_path / "scaled.safetensors", 16, scale=30.0)
    assert float(with_class_embeddings(tower(True), own, weights).head.scale) == pytest.approx(30)
    torch.save({"logit_scale": torch.tensor(20.0)}, weights)
    with pytest.raises(ModelError, match=r"tower.pth has logit_scale 20, beyond 6.91; it is the natural logarithm"):
        with_class_embeddings(tower(True), file, weights)
    found = with_class_embeddings(tower(True), file)
    assert float(found.head.scale) == 1 and "logit scale not known, taken as 1" in found.toast_info.notes[-1]


@pytest.mark.parametrize(("write", "says"), [
    (lambda path: save_file({"text": torch.ones(3, 9)}, path), "9 wide, .* tiny gives 16: .*; a classifier of 16 classes needs"),
    (lambda path: save_file({"a": torch.ones(3, 16), "b": torch.ones(3, 16)}, path), "2 float matrices, not 1"),
    (lambda path: save_file({"text": torch.ones(3, 16, dtype=torch.int8)}, path), "0 float matrices, not 1"),
    (lambda path: save_file({"text": torch.zeros(3, 16)}, path), "zero or not finite"),
    (lambda path: save_file({"text": torch.full((3, 16), torch.nan)}, path), "zero or not finite"),
    (lambda path: save_file({"text": torch.ones(3, 16)}, path, {"classes": "no list"}), "no JSON list"),
    (lambda path: save_file({"text": torch.ones(3, 16)}, path, {"classes": '["one"]'}), "name 1 classes and embed 3"),
    (lambda path: save_file({"text": torch.ones(3, 16)}, path, {"classes": '{"a": 0, "b": 1, "c": 2}'}), "is an object, no JSON list"),
    (lambda path: save_file({"text": torch.ones(3, 16)}, path, {"classes": '"abc"'}), "is a text, no JSON list"),
    (lambda path: save_file({"text": torch.ones(3, 16)}, path, {"classes": '["a", "b", "a"]'}), "name the class 'a' twice"),
    (lambda path: embeddings(path, 16, logit_scale=torch.tensor(100.0)), "natural logarithm of the scale: write 4.6052 for a scale of 100"),
    (lambda path: embeddings(path, 16, logit_scale=torch.tensor(math.nan)), "natural logarithm of the scale"),
    (lambda path: path.write_bytes(b"\x80\x04pickle"), "no readable safetensors file"),
    (lambda path: None, "no readable safetensors file"),
])
def test_what_is_no_head_of_this_tower_is_one_line(write, says: str, tmp_path: Path) -> None:
    file = tmp_path / "classes.safetensors"
    write(file)
    with pytest.raises(ModelError, match=says) as caught:
        with_class_embeddings(tower(True), file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("values", "says"), [
    ({"task": "zero_shot"}, "pass --class-embeddings"), ({"task": "features", "num_classes": 5}, "num-classes is 5"),
    ({"task": "classification", "num_classes": 0}, "num-classes is 0"), ({"task": "features", "class_embeddings": "c"}, "not features"),
])
def test_tasks_that_contradict_each_other_are_refused(values: dict, says: str) -> None:
    with pytest.raises(SetupError, match=says):
        Setup("demo_vit", **values)


def test_from_the_command_line_all_is_classification_and_a_pruned_file_carries_the_head(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(DEMO_BUILDERS, "demo_tower", lambda num_classes, img_size=28: tiny_vit(
        in_chans=1, img_size=img_size, patch_size=7, num_classes=num_classes
    ))
    monkeypatch.chdir(tmp_path)
    data, file = make_folder(tmp_path / "val", {"bag": 4, "coat": 5, "shirt": 4}), embeddings(tmp_path / "c.safetensors", 10, scale=40.0)
    base = ("--model", "demo_tower", "--weights", "random", "--class-embeddings", file)
    found = json.loads(toast("evaluate", *base, "--data", data, "--json"))
    assert set(found) >= {"top1", "top5", "loss"} and found["class_to_index"] == {"bag": 1, "coat": 0, "shirt": 2}
    assert any("zero-shot: 3 class embeddings" in note for note in found["notes"])
    schedule = tmp_path / "s.json"
    schedule.write_text(Schedule.uniform(3, fc2=0.5, selection="calibrated").to_json())
    measured = json.loads(toast(
        "evaluate", *base, "--data", data, "--schedule", schedule, "--calibration", data, "--execution", "compact", "--json"
    ))
    toast("apply", *base, "--schedule", schedule, "--calibration", data, "-o", "p.safetensors")
    again = json.loads(toast("evaluate", "--weights", "p.safetensors", "--data", data, "--json"))
    assert again["top1"] == measured["top1"] and again["class_to_index"] == measured["class_to_index"]
    assert again["loss"]["value"] == pytest.approx(measured["loss"]["value"], rel=1e-6) and again["macs"] == measured["macs"]
    workbench = Workbench.load(Setup(weights="p.safetensors"))
    assert isinstance(workbench.model.head, CosineHead) and float(workbench.model.head.scale) == pytest.approx(40)
    status, _, said = run_toast("evaluate", "--weights", "p.safetensors", "--class-embeddings", file, "--data", data)
    assert status == 2 and "already pruned" in said


def test_a_swin_has_no_place_for_them(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="CLIP and SigLIP towers"):
        with_class_embeddings(tiny_swin(), embeddings(tmp_path / "c.safetensors", 16))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Options of a tower of CLIP's in open_clip's names: its head is the projection, of 5 numbers."""
    form, folder = FORMS["open-clip"], tmp_path_factory.mktemp("clip")
    place = form.write(folder, state_of(named(form.model)))
    return "--model", form.model, "--weights", str(place), "--img-size", "32", "--device", "cpu"


def test_a_projection_is_no_classifier_in_its_pruned_file_neither(clip: tuple[str, ...], tmp_path: Path) -> None:
    data, pruned = make_folder(tmp_path / "val", dict.fromkeys("abcde", 1)), tmp_path / "p.safetensors"
    says = "is the projection to CLIP's space, 5 numbers and no classes; pass --class-embeddings FILE for a classifier, or --num-classes 0"
    status, _, said = run_toast("evaluate", *clip, "--data", data)
    assert status == 2 and says in said
    assert run_toast("evaluate", *clip, "--num-classes", "0", "--data", data)[0] == 0
    schedule = tmp_path / "s.json"
    schedule.write_text(Schedule.uniform(10, fc2=0.5, selection="per_image").to_json())
    toast("apply", *clip, "--schedule", schedule, "-o", pruned)
    status, _, said = run_toast("evaluate", "--weights", pruned, "--data", data)
    assert status == 2 and says in said


def test_class_embeddings_take_the_projection_s_place_and_a_classifier_s_not(clip: tuple[str, ...], tmp_path: Path) -> None:
    file = embeddings(tmp_path / "c.safetensors", 5)
    workbench = Workbench.load(Setup(clip[1], clip[3], img_size=32, class_embeddings=str(file)))
    assert not workbench.info.projection and workbench.shape.num_classes == 3
    workbench.check_classifier()
    model = tower(True)
    model.toast_info = replace(model.toast_info, classes=tuple("abcdefghijklmnop"))
    with pytest.raises(ModelError, match="that of tiny is a classifier of 16 named classes; leave out --class-embeddings"):
        with_class_embeddings(model, embeddings(tmp_path / "d.safetensors", 16))


@pytest.mark.parametrize(("name", "is_one"), [
    ("vit_base_patch16_clip_224.openai", True), ("vit_base_patch16_clip_224.laion2b_ft_in12k_in1k", False),
    ("vit_pe_core_base_patch16_224.fb", True), ("vit_base_patch16_224.augreg_in21k", False), ("eva02_base_patch16_clip_224.merged2b", True),
])
def test_timm_s_own_towers_are_known_by_name_and_tag(name: str, is_one: bool) -> None:
    architecture, _, tag = name.partition(".")
    assert timm.get_pretrained_cfg(name) is not None and is_projection(architecture, tag) is is_one
