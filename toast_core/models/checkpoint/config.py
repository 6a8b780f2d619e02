"""What a config.json, and a preprocessor_config.json beside it, say of a model: in timm's, transformers' or open_clip's form."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toast_core.errors import ModelError, SetupError
from toast_core.models.checkpoint.claims import NOTHING_CLAIMED, Claims, activation_of
from toast_core.preprocessing import CROP_MODES, INTERPOLATIONS, OWN, Preprocessing

_RESAMPLING = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}  # Pillow's numbers
# what transformers' code takes where a config leaves it out: heads, activation, epsilon, image size
_DEFAULTS: dict[str, tuple[Any, str, float, int]] = {
    "vit": (12, "gelu", 1e-12, 224),
    "deit": (12, "gelu", 1e-12, 224),
    "vit_mae": (12, "gelu", 1e-12, 224),
    "vit_msn": (12, "gelu", 1e-6, 224),
    "dinov2": (12, "gelu", 1e-6, 224),
    "dinov2_with_registers": (12, "gelu", 1e-6, 224),
    "swin": ((3, 6, 12, 24), "gelu", 1e-5, 224),
    "siglip": (12, "gelu_pytorch_tanh", 1e-6, 224),
    "clip": (12, "quick_gelu", 1e-5, 224),
}
_ALIASES = {"siglip_vision_model": "siglip", "clip_vision_model": "clip", "siglip2": "siglip", "siglip2_vision_model": "siglip"}
_NAMES = {"vit": "vit_", "deit": "deit_", "swin": "swin_", "vit_mae": "vit_", "vit_msn": "vit_"}
# arguments of timm's model_args that the file's shapes show, or that change nothing when a model is evaluated
_SHOWN = {
    "img_size",
    "num_classes",
    "in_chans",
    "patch_size",
    "embed_dim",
    "depth",
    "depths",
    "mlp_ratio",
    "reg_tokens",
    "class_token",
    "qkv_bias",
    "window_size",
    "init_values",
    "drop_rate",
    "drop_path_rate",
    "proj_drop_rate",
    "attn_drop_rate",
    "pos_drop_rate",
    "weight_init",
    "features_only",
    "pretrained",
    "fix_init",
    "scriptable",
    "exportable",
}


@dataclass(frozen=True)
class Said:
    """What the files say; None and empty where they say nothing.

    architecture   timm's name
    prefer         what timm's name begins with, where only sizes are given
    img_size       side of the image in pixels
    projection     whether the head is a tower's projection, and no classifier
    sizes          (config's word, field of a Form or `kind`, value) of each size that the tensors have to show as well
    claims         what a model has to meet and no tensor shows
    """

    source: str = ""
    architecture: str | None = None
    prefer: str = ""
    num_classes: int | None = None
    img_size: int | None = None
    preprocessing: Preprocessing = OWN
    classes: tuple[str, ...] | None = None
    projection: bool = False
    sizes: tuple[tuple[str, str, object], ...] = ()
    claims: Claims = NOTHING_CLAIMED
    notes: tuple[str, ...] = ()


def is_projection(architecture: object, tag: object) -> bool:
    """Whether timm keeps a tower's projection in the head of these weights: a CLIP's, not trained further on classes as in `.x_ft_in1k`."""
    return re.search(r"_(clip|pe_core)_", str(architecture)) is not None and bool(tag) and re.search(r"(^|_)in\d", str(tag)) is None


def read_config(folder: Path) -> Said:
    """Read what the folder's config says; nothing where there is none.

    Raises:
        ModelError: a config is no JSON object, or says what no supported model can be.
    """
    for name, read in (("config.json", _config), ("open_clip_config.json", _open_clip)):
        found = _json(folder / name)
        if found:
            try:
                return read(found, folder)
            except (KeyError, TypeError, ValueError, AttributeError, SetupError) as error:
                if isinstance(error, ModelError):
                    raise
                raise ModelError(
                    f"{folder / name} has a value that is not understood ({error}); correct it, or name the weights file alone"
                ) from error
    return Said()


def _config(found: dict[str, Any], folder: Path) -> Said:
    if isinstance(found.get("architecture"), str):
        return _timm(found)
    if isinstance(found.get("model_type"), str):
        return _transformers(found, _json(folder / "preprocessor_config.json"))
    if "model_cfg" in found:
        return _open_clip(found, folder)
    return Said(notes=(f"{folder / 'config.json'} names no model: it has neither architecture nor model_type",))


def _sizes(found: Mapping[str, Any], words: Mapping[str, str]) -> list[tuple[str, str, object]]:
    """Of each word that a config has a value for: the word, what it is called in a Form, and the value.

    Raises:
        ValueError: a value is neither a whole number nor a list of such.
    """
    sizes: list[tuple[str, str, object]] = []
    for word, field in words.items():
        value = found.get(word)
        if value is None:
            continue
        parts = value if isinstance(value, list) else [value]
        if not all(type(part) is int for part in parts) or not parts:
            raise ValueError(f"{word} {value!r:.40}")
        if field == "patch" and len(set(parts)) == 1:
            value = parts[0]
        sizes.append((word, field, tuple(value) if isinstance(value, list) else value))
    return sizes


def _timm(found: dict[str, Any]) -> Said:
    inner = found.get("pretrained_cfg", found)
    args = {key: value for key, value in (found.get("model_args") or {}).items() if value is not None}
    unknown = sorted(args.keys() - _SHOWN - {"global_pool", "dynamic_img_size", "strict_img_size"})
    if unknown:
        built = f"{found['architecture']} with {unknown[0]}={args[unknown[0]]!r:.40}"
        raise ModelError(f"config.json builds {built}, which is not supported; choose a model that timm names")
    size = args.get("img_size") or (inner.get("input_size") or (None, None))[1:]
    side = _square(size)
    notes: tuple[str, ...] = () if side else (f"config.json says images of {size}, which are not square",)
    classes, more = _labels(found.get("label_names") or inner.get("label_names") or inner.get("labels"))
    given = {name: inner.get(name) for name in ("mean", "std", "crop_pct", "crop_mode", "interpolation") if inner.get(name) is not None}
    for name, known in (("crop_mode", CROP_MODES), ("interpolation", INTERPOLATIONS)):
        if name in given and given[name] not in known:
            notes += (f"config.json says {name} {given.pop(name)!r}, which is not known; the model's own is taken",)
    return Said(
        "config.json (timm)",
        found["architecture"].partition(".")[0],
        num_classes=_count(found.get("num_classes", inner.get("num_classes")), "num_classes"),
        img_size=side,
        preprocessing=Preprocessing(**given),
        classes=classes,
        projection=is_projection(found["architecture"], inner.get("tag")),
        claims=Claims(pooling=args.get("global_pool") or found.get("global_pool") or None),
        notes=notes + more,
    )


def _transformers(found: dict[str, Any], processor: dict[str, Any]) -> Said:
    kind = _ALIASES.get(found["model_type"], found["model_type"])
    if kind not in _DEFAULTS:
        raise ModelError(f"config.json describes a {kind} model of transformers, which is not read; read are {', '.join(_DEFAULTS)}")
    vision = found.get("vision_config") or found
    heads, activation, eps, size = _DEFAULTS[kind]
    heads = vision.get("num_attention_heads") or vision.get("num_heads") or heads
    if isinstance(vision.get("num_heads"), list):
        heads = vision["num_heads"]
    size = vision.get("image_size") or size
    words = {"hidden_size": "width", "num_hidden_layers": "depth", "intermediate_size": "hidden"}
    if kind == "swin":
        words = {"embed_dim": "width", "depths": "stages"}
    sizes = [
        ("model_type", "kind", "a Swin" if kind == "swin" else "a ViT"),
        *_sizes(vision, words | {"patch_size": "patch", "num_channels": "channels"}),
    ]
    if labels := _count(found.get("num_labels"), "num_labels"):
        sizes.append(("num_labels", "classes", labels))
    names = found.get("id2label") if any("Classification" in str(name) for name in found.get("architectures") or ()) else None
    classes, notes = _labels(names)
    preprocessing, more = _processor(processor)
    side = _square(size)
    cropped = processor.get("crop_size") or processor.get("size")
    cropped = cropped.get("height") if isinstance(cropped, Mapping) else cropped
    if isinstance(cropped, int) and side and cropped != side:
        more += (f"preprocessor_config.json gives images of {cropped}, config.json of {side}: {side} is taken; --img-size sets another",)
    return Said(
        f"config.json (transformers, {kind})",
        prefer=_NAMES.get(kind, ""),
        img_size=side,
        preprocessing=preprocessing,
        classes=classes,
        sizes=tuple(sizes),
        claims=Claims(
            tuple(heads) if isinstance(heads, list | tuple) else (int(heads),),
            activation_of(vision.get("hidden_act") or activation),
            float(vision.get("layer_norm_eps") or eps),
        ),
        notes=notes + more,
    )


def _open_clip(found: dict[str, Any], folder: Path) -> Said:
    model = found["model_cfg"]
    vision, inner = model["vision_cfg"], found.get("preprocess_cfg") or {}
    given = {name: inner[name] for name in ("mean", "std", "interpolation") if inner.get(name) is not None}
    mode = {"shortest": "center", "longest": "border", "squash": "squash"}.get(inner.get("resize_mode", "shortest"))
    preprocessing = Preprocessing(**given, crop_pct=1.0, crop_mode=mode)
    if isinstance(vision.get("timm_model_name"), str):
        return Said(
            "open_clip_config.json",
            vision["timm_model_name"].partition(".")[0],
            img_size=_square(vision.get("image_size")),
            preprocessing=preprocessing,
        )
    heads = int(vision["width"]) // int(vision.get("head_width", 64))
    activation = "quick_gelu" if model.get("quick_gelu") else "gelu"
    return Said(
        "open_clip_config.json",
        prefer="vit_",
        img_size=_square(vision.get("image_size")),
        preprocessing=preprocessing,
        claims=Claims((heads,), activation, 1e-5),
    )


def _labels(found: Any) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Class names by output, from a list or from an object of numbers to names; LABEL_0, LABEL_1 and so on are no names."""
    if isinstance(found, Mapping):
        if set(map(str, found)) != {str(number) for number in range(len(found))}:
            return None, ("config.json's class names are not numbered 0, 1, 2 and so on; they were left",)
        found = [found[str(number)] if str(number) in found else found[number] for number in range(len(found))]
    if not isinstance(found, list | tuple) or not found or not all(isinstance(name, str) for name in found):
        return None, ()
    return (None if all(name == f"LABEL_{number}" for number, name in enumerate(found)) else tuple(found)), ()


def _processor(found: dict[str, Any]) -> tuple[Preprocessing, tuple[str, ...]]:
    """A preprocessor_config.json of transformers in timm's words."""
    if not found:
        return OWN, ()
    mean, std = found.get("image_mean"), found.get("image_std")
    if found.get("do_normalize") is False:
        mean, std = [0.0], [1.0]
    factor = 1.0 if found.get("do_rescale") is False else float(found.get("rescale_factor") or 1 / 255)
    if mean is not None and std is not None:  # pixels of 0 to 255 times the factor there, shares of 255 here
        scale = 1.0 if abs(factor * 255 - 1) < 1e-6 else 1 / (255 * factor)
        mean, std = ([value * scale for value in ([part] if isinstance(part, int | float) else part)] for part in (mean, std))
    size, crop, notes = found.get("size"), found.get("crop_size") or found.get("size"), []
    kind = str(found.get("image_processor_type") or found.get("feature_extractor_type") or "")
    square = isinstance(size, int) and not kind.startswith(
        ("CLIP", "ConvNext", "Bit", "ChineseCLIP")
    )  # one number means the shorter side there
    if isinstance(size, Mapping):
        square = "height" in size
    resized, cropped = _side(size), _side(crop)
    share, mode = None, None
    if found.get("do_resize") is False or resized is None:
        notes.append("preprocessor_config.json does not say to which size images are resized; the model's own resizing is taken")
    elif found.get("do_center_crop") and cropped:
        share, mode = min(cropped / resized, 1.0), "squash" if square else "center"
    else:
        share, mode = 1.0, "squash" if square else "center"
    resampling = found.get("resample")
    return Preprocessing(mean, std, share, mode, _RESAMPLING.get(resampling) if isinstance(resampling, int) else None), tuple(notes)


def _count(value: Any, word: str) -> int | None:
    """A whole number of at least 0, or None; a text or a truth value is none."""
    if value is not None and (type(value) is not int or value < 0):
        raise ValueError(f"{word} {value!r:.40}")
    return value


def _square(size: Any) -> int | None:
    """The side of a square image, from one number or two; None where they differ or nothing is said."""
    sides = {size} if isinstance(size, int | None) else set(size)
    if not all(side is None or (isinstance(side, int) and side > 0) for side in sides):
        raise ValueError(f"image size {size!r:.40}")
    return next(iter(sides)) if len(sides) == 1 else None


def _side(size: Any) -> int | None:
    if isinstance(size, Mapping):
        size = size.get("shortest_edge") or size.get("height")
    return size if isinstance(size, int) and not isinstance(size, bool) and size > 0 else None


def _json(path: Path) -> dict[str, Any]:
    """The object in a file, empty where there is no file."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not JSON ({error}); fetch it again, or name the weights file alone") from error
    if not isinstance(found, dict):
        raise ModelError(f"{path} is {type(found).__name__}, not an object; fetch it again, or name the weights file alone")
    return found
