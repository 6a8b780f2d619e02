"""One model in every form that people bring: FORMS names each, writes it, and has the words of the command line that read it."""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file
from torch import nn

from tests.support.renamed import (
    State,
    as_later_transformers_vit,
    as_microsoft_swin,
    as_open_clip,
    as_torchvision_swin,
    as_torchvision_vit,
    as_transformers_swin,
    as_transformers_vit,
    prefixed,
)
from toast_core.models.demo import DEMO_BUILDERS


def seeded(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model in eval mode with random values in every tensor, so that no two could be exchanged unseen."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict().items():
        spread = torch.randn(value.shape, generator=generator) * 0.1
        value.copy_(spread + 1 if "norm" in name and name.endswith("weight") else spread)
    return model.eval()


def named(name: str = "test_vit", **options: object) -> nn.Module:
    """A seeded model of 5 classes: of timm on 32-pixel images, or a demo."""
    if name in DEMO_BUILDERS:
        return seeded(DEMO_BUILDERS[name](5))
    sizes = {} if "img_size" in options else {"img_size": 32}
    return seeded(timm.create_model(name, **{"num_classes": 5, **sizes, **options}))


def state_of(model: nn.Module) -> State:
    """Copies of the model's tensors."""
    return {name: value.clone().contiguous() for name, value in model.state_dict().items()}


def images_for(model: nn.Module) -> torch.Tensor:
    """Two seeded images of the model's size and channels."""
    projection = model.patch_embed.proj
    return torch.randn(2, projection.in_channels, *model.patch_embed.img_size, generator=torch.Generator().manual_seed(1))


def noise_like(state: State) -> State:
    """Other values under the same names: what must not be read."""
    return {name: torch.full_like(value, 0.25) for name, value in state.items()}


def _file(name: str, write: Callable[[Path, State], None]) -> Callable[[Path, State], Path]:
    def put(folder: Path, state: State) -> Path:
        write(folder / name, state)
        return folder / name

    return put


def safetensors(change: Callable[[State], State] = lambda state: state) -> Callable[[Path, State], Path]:
    """A writer of model.safetensors with the tensors as `change` gives them."""
    return _file("model.safetensors", lambda path, state: save_file(change(state), path))


def pickled(name: str, change: Callable[[State], object]) -> Callable[[Path, State], Path]:
    """A writer of a torch.save file of what `change` gives."""
    return _file(name, lambda path, state: torch.save(change(state), path))


def timm_training(state: State) -> object:
    """What timm's train.py saves; the averaged weights are the model's here, the others are not."""
    return {
        "epoch": 3,
        "arch": "test_vit",
        "state_dict": noise_like(state),
        "state_dict_ema": state,
        "metric": 81.5,
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]},
        "args": argparse.Namespace(lr=1e-3),
    }


def lightning(state: State) -> object:
    """A Lightning checkpoint: the module's names under `model.`, and a metric's beside."""
    return {
        "pytorch-lightning_version": "2.4.0",
        "epoch": 1,
        "global_step": 10,
        "hyper_parameters": {"lr": 0.1},
        "state_dict": {
            **prefixed(state, "model."),
            "val_accuracy.tp": torch.zeros(3, dtype=torch.int64),
            "criterion.weight": torch.ones(5),
        },
    }


TIMM_CONFIG = {
    "architecture": "test_vit",
    "num_classes": 5,
    "num_features": 64,
    "pretrained_cfg": {
        "input_size": [3, 32, 32],
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
        "crop_pct": 0.8,
        "crop_mode": "squash",
        "interpolation": "bilinear",
        "label_names": ["ant", "bee", "cat", "dog", "eel"],
    },
}
TRANSFORMERS_CONFIG = {
    "architectures": ["ViTForImageClassification"],
    "model_type": "vit",
    "hidden_size": 64,
    "num_hidden_layers": 6,
    "num_attention_heads": 2,
    "intermediate_size": 192,
    "image_size": 32,
    "patch_size": 16,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
    "id2label": {str(number): name for number, name in enumerate(("ant", "bee", "cat", "dog", "eel"))},
}
PROCESSOR = {
    "image_processor_type": "ViTImageProcessor",
    "image_mean": [0.1, 0.2, 0.3],
    "image_std": [0.4, 0.5, 0.6],
    "size": {"height": 40, "width": 40},
    "do_center_crop": True,
    "crop_size": {"height": 32, "width": 32},
    "resample": 2,
    "rescale_factor": 1 / 255,
}


def folder_of(config: dict, change: Callable[[State], State] = lambda state: state, **beside: dict) -> Callable[[Path, State], Path]:
    """A writer of a folder with config.json, model.safetensors and further JSON files."""

    def put(folder: Path, state: State) -> Path:
        for name, value in {"config": config, **beside}.items():
            (folder / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")
        save_file(change(state), folder / "model.safetensors")
        return folder

    return put


def sharded(folder: Path, state: State) -> Path:
    """Two shards and their index, as transformers saves a large model."""
    names = sorted(state)
    halves = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, own in halves.items():
        save_file({name: state[name] for name in own}, folder / file)
    path = folder / "model.safetensors.index.json"
    path.write_text(
        json.dumps({"metadata": {}, "weight_map": {name: file for file, own in halves.items() for name in own}}), encoding="utf-8"
    )
    return path


def hub_cache(home: Path, state: State) -> Path:
    """A hub cache as the client leaves it, with one model: someone/vit."""
    commit = "0" * 40
    root = home / "hub" / "models--someone--vit"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(commit, encoding="utf-8")
    snapshot = root / "snapshots" / commit
    snapshot.mkdir(parents=True)
    folder_of(TIMM_CONFIG)(snapshot, state)
    return home


@dataclass(frozen=True)
class Form:
    """One form of a model: its title, the model that is saved in it, the writer (folder, state) -> place, and the options that read it.

    classes  of the model that is saved; a demo has 5
    """

    title: str
    write: Callable[[Path, State], Path]
    options: str = "--model test_vit --weights {place}"
    model: str = "test_vit"
    classes: int = 5


_NAMELESS, _SWIN = "--weights {place}", "--model demo_swin --weights {place}"
FORMS: dict[str, Form] = {
    "timm-safetensors": Form("timm, .safetensors", safetensors()),
    "timm-training-ema": Form(
        "timm's train.py, .pth.tar with averaged weights",
        pickled("model_best.pth.tar", timm_training),
        "--model test_vit --weights {place} --use-ema",
    ),
    "deit": Form("DeiT, MAE and other papers' code, .pth with `model`", pickled("deit.pth", lambda state: {"model": state, "epoch": 1})),
    "plain-pickle": Form("a state dict alone, .bin", pickled("pytorch_model.bin", dict)),
    "before-1.6": Form(
        "torch.save before PyTorch 1.6, .pt",
        _file("old.pt", lambda path, state: torch.save(state, path, _use_new_zipfile_serialization=False)),
    ),
    "ddp": Form("DistributedDataParallel, `module.`", pickled("ddp.pth", lambda state: {"state_dict": prefixed(state, "module.")})),
    "compiled": Form("torch.compile, `_orig_mod.`", safetensors(lambda state: prefixed(state, "_orig_mod."))),
    "stacked": Form(
        "both, in any order, inside a wrapper of one's own", safetensors(lambda state: prefixed(state, "_orig_mod.module.backbone."))
    ),
    "lightning": Form("Lightning, .ckpt", pickled("last.ckpt", lightning)),
    "deepspeed": Form(
        "DeepSpeed, `module`", pickled("mp_rank_00_model_states.pt", lambda state: {"module": prefixed(state, "module."), "ds_config": {}})
    ),
    "dino": Form(
        "DINO and iBOT, teacher and student",
        pickled(
            "dino.pth",
            lambda state: {
                "student": prefixed(noise_like(state), "module.backbone."),
                "teacher": prefixed(state, "backbone."),
                "epoch": 9,
            },
        ),
        classes=0,
    ),
    "sharded": Form("several shards and their index", sharded),
    "transformers-vit": Form("transformers, ViT", safetensors(as_transformers_vit)),
    "transformers-vit-v5": Form("transformers, ViT by the names of its fifth version", safetensors(as_later_transformers_vit)),
    "transformers-folder": Form(
        "transformers, folder with config.json",
        folder_of(TRANSFORMERS_CONFIG, as_transformers_vit, preprocessor_config=PROCESSOR),
        _NAMELESS,
    ),
    "transformers-swin": Form("transformers, Swin", safetensors(as_transformers_swin), _SWIN, "demo_swin"),
    "torchvision-vit": Form("torchvision, vit_*", pickled("vit.pth", as_torchvision_vit)),
    "torchvision-swin": Form("torchvision, swin_*", pickled("swin.pth", as_torchvision_swin), _SWIN, "demo_swin"),
    "microsoft-swin": Form("Microsoft's Swin", pickled("swin.pth", lambda state: {"model": as_microsoft_swin(state)}), _SWIN, "demo_swin"),
    "open-clip": Form(
        "OpenAI's CLIP and open_clip",
        pickled("open_clip_pytorch_model.bin", as_open_clip),
        "--model vit_xsmall_patch16_clip_224 --img-size 32 --weights {place}",
        "vit_xsmall_patch16_clip_224",
    ),
    "open-clip-timm": Form(
        "open_clip with a tower of timm's",
        pickled(
            "open_clip.pt",
            lambda state: {
                "state_dict": {
                    **prefixed(state, "module.visual.trunk."),
                    "module.logit_scale": torch.tensor(4.6),
                    "module.text.token.weight": torch.zeros(9, 4),
                },
            },
        ),
    ),
    "local-dir": Form("timm, folder with config.json", folder_of(TIMM_CONFIG), "--model local-dir:{place}"),
    "folder": Form("the same by --weights", folder_of(TIMM_CONFIG), _NAMELESS),
    "hub": Form("a model of the hub, or of its local cache", hub_cache, "--model hf-hub:someone/vit"),
}
