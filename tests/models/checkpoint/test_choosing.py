"""Which of a file's tensors are the model's: containers, prefixes and wrappers, and what is said of the choice."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.support.checkpoints import named, noise_like, state_of
from tests.support.renamed import State, as_transformers_vit, prefixed
from toast_core.errors import ModelError
from toast_core.loading import load_model
from toast_core.models.checkpoint import read_checkpoint
from toast_core.models.info import get_info


def headless(state: State) -> State:
    """The tensors without a classifier."""
    return {name: value for name, value in state.items() if not name.startswith("head.")}


def moco(state: State) -> dict:
    """MoCo v3: the encoder with a projection head, its momentum copy, and a predictor."""
    head = {"module.base_encoder.head.0.weight": torch.zeros(3, 3), "module.predictor.0.weight": torch.zeros(3, 3)}
    both = prefixed(headless(state), "module.base_encoder.") | prefixed(noise_like(state), "module.momentum_encoder.")
    return {"state_dict": both | head}


CASES: dict[str, tuple[Callable[[State], dict], str]] = {
    "a container in a container": (lambda state: {"state": {"model": {"state_dict": state}}}, ""),
    "values that are no tensors": (lambda state: {**state, "epoch": 3, "note": "x"}, ""),
    "parameters": (lambda state: {name: torch.nn.Parameter(value) for name, value in state.items()}, ""),
    "the same twice": (lambda state: {"state_dict": state, "model": dict(state)}, "model holds the same values"),
    "DINO with heads": (
        lambda state: {
            "teacher": prefixed(headless(state), "backbone.") | {"head.last_layer.weight": torch.zeros(3)},
            "student": prefixed(noise_like(headless(state)), "module.backbone.") | {"module.head.mlp.0.weight": torch.zeros(3)},
        },
        "took teacher backbone.* of w.pth, not student module.backbone.*: teacher, as DINO evaluates it",
    ),
    "MoCo v3": (moco, "the other is the model itself"),
    "I-JEPA": (
        lambda state: {
            "encoder": prefixed(noise_like(state), "module."),
            "target_encoder": prefixed(state, "module."),
            "opt": {"state": {}},
        },
        "the average that I-JEPA evaluates",
    ),
    "BYOL": (
        lambda state: prefixed(state, "online_encoder.") | prefixed(noise_like(state), "target_encoder."),
        "online, the other follows it",
    ),
    "Lightning around transformers": (
        lambda state: {"state_dict": prefixed(as_transformers_vit(state), "model.") | {"loss.weight": torch.ones(3)}},
        "left 1 tensors beside model.vit.* aside, first loss.weight",
    ),
    "a detector": (
        lambda state: prefixed(state, "backbone.") | {"neck.0.weight": torch.zeros(3)},
        "left 1 tensors beside backbone.* aside, first neck.0.weight",
    ),
    "a head of one's own": (
        lambda state: prefixed(headless(state), "encoder.vit.") | {
            "classifier.weight": state["head.weight"], "classifier.bias": state["head.bias"]
        },
        "took classifier.weight (beside the model) for the classifier of 5 classes, behind the model's own pooling",
    ),
    "a head in its wrapper": (
        lambda state: prefixed(headless(state), "module.backbone.") | {
            "module.fc.weight": state["head.weight"], "module.fc.bias": state["head.bias"]
        },
        "took module.fc.weight (beside the model) for the classifier of 5 classes",
    ),
    "a Sequential of dropout and head": (
        lambda state: headless(state) | {"head.1.weight": state["head.weight"], "head.1.bias": state["head.bias"]},
        "took head.1.weight (a Sequential) for the classifier of 5 classes",
    ),
    "the same beside transformers' names": (
        lambda state: as_transformers_vit(headless(state)) | {
            "classifier.1.weight": state["head.weight"], "classifier.1.bias": state["head.bias"]
        },
        "took classifier.1.weight (beside the model) for the classifier of 5 classes",
    ),
    "strays at the top": (
        lambda state: state | {"ema_decay": torch.tensor(0.9), "criterion.weight": torch.ones(5), "num_updates": torch.tensor(3)},
        "left 3 tensors beside the model aside, first ema_decay",
    ),
    "FSDP": (
        lambda state: {
            f"_fsdp_wrapped_module.{name}".replace("blocks.0.", "blocks.0._fsdp_wrapped_module."): value for name, value in state.items()
        },
        "took wrappers' words out of the middle of 12 names",
    ),
    "single blocks compiled": (
        lambda state: {name.replace("blocks.1.", "blocks.1._orig_mod."): value for name, value in state.items()},
        "took wrappers' words out of the middle of 12 names",
    ),
    "single blocks checkpointed": (
        lambda state: {
            f"module.{name}".replace("blocks.2.", "blocks.2._checkpoint_wrapped_module."): value for name, value in state.items()
        },
        "took wrappers' words out of the middle of 12 names",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_models_own_tensors_are_found_and_the_choice_is_said(tmp_path: Path, case: str) -> None:
    make, note = CASES[case]
    state = state_of(named())
    torch.save(make(state), tmp_path / "w.pth")
    checkpoint = read_checkpoint(tmp_path / "w.pth")
    right = state if "head.weight" in checkpoint.state else headless(state)
    assert checkpoint.state.keys() == right.keys()
    assert all(torch.equal(value, right[name]) for name, value in checkpoint.state.items())
    assert any(note in said for said in checkpoint.notes) if note else not checkpoint.notes


HEADS: dict[str, State] = {
    "MAE's linear probe": {
        "head.0.running_mean": torch.zeros(64), "head.0.running_var": torch.ones(64), "head.0.num_batches_tracked": torch.tensor(9),
        "head.1.weight": torch.ones(5, 64), "head.1.bias": torch.ones(5),
    },
    "two layers": {"head.0.weight": torch.ones(32, 64), "head.0.bias": torch.ones(32), "head.2.weight": torch.ones(5, 32)},
    "another width": {"head.1.weight": torch.ones(5, 128), "head.1.bias": torch.ones(5)},
    "a norm alone": {"head.0.weight": torch.ones(64), "head.0.bias": torch.ones(64)},
}


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("case", HEADS)
def test_a_head_that_timms_model_lacks_is_named_and_never_called_absent(tmp_path: Path, case: str, beside: bool) -> None:
    state = headless(state_of(named()))
    torch.save((prefixed(state, "backbone.") if beside else state) | HEADS[case], tmp_path / "w.pth")
    info = get_info(load_model("test_vit", tmp_path / "w.pth", img_size=32))
    said = f"the file has a head that timm's model lacks ({', '.join(list(HEADS[case])[:1])}"
    assert info.shape.num_classes == 0 and any(note.startswith(said) for note in info.notes)
    assert not any("no classifier" in note for note in info.notes)
    with pytest.raises(ModelError, match=r"has a head that timm's model lacks \(head.*pass --num-classes 0"):
        load_model("test_vit", tmp_path / "w.pth", num_classes=5, img_size=32)
    assert get_info(load_model("test_vit", tmp_path / "w.pth", num_classes=0, img_size=32)).shape.num_classes == 0


@pytest.mark.parametrize("where", ["inside", "beside", "fc"])
def test_a_supervised_teacher_and_its_student_are_no_dino(tmp_path: Path, where: str) -> None:
    state = state_of(named())
    bare = headless(state)
    head = {"inside": "backbone.head", "beside": "head", "fc": "fc"}[where]
    one = prefixed(bare, "backbone.") | {f"{head}.weight": state["head.weight"], f"{head}.bias": state["head.bias"]}
    torch.save({"teacher": one, "student": noise_like(one)}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"holds 2 models, teacher backbone.\* and student backbone.\*; save the one that you mean"):
        read_checkpoint(tmp_path / "w.pth")
