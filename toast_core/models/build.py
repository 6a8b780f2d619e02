"""Building supported models: with seeded random values, timm's pretrained ones, or those of a file."""

from dataclasses import replace
from pathlib import Path

import timm
import torch
from torch import nn

from toast_core.errors import ModelError
from toast_core.files import first_line
from toast_core.models.adapters import adapter_for
from toast_core.models.checkpoint import DEMO_WEIGHTS, Checkpoint, asked_for, check_claims, is_place
from toast_core.models.demo import DEMO_BUILDERS, DEMO_IMAGE_SIZE, DEMO_MEAN, DEMO_STD
from toast_core.models.hub import prefer_cache
from toast_core.models.info import ModelInfo
from toast_core.models.names import check_name
from toast_core.models.weights import OFFLINE_HINT, fill
from toast_core.setup import DEMO_CLASSES

_PAPER_CLASSES = 1000


def load_baseline(
    name: str | None, weights: str | Path | None = None, num_classes: int | None = None, img_size: int | None = None, seed: int = 0,
    in_chans: int | None = None, use_ema: bool = False,
) -> nn.Module:
    """Return a supported timm model on the CPU in eval mode, with `toast_info` on it; see `load_model` for the arguments.

    Raises:
        ModelError: unknown or unsupported name, weights that cannot be read or do not fit.
    """
    for label, value in (("num-classes", num_classes), ("img-size", img_size), ("in-chans", in_chans)):
        if value is not None and value < (label != "num-classes"):
            raise ModelError(f"{label} is {value}; write a whole number of at least {int(label != 'num-classes')}")
    if name is not None and not is_place(name):
        check_name(name)
    name, checkpoint = asked_for(name, weights, use_ema)
    check_name(name)
    if weights == "none":
        with torch.device("meta"):
            return build_baseline(name, num_classes, img_size, seed, "none", in_chans=in_chans)
    if checkpoint is None:
        pretrained = weights is None
        label = "timm pretrained" if pretrained else f"random, seed {seed}"
        return build_baseline(name, num_classes, img_size, seed, label, pretrained, in_chans)
    sizes = (checkpoint.num_classes if num_classes is None else num_classes, img_size or checkpoint.img_size)
    model = build_baseline(name, *sizes, seed, checkpoint.source, False, in_chans)
    fill(model, checkpoint.state, checkpoint.path)
    model.toast_info = _informed(model, checkpoint)
    if weights is None and name in DEMO_BUILDERS:
        model.toast_info = replace(model.toast_info, classes=DEMO_CLASSES)
    return model


def _informed(model: nn.Module, checkpoint: Checkpoint) -> ModelInfo:
    """The model's info with what its checkpoint says beside the weights, and where the weights can be looked at again."""
    info, path, own = model.toast_info, checkpoint.path.resolve(), model.state_dict()
    file = None
    state = checkpoint.state
    if checkpoint.verbatim and state.keys() == own.keys() and all(state[key].shape == own[key].shape for key in own):
        file = (path.relative_to(DEMO_WEIGHTS.parents[1]) if path.is_relative_to(DEMO_WEIGHTS) else path).as_posix()
    notes = (*info.notes, *checkpoint.notes, *check_claims(model, checkpoint.claims, info.name))
    classes = checkpoint.classes if checkpoint.num_classes == info.shape.num_classes else None
    return replace(info, weights_file=file, preprocessing=checkpoint.preprocessing, classes=classes, notes=notes)


def build_baseline(
    name: str, num_classes: int | None, img_size: int | None, seed: int, weights: str, pretrained: bool = False,
    in_chans: int | None = None,
) -> nn.Module:
    """Build a supported model with seeded random values, or timm's pretrained ones.

    Raises:
        ModelError: it cannot be built, is not supported, or its pretrained weights cannot be fetched.
    """
    if name in DEMO_BUILDERS and in_chans not in (None, 1):
        raise ModelError(f"{name} takes 1 channel, not {in_chans}; leave out --in-chans")
    asked = {"img_size": img_size, "in_chans": None if name in DEMO_BUILDERS else in_chans}
    options = {name: value for name, value in asked.items() if value is not None}
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if name in DEMO_BUILDERS:
                model = DEMO_BUILDERS[name](10 if num_classes is None else num_classes, **options)
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
                    prefer_cache()
                described = timm.get_pretrained_cfg(name)  # None where another package registers a model without saying more
                classes = (described and described.num_classes) or _PAPER_CLASSES
                classes = classes if num_classes is None else num_classes
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
    model.toast_info = ModelInfo(name, weights, adapter.shape(model, name), in_chans=options.get("in_chans"))
    return model.eval()
