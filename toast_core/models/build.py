"""Building supported models: with seeded random values, timm's pretrained ones, or those of a file."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import timm
import torch
from torch import nn

from toast_core.errors import ModelError
from toast_core.files import first_line
from toast_core.models.adapters import adapter_for
from toast_core.models.checkpoint import DEMO_WEIGHTS, Checkpoint, asked_for, check_claims, fitting, is_place
from toast_core.models.checkpoint.config import is_projection
from toast_core.models.choose import Build, choose_build
from toast_core.models.demo import DEMO_BUILDERS, DEMO_IMAGE_SIZE, DEMO_MEAN, DEMO_STD
from toast_core.models.fill import classifier_keys, fill
from toast_core.models.hub import prefer_cache
from toast_core.models.info import ModelInfo
from toast_core.models.missing import watch_missing
from toast_core.models.names import check_name
from toast_core.models.weights import OFFLINE_HINT
from toast_core.setup import DEMO_CLASSES

RANDOM_CLASSIFIER = "classifier random"
_PAPER_CLASSES = 1000


def load_baseline(
    name: str | None, weights: str | Path | None = None, num_classes: int | None = None, img_size: int | None = None, seed: int = 0,
    in_chans: int | None = None, use_ema: bool = False,
) -> nn.Module:
    """Return a supported timm model on the CPU in eval mode, with `toast_info` on it; see `load_model` for the arguments.

    Raises:
        ModelError: unknown or unsupported name, weights that cannot be read or do not fit.
    """
    if name is not None and not is_place(name):
        check_name(name)
    name, checkpoint = asked_for(name, weights, use_ema)
    check_name(name)
    _check_asked(name, num_classes, img_size, in_chans)
    asked = Build(num_classes, img_size, in_chans)
    if weights == "none":
        with torch.device("meta"):
            return build_baseline(name, asked, seed, "none")
    if checkpoint is None:
        return load_pretrained(name, asked, seed) if weights is None else build_baseline(name, asked, seed, f"random, seed {seed}")
    with torch.device("meta"):
        named = build_baseline(name, Build(), seed, "none")
    if num_classes and checkpoint.other_head:
        raise ModelError(
            f"weights file {checkpoint.path} {checkpoint.other_head}, and one of {num_classes} classes would be random; "
            "pass --num-classes 0 to compare features"
        )
    known = replace(asked, img_size=img_size or checkpoint.img_size, other_head=checkpoint.other_head)
    chosen = choose_build(checkpoint.state, checkpoint.path, named, known)
    model = build_baseline(name, chosen, seed, checkpoint.source)
    filled = fill(model, checkpoint.state, checkpoint.path, sized=img_size is not None)
    info = _informed(model, checkpoint, (*chosen.notes, *filled.notes))
    if weights is None and name in DEMO_BUILDERS and info.shape.num_classes:
        info = replace(info, classes=DEMO_CLASSES)
    model.toast_info = with_random_classifier(info) if filled.random_classifier else info
    return model


def _informed(model: nn.Module, checkpoint: Checkpoint, notes: tuple[str, ...]) -> ModelInfo:
    """The model's info with what its checkpoint says beside the weights, and where the weights can be looked at again."""
    info, path, own = model.toast_info, checkpoint.path.resolve(), model.state_dict()
    file = None
    state = checkpoint.state
    if checkpoint.verbatim and state.keys() == own.keys() and all(state[key].shape == own[key].shape for key in own):
        file = (path.relative_to(DEMO_WEIGHTS.parents[1]) if path.is_relative_to(DEMO_WEIGHTS) else path).as_posix()
    told = (*checkpoint.notes, *notes, *check_claims(model, checkpoint.claims, info.name, partial(fitting, state, checkpoint.claims)))
    classes = checkpoint.classes if checkpoint.num_classes == info.shape.num_classes else None
    projection = checkpoint.projection and bool(info.shape.num_classes)
    return replace(info, weights_file=file, preprocessing=checkpoint.preprocessing, classes=classes, notes=told, projection=projection)


def load_pretrained(name: str, asked: Build, seed: int) -> nn.Module:
    """Return a model with timm's pretrained weights, from the hub or its local cache; a backbone without classifier stays without one.

    Raises:
        ModelError: they cannot be fetched, or leave other tensors than the classifier as they were drawn.
    """
    described = timm.get_pretrained_cfg(name)
    trained = described.num_classes if described is not None else None
    notes = []
    if trained == 0 and asked.num_classes is None:
        asked = replace(asked, num_classes=0)
        notes.append("timm's weights have no classifier, so the model is built without one: its features are compared")
    if asked.in_chans is not None and described is not None and asked.in_chans != described.input_size[0]:
        notes.append(f"timm's conversion made the patch embedding for {described.input_size[0]} channels one for {asked.in_chans}")
    with watch_missing() as missing:
        model = build_baseline(name, asked, seed, "timm pretrained", pretrained=True)
    head = classifier_keys(model)
    if rest := sorted(set(missing) - head):
        raise ModelError(
            f"the pretrained weights of {name} lack {rest[0]} and {len(rest) - 1} more, which would stay random; "
            "use another tag, or --weights FILE"
        )
    projection = described is not None and is_projection(described.architecture, described.tag) and model.num_classes == trained != 0
    info = replace(model.toast_info, notes=tuple(notes), projection=projection)
    is_random = bool(head & set(missing)) or bool(head and trained is not None and model.num_classes != trained)
    model.toast_info = with_random_classifier(info) if is_random else info
    return model


def with_random_classifier(info: ModelInfo) -> ModelInfo:
    """The info of a model whose classifier was drawn, not trained: it says so wherever the weights are named."""
    return replace(info, weights=f"{info.weights}, {RANDOM_CLASSIFIER}", random_classifier=True)


def _check_asked(name: str, num_classes: int | None, img_size: int | None, in_chans: int | None) -> None:
    if num_classes is not None and num_classes < 0:
        raise ModelError(f"num-classes is {num_classes}; write a whole number of at least 1, or 0 for a model without classifier")
    if img_size is not None and img_size < 1:
        raise ModelError(f"img-size is {img_size}; write a whole number of at least 1")
    if in_chans not in (None, 1, 3):
        raise ModelError(f"in-chans is {in_chans}; write 1 for grey or 3 for colour pictures")
    if in_chans == 3 and name in DEMO_BUILDERS:
        raise ModelError(f"{name} takes 1 channel, not 3; leave out --in-chans")


def build_baseline(name: str, build: Build, seed: int, weights: str, pretrained: bool = False) -> nn.Module:
    """Build a supported model with seeded random values, or timm's pretrained ones; `build` has what its name leaves open.

    Raises:
        ModelError: it cannot be built, is not supported, or its pretrained weights cannot be fetched.
    """
    img_size = build.img_size
    options = {"img_size": img_size, "global_pool": build.global_pool}
    options = {key: value for key, value in options.items() if value is not None}
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if name in DEMO_BUILDERS:
                model = DEMO_BUILDERS[name](10 if build.num_classes is None else build.num_classes, **options)
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
                classes = classes if build.num_classes is None else build.num_classes
                channels = {} if build.in_chans is None else {"in_chans": build.in_chans}
                model = timm.create_model(name, pretrained=pretrained, num_classes=classes, **channels, **options)
    except (AssertionError, RuntimeError, OSError, ValueError, TypeError, ZeroDivisionError) as error:
        if pretrained and "loading state_dict" in str(error):
            reason = first_line(error, 200)
            raise ModelError(f"the pretrained weights of {name} do not fit it ({reason}); use another tag, or --weights FILE") from error
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
    model.toast_info = ModelInfo(name, weights, adapter.shape(model, name), in_chans=None if name in DEMO_BUILDERS else build.in_chans)
    return model.eval()
