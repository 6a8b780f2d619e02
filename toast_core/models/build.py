"""Building supported models and filling them with weights. Nothing is unpickled."""

import difflib
import socket
import sys
import urllib.parse
import urllib.request
from dataclasses import replace
from pathlib import Path

import timm
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from toast_core.errors import ModelError
from toast_core.files import first_line, sha256_of
from toast_core.models.adapters import SUPPORTED, adapter_for
from toast_core.models.demo import DEMO_BUILDERS, DEMO_IMAGE_SIZE, DEMO_MEAN, DEMO_STD
from toast_core.models.info import ModelInfo

_FAMILY_MODULES = {"timm.models.vision_transformer", "timm.models.deit", "timm.models.swin_transformer"}
_PAPER_CLASSES = 1000
DEMO_WEIGHTS = Path(__file__).resolve().parents[1] / "assets" / "fashion_mnist"
OFFLINE_HINT = "pass --weights FILE.safetensors (a local checkpoint), --weights random, or use demo_vit or demo_swin"


def load_baseline(
    name: str, weights: str | Path | None = None, num_classes: int | None = None, img_size: int | None = None, seed: int = 0
) -> nn.Module:
    """Return a supported timm model on the CPU in eval mode, with `toast_info` on it; see `load_model` for the arguments.

    Raises:
        ModelError: unknown or unsupported name, weights that cannot be read or do not fit.
    """
    check_name(name)
    for label, value in (("num-classes", num_classes), ("img-size", img_size)):
        if value is not None and value < 1:
            raise ModelError(f"{label} is {value}; write a whole number of at least 1")
    if weights == "none":
        with torch.device("meta"):
            return build_baseline(name, num_classes, img_size, seed, "none")
    path = weights_path(weights)
    if weights is None and name in DEMO_BUILDERS:
        path = DEMO_WEIGHTS / f"{name}.safetensors"
    if path is None:
        pretrained = weights is None
        return build_baseline(name, num_classes, img_size, seed, "timm pretrained" if pretrained else f"random, seed {seed}", pretrained)
    state = read_weights(path)
    model = build_baseline(name, num_classes or _classes_in(state), img_size, seed, f"{path.name} sha256:{sha256_of(path)[:12]}")
    _fill(model, state, path)
    own = model.state_dict()
    if state.keys() == own.keys() and all(state[key].shape == own[key].shape for key in own):
        inside = path.resolve().relative_to(DEMO_WEIGHTS.parents[1]) if path.resolve().is_relative_to(DEMO_WEIGHTS) else path.resolve()
        model.toast_info = replace(model.toast_info, weights_file=inside.as_posix())
    return model


def weights_path(weights: str | Path | None) -> Path | None:
    """Return the weights file, or None for the words that mean no file.

    Raises:
        ModelError: there is no such file, or it is not a .safetensors file.
    """
    if weights is None or weights in ("random", "none"):
        return None
    path = Path(weights)
    if path.suffix != ".safetensors":
        raise ModelError(
            f"weights {path} is not a .safetensors file; other formats can run code when read: convert it with safetensors.torch.save_file"
        )
    if not path.is_file():
        raise ModelError(f"weights file {path} does not exist; {OFFLINE_HINT}")
    return path


def check_name(name: str) -> None:
    """Raise a ModelError unless the name is one that an adapter may support; the model itself is checked once built."""
    base, _, tag = name.partition(".")
    if name in DEMO_BUILDERS:
        return
    if "." in name and (base in DEMO_BUILDERS or (timm.is_model(base) and not _has_tag(name))):
        raise ModelError(f"{base} has no weights tag {tag!r}; leave the tag out, or choose one that timm lists for it")
    if not timm.is_model(base):
        near = difflib.get_close_matches(base, [*timm.list_models(), *DEMO_BUILDERS], n=3)
        raise ModelError(f"unknown model {name!r}; {'did you mean ' + ', '.join(near) + '? ' if near else ''}supported: {SUPPORTED}")
    module = timm.models.model_entrypoint(base).__module__
    if module == timm.is_model.__module__:  # a retired name: the registry itself stands in for it
        near = difflib.get_close_matches(base, timm.list_models(), n=1)
        raise ModelError(
            f"{name} is a name that timm has retired; use its present one{', perhaps ' + near[0] if near else ''}; supported: {SUPPORTED}"
        )
    if module not in _FAMILY_MODULES:
        raise ModelError(f"{name} is not supported: it belongs to {module.rpartition('.')[2]}; supported: {SUPPORTED}")


def _has_tag(name: str) -> bool:
    try:
        return bool(name.partition(".")[2]) and timm.get_pretrained_cfg(name) is not None
    except RuntimeError:
        return False


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read a .safetensors file.

    Raises:
        ModelError: it is truncated, is not safetensors (a renamed pickle, say), or holds values that are not finite.
    """
    try:
        with safe_open(path, framework="pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"weights file {path} is not a complete safetensors file ({error}); copy it again or convert it anew") from error
    broken = [key for key, value in state.items() if value.is_floating_point() and not bool(torch.isfinite(value).all())]
    if broken:
        raise ModelError(
            f"weights file {path} holds values that are not finite in {len(broken)} tensors, first {broken[0]}; use another checkpoint"
        )
    return state


def build_baseline(
    name: str, num_classes: int | None, img_size: int | None, seed: int, weights: str, pretrained: bool = False
) -> nn.Module:
    """Build a supported model with seeded random values, or timm's pretrained ones.

    Raises:
        ModelError: it cannot be built, is not supported, or its pretrained weights cannot be fetched.
    """
    options = {} if img_size is None else {"img_size": img_size}
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if name in DEMO_BUILDERS:
                model = DEMO_BUILDERS[name](num_classes or 10, **options)
                size = img_size or DEMO_IMAGE_SIZE
                model.pretrained_cfg = {
                    "architecture": name,
                    "input_size": (1, size, size),
                    "mean": DEMO_MEAN,
                    "std": DEMO_STD,
                    "crop_pct": 1.0,
                    "interpolation": "bicubic",
                    "num_classes": 10,
                }
            else:
                if pretrained:
                    _check_hub()
                classes = num_classes or timm.get_pretrained_cfg(name).num_classes or _PAPER_CLASSES
                model = timm.create_model(name, pretrained=pretrained, num_classes=classes, **options)
    except (AssertionError, RuntimeError, OSError, ValueError, TypeError, ZeroDivisionError) as error:
        if pretrained:
            raise ModelError(
                f"the pretrained weights of {name} are not in the local cache and cannot be fetched ({type(error).__name__}); "
                f"{OFFLINE_HINT}"
            ) from error
        raise ModelError(
            f"{name} cannot be built with img-size {img_size} ({first_line(error)}); choose a multiple of its patch and window size"
        ) from error
    if getattr(getattr(model, "patch_embed", None), "num_patches", 1) == 0:
        raise ModelError(f"{name} cannot be built with img-size {img_size} (no patch fits); choose a multiple of its patch and window size")
    adapter = adapter_for(model, name)
    model.toast_info = ModelInfo(name, weights, adapter.shape(model, name))
    return model.eval()


def _check_hub() -> None:
    """Leave only the local cache to look in where the model hub cannot be reached: its client would retry for a minute."""
    from huggingface_hub import constants

    if urllib.request.getproxies():
        return
    host = urllib.parse.urlsplit(constants.ENDPOINT)
    try:
        socket.create_connection((host.hostname, host.port or 443), timeout=5).close()
    except OSError:
        constants.HF_HUB_OFFLINE = True


def _classes_in(state: dict[str, torch.Tensor]) -> int | None:
    for key in ("head.weight", "head.fc.weight"):
        if key in state and state[key].ndim == 2 and len(state[key]):
            return state[key].shape[0]
    return None


def _fill(model: nn.Module, state: dict[str, torch.Tensor], path: Path) -> None:
    """Load a state dict strictly, after timm's own conversion of older layouts and of other image sizes."""
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if model.toast_info.name not in DEMO_BUILDERS and convert is not None:
        try:
            state = convert(state, model)
        except (KeyError, RuntimeError, ValueError, IndexError, AttributeError, TypeError, ZeroDivisionError) as error:
            raise ModelError(
                f"weights file {path} is no checkpoint of {model.toast_info.name} ({first_line(error)}); check --model"
            ) from error
    own = model.state_dict()
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or unexpected:
        what = (
            f"lacks {missing[0]} and {len(missing) - 1} more" if missing else f"has {unexpected[0]} and {len(unexpected) - 1} more too many"
        )
        raise ModelError(f"weights file {path} does not fit {model.toast_info.name}: it {what}; check --model")
    for key, value in own.items():
        if state[key].shape != value.shape:
            raise ModelError(
                f"weights file {path} does not fit {model.toast_info.name}: {key} is {tuple(state[key].shape)}, the model's is "
                f"{tuple(value.shape)}; check --model, --num-classes and --img-size"
            )
    model.load_state_dict(state)
