"""Which of a file's tensors are the model's: containers, prefixes and wrappers, and what is said of the choice."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.support.checkpoints import named, noise_like, state_of
from tests.support.renamed import State, as_transformers_vit, prefixed
from toast_core.models.checkpoint import read_checkpoint


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
            "teacher": prefixed(state, "backbone.") | {"head.last_layer.weight": torch.zeros(3)},
            "student": prefixed(noise_like(state), "module.backbone.") | {"module.head.mlp.0.weight": torch.zeros(3)},
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
        lambda state: prefixed(headless(state), "encoder.vit.") | {"classifier.weight": torch.zeros(7, 64)},
        "left 1 tensors beside encoder.vit.* aside, first classifier.weight",
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
