"""One model in every form that people bring: FORMS names each, writes it, and has the words of the command line that read it.

The names of other libraries are made from timm's here, by rules of their own; `library_names.json` has the names that the libraries
themselves gave, so that a test can tell whether these rules still make them.
"""

import argparse
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file
from torch import nn

from toast_core.models.demo import DEMO_BUILDERS

State = dict[str, torch.Tensor]
NAMES = json.loads(Path(__file__).with_name("library_names.json").read_text(encoding="utf-8"))


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


def prefixed(state: Mapping[str, torch.Tensor], prefix: str) -> State:
    """The tensors under a prefix."""
    return {prefix + name: value for name, value in state.items()}


def swapped(state: State, rules: list[tuple[str, str]]) -> State:
    """The tensors under other names: every rule is a regular expression and its replacement, applied in turn."""
    renamed = {}
    for name, value in state.items():
        for pattern, new in rules:
            name = re.sub(pattern, new, name)
        renamed[name] = value.clone().contiguous()
    return renamed


def split_qkv(state: State) -> State:
    """The tensors with `attn.qkv` in three: `attn.q`, `attn.k` and `attn.v`."""
    parts: State = {}
    for name, value in state.items():
        thirds = zip("qkv", value.chunk(3), strict=True) if ".attn.qkv." in name else [("", value)]
        parts |= {name.replace("attn.qkv", f"attn.{letter}") if letter else name: part for letter, part in thirds}
    return parts


_HF_BLOCK = [
    (r"attn\.q\.", "attention.attention.query."), (r"attn\.k\.", "attention.attention.key."), (r"attn\.v\.", "attention.attention.value."),
    (r"attn\.proj\.", "attention.output.dense."),
]  # fmt: skip
_HF_LATER = [
    (r"encoder\.layer\.", "layers."), (r"attention\.attention\.query", "attention.q_proj"), (r"attention\.attention\.key", "attention.k_proj"),
    (r"attention\.attention\.value", "attention.v_proj"), (r"attention\.output\.dense", "attention.o_proj"),
    (r"intermediate\.dense", "mlp.fc1"), (r"(layers\.\d+\.)output\.dense", r"\1mlp.fc2"),
]  # fmt: skip


def as_transformers_vit(state: State, base: str = "vit.") -> State:
    """transformers' ViT for image classification, as its fourth version has it and both write it; DeiT with base `deit.`."""
    rules = [
        *_HF_BLOCK, (r"^(cls_token)$", rf"{base}embeddings.\1"), (r"^dist_token$", f"{base}embeddings.distillation_token"),
        (r"^pos_embed$", f"{base}embeddings.position_embeddings"), (r"^patch_embed\.proj\.", f"{base}embeddings.patch_embeddings.projection."),
        (r"mlp\.fc1\.", "intermediate.dense."), (r"mlp\.fc2\.", "output.dense."), (r"norm1\.", "layernorm_before."),
        (r"norm2\.", "layernorm_after."), (r"^blocks\.", f"{base}encoder.layer."), (r"^norm\.", f"{base}layernorm."),
        (r"^head\.", "cls_classifier." if "head_dist.weight" in state else "classifier."), (r"^head_dist\.", "distillation_classifier."),
    ]  # fmt: skip
    return swapped(split_qkv(state), rules)


def as_later_transformers_vit(state: State) -> State:
    """The same with the module names of transformers' fifth version."""
    return swapped(as_transformers_vit(state), _HF_LATER)


def as_transformers_dinov2(state: State) -> State:
    """transformers' DINOv2, with registers where the model has some: there the class token has a position of its own."""
    state = dict(state)
    if "reg_token" in state:
        position = state["cls_token"] * 0.5
        state["cls_token"] = state["cls_token"] - position
        state["pos_embed"] = torch.cat([position, state["pos_embed"]], 1)
    state["mask_token"] = torch.zeros(1, state["cls_token"].shape[-1])
    base = "dinov2_with_registers." if "reg_token" in state else "dinov2."
    rules = [
        *_HF_BLOCK, (r"^(cls|mask)_token$", rf"{base}embeddings.\1_token"), (r"^reg_token$", f"{base}embeddings.register_tokens"),
        (r"^pos_embed$", f"{base}embeddings.position_embeddings"), (r"^patch_embed\.proj\.", f"{base}embeddings.patch_embeddings.projection."),
        (r"ls([12])\.gamma", r"layer_scale\1.lambda1"), (r"^blocks\.", f"{base}encoder.layer."), (r"^norm\.", f"{base}layernorm."),
    ]  # fmt: skip
    return swapped(split_qkv(state), rules)


def as_facebook_dinov2(state: State) -> State:
    """DINOv2's own names: registers, and blocks inside chunks as its training saves them."""
    state = dict(state)
    if "reg_token" in state:
        position = state["cls_token"] * 0.5
        state["cls_token"] = state["cls_token"] - position
        state["pos_embed"] = torch.cat([position, state["pos_embed"]], 1)
        state["register_tokens"] = state.pop("reg_token")
    state["mask_token"] = torch.zeros(1, state["cls_token"].shape[-1])
    return swapped(state, [(r"^blocks\.(\d+)\.", r"blocks.0.\1.")])


def _stages_end(state: State) -> State:
    """Patch merging at a stage's end, where it is at the next one's start in timm."""
    return {re.sub(r"layers\.(\d+)\.downsample", lambda found: f"layers.{int(found[1]) - 1}.downsample", name): value for name, value in state.items()}


def as_transformers_swin(state: State) -> State:
    """transformers' Swin for image classification."""
    rules = [
        (r"attn\.q\.", "attention.self.query."), (r"attn\.k\.", "attention.self.key."), (r"attn\.v\.", "attention.self.value."),
        (r"attn\.proj\.", "attention.output.dense."), (r"attn\.relative", "attention.self.relative"),
        (r"mlp\.fc1\.", "intermediate.dense."), (r"mlp\.fc2\.", "output.dense."), (r"blocks\.(\d+)\.norm1\.", r"blocks.\1.layernorm_before."),
        (r"blocks\.(\d+)\.norm2\.", r"blocks.\1.layernorm_after."), (r"^layers\.", "swin.encoder.layers."), (r"^norm\.", "swin.layernorm."),
        (r"^patch_embed\.proj\.", "swin.embeddings.patch_embeddings.projection."), (r"^patch_embed\.norm\.", "swin.embeddings.norm."),
        (r"^head\.fc\.", "classifier."),
    ]  # fmt: skip
    return swapped(split_qkv(_stages_end(state)), rules)


def as_microsoft_swin(state: State) -> State:
    """Microsoft's own code: its buffers are saved too."""
    found = swapped(_stages_end(state), [(r"^head\.fc\.", "head.")])
    found["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(49, 49, dtype=torch.int64)
    found["layers.0.blocks.1.attn_mask"] = torch.full((4, 49, 49), -100.0)
    return found


def as_torchvision_vit(state: State) -> State:
    """torchvision's VisionTransformer."""
    rules = [
        (r"^cls_token$", "class_token"), (r"^pos_embed$", "encoder.pos_embedding"), (r"^patch_embed\.proj\.", "conv_proj."),
        (r"norm([12])\.", r"ln_\1."), (r"attn\.qkv\.", "self_attention.in_proj_"), (r"attn\.proj\.", "self_attention.out_proj."),
        (r"mlp\.fc1\.", "mlp.0."), (r"mlp\.fc2\.", "mlp.3."), (r"^blocks\.", "encoder.layers.encoder_layer_"), (r"^norm\.", "encoder.ln."),
        (r"^head\.", "heads.head."),
    ]  # fmt: skip
    return swapped(state, rules)


def as_torchvision_swin(state: State) -> State:
    """torchvision's SwinTransformer, its buffers included."""
    found = {}
    for name, value in state.items():
        name = re.sub(r"^layers\.(\d+)\.blocks\.", lambda match: f"features.{2 * int(match[1]) + 1}.", name)
        name = re.sub(r"^layers\.(\d+)\.downsample\.", lambda match: f"features.{2 * int(match[1])}.", name)
        found[name] = value
        if name.endswith("relative_position_bias_table"):
            found[name.replace("bias_table", "index")] = torch.zeros(49 * 49, dtype=torch.int64)
    rules = [
        (r"^patch_embed\.proj\.", "features.0.0."), (r"^patch_embed\.norm\.", "features.0.2."), (r"mlp\.fc1\.", "mlp.0."),
        (r"mlp\.fc2\.", "mlp.3."), (r"^head\.fc\.", "head."),
    ]  # fmt: skip
    return swapped(found, rules)


def as_open_clip(state: State) -> State:
    """OpenAI's CLIP as open_clip saves it: the image tower under `visual.` and a text tower beside."""
    state = {name: value for name, value in state.items() if name != "head.bias"}
    rules = [
        (r"^cls_token$", "class_embedding"), (r"^pos_embed$", "positional_embedding"), (r"^patch_embed\.proj\.", "conv1."),
        (r"^norm_pre\.", "ln_pre."), (r"^norm\.", "ln_post."), (r"^head\.weight$", "proj"), (r"norm([12])\.", r"ln_\1."),
        (r"attn\.qkv\.", "attn.in_proj_"), (r"attn\.proj\.", "attn.out_proj."), (r"mlp\.fc1\.", "mlp.c_fc."), (r"mlp\.fc2\.", "mlp.c_proj."),
        (r"^blocks\.", "transformer.resblocks."), (r"^", "visual."),
    ]  # fmt: skip
    found = swapped(state, rules)
    found["visual.class_embedding"] = found["visual.class_embedding"][0, 0].clone()
    found["visual.positional_embedding"] = found["visual.positional_embedding"][0].clone()
    found["visual.proj"] = found["visual.proj"].T.contiguous()
    return found | {"logit_scale": torch.tensor(4.6), "text_projection": torch.zeros(4, 4), "token_embedding.weight": torch.zeros(9, 4)}


def as_transformers_tower(state: State) -> State:
    """The image tower of transformers' CLIP, or of its SigLIP where the model pools with attention; a text tower beside."""
    state = {name: value for name, value in state.items() if name != "head.bias"}
    for kind in ("weight", "bias"):
        if f"attn_pool.q.{kind}" in state:
            state[f"attn_pool.in_proj_{kind}"] = torch.cat([state.pop(f"attn_pool.q.{kind}"), state.pop(f"attn_pool.kv.{kind}")])
    rules = [
        (r"^attn_pool\.latent$", "head.probe"), (r"^attn_pool\.(in_proj_|proj)", lambda found: f"head.attention.{'out_proj' if found[1] == 'proj' else 'in_proj_'}"),
        (r"^attn_pool\.norm\.", "head.layernorm."), (r"^attn_pool\.", "head."), (r"^cls_token$", "embeddings.class_embedding"),
        (r"^pos_embed$", "embeddings.position_embedding.weight"), (r"^patch_embed\.proj\.", "embeddings.patch_embedding."),
        (r"^norm_pre\.", "pre_layrnorm."), (r"^norm\.", "post_layernorm."), (r"norm([12])\.", r"layer_norm\1."),
        (r"attn\.([qkv])\.", r"self_attn.\1_proj."), (r"attn\.proj\.", "self_attn.out_proj."), (r"^blocks\.", "encoder.layers."),
        (r"^(?!head\.weight)", "vision_model."), (r"^head\.weight$", "visual_projection.weight"),
    ]  # fmt: skip
    found = swapped(split_qkv(state), rules)
    for name in ("class_embedding", "position_embedding.weight"):
        if (value := found.get(f"vision_model.embeddings.{name}")) is not None:
            found[f"vision_model.embeddings.{name}"] = value.reshape(-1, value.shape[-1]).squeeze(0).clone()
    return found | {"text_model.embeddings.token_embedding.weight": torch.zeros(9, 4), "logit_scale": torch.tensor(4.6)}


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
        "epoch": 3, "arch": "test_vit", "state_dict": noise_like(state), "state_dict_ema": state, "metric": 81.5,
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}, "args": argparse.Namespace(lr=1e-3),
    }  # fmt: skip


def lightning(state: State) -> object:
    """A Lightning checkpoint: the module's names under `model.`, and a metric's beside."""
    return {
        "pytorch-lightning_version": "2.4.0", "epoch": 1, "global_step": 10, "hyper_parameters": {"lr": 0.1},
        "state_dict": {**prefixed(state, "model."), "val_accuracy.tp": torch.zeros(3, dtype=torch.int64), "criterion.weight": torch.ones(5)},
    }  # fmt: skip


TIMM_CONFIG = {
    "architecture": "test_vit", "num_classes": 5, "num_features": 64,
    "pretrained_cfg": {
        "input_size": [3, 32, 32], "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "crop_pct": 0.8, "crop_mode": "squash", "interpolation": "bilinear",
        "label_names": ["ant", "bee", "cat", "dog", "eel"],
    },
}  # fmt: skip
TRANSFORMERS_CONFIG = {
    "architectures": ["ViTForImageClassification"], "model_type": "vit", "hidden_size": 64, "num_hidden_layers": 6, "num_attention_heads": 2,
    "intermediate_size": 192, "image_size": 32, "patch_size": 16, "hidden_act": "gelu", "layer_norm_eps": 1e-6,
    "id2label": {str(number): name for number, name in enumerate(("ant", "bee", "cat", "dog", "eel"))},
}  # fmt: skip
PROCESSOR = {
    "image_processor_type": "ViTImageProcessor", "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "size": {"height": 40, "width": 40},
    "do_center_crop": True, "crop_size": {"height": 32, "width": 32}, "resample": 2, "rescale_factor": 1 / 255,
}  # fmt: skip


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
    path.write_text(json.dumps({"metadata": {}, "weight_map": {name: file for file, own in halves.items() for name in own}}), encoding="utf-8")
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
    """One form of a model: its title, the model that is saved in it, the writer (folder, state) -> place, and the options that read it."""

    title: str
    write: Callable[[Path, State], Path]
    options: str = "--model test_vit --weights {place}"
    model: str = "test_vit"


_NAMELESS, _SWIN = "--weights {place}", "--model demo_swin --weights {place}"
FORMS: dict[str, Form] = {
    "timm-safetensors": Form("timm, .safetensors", safetensors()),
    "timm-training-ema": Form("timm's train.py, .pth.tar with averaged weights", pickled("model_best.pth.tar", timm_training), "--model test_vit --weights {place} --use-ema"),
    "deit": Form("DeiT, MAE and other papers' code, .pth with `model`", pickled("deit.pth", lambda state: {"model": state, "epoch": 1})),
    "plain-pickle": Form("a state dict alone, .bin", pickled("pytorch_model.bin", dict)),
    "before-1.6": Form(
        "torch.save before PyTorch 1.6, .pt", _file("old.pt", lambda path, state: torch.save(state, path, _use_new_zipfile_serialization=False)),
    ),
    "ddp": Form("DistributedDataParallel, `module.`", pickled("ddp.pth", lambda state: {"state_dict": prefixed(state, "module.")})),
    "compiled": Form("torch.compile, `_orig_mod.`", safetensors(lambda state: prefixed(state, "_orig_mod."))),
    "stacked": Form("both, in any order, inside a wrapper of one's own", safetensors(lambda state: prefixed(state, "_orig_mod.module.backbone."))),
    "lightning": Form("Lightning, .ckpt", pickled("last.ckpt", lightning)),
    "deepspeed": Form("DeepSpeed, `module`", pickled("mp_rank_00_model_states.pt", lambda state: {"module": prefixed(state, "module."), "ds_config": {}})),
    "dino": Form(
        "DINO and iBOT, teacher and student", pickled("dino.pth", lambda state: {
            "student": prefixed(noise_like(state), "module.backbone."), "teacher": prefixed(state, "backbone."), "epoch": 9,
        }),
    ),
    "sharded": Form("several shards and their index", sharded),
    "transformers-vit": Form("transformers, ViT", safetensors(as_transformers_vit)),
    "transformers-vit-v5": Form("transformers, ViT by the names of its fifth version", safetensors(as_later_transformers_vit)),
    "transformers-folder": Form(
        "transformers, folder with config.json", folder_of(TRANSFORMERS_CONFIG, as_transformers_vit, preprocessor_config=PROCESSOR), _NAMELESS,
    ),
    "transformers-swin": Form("transformers, Swin", safetensors(as_transformers_swin), _SWIN, "demo_swin"),
    "torchvision-vit": Form("torchvision, vit_*", pickled("vit.pth", as_torchvision_vit)),
    "torchvision-swin": Form("torchvision, swin_*", pickled("swin.pth", as_torchvision_swin), _SWIN, "demo_swin"),
    "microsoft-swin": Form("Microsoft's Swin", pickled("swin.pth", lambda state: {"model": as_microsoft_swin(state)}), _SWIN, "demo_swin"),
    "open-clip": Form(
        "OpenAI's CLIP and open_clip", pickled("open_clip_pytorch_model.bin", as_open_clip),
        "--model vit_xsmall_patch16_clip_224 --img-size 32 --weights {place}", "vit_xsmall_patch16_clip_224",
    ),
    "open-clip-timm": Form(
        "open_clip with a tower of timm's", pickled("open_clip.pt", lambda state: {
            "state_dict": {**prefixed(state, "module.visual.trunk."), "module.logit_scale": torch.tensor(4.6), "module.text.token.weight": torch.zeros(9, 4)},
        }),
    ),
    "local-dir": Form("timm, folder with config.json", folder_of(TIMM_CONFIG), "--model local-dir:{place}"),
    "folder": Form("the same by --weights", folder_of(TIMM_CONFIG), _NAMELESS),
    "hub": Form("a model of the hub, or of its local cache", hub_cache, "--model hf-hub:someone/vit"),
}  # fmt: skip
