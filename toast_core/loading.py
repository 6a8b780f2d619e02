"""Saving a pruned model with its schedule inside, and loading any model: from timm, from weights, or from such a file."""

import json
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from toast_core.errors import DeviceError, ModelError, ScheduleError, SetupError
from toast_core.files import cannot_write, check_can_write, first_line, sha256_of, write_whole
from toast_core.models.adapters.rotary import Rotation
from toast_core.models.build import build_baseline, load_baseline
from toast_core.models.checkpoint import NO_FILE, is_place
from toast_core.models.checkpoint.kinds import SAFETENSORS, kind_of
from toast_core.models.checkpoint.numbers import check_numbers
from toast_core.models.checkpoint.tensors import read_safetensors
from toast_core.models.choose import Build, pruned_build
from toast_core.models.info import ModelInfo, get_info
from toast_core.models.names import check_name
from toast_core.models.zero_shot import CosineHead, attach
from toast_core.preprocessing import CLASS_ORDERS, Preprocessing
from toast_core.pruning.execution.apply import apply_plan
from toast_core.pruning.execution.block import DynamicChannels, FixedChannels
from toast_core.pruning.planner import make_plan
from toast_core.pruning.statistics import Statistics
from toast_core.schedule.compensation import NONE
from toast_core.schedule.execution import EXECUTIONS
from toast_core.schedule.schedule import Schedule

HEADER_KEY = "toast"
HEADER_VERSIONS = (1, 2)  # 2: with what `_input_of` says, which an older program would leave out in silence


def load_model(
    name: str | None = None,
    weights: str | Path | None = None,
    num_classes: int | None = None,
    img_size: int | None = None,
    device: str | torch.device = "cpu",
    seed: int = 0,
    in_chans: int | None = None,
    use_ema: bool = False,
) -> nn.Module:
    """Return a supported model in eval mode, with `toast_info` on it.

    Args:
        name: a timm model name (a tag such as `.mae` is allowed), `demo_vit` or `demo_swin`, hf-hub:OWNER/NAME or local-dir:FOLDER; not
            needed where `weights` is a file that `save_model` wrote, or has a config.json that names the model.
        weights: a checkpoint as `toast_core.models.checkpoint.read_checkpoint` reads it, or a file written by `save_model`; `random`
            (from `seed`); `none` for shapes without values, for counting only; None for the embedded weights of a demo, those that `name`
            brings, else timm's pretrained ones.
        num_classes: of the classifier; None takes the weight file's, or the model's own, or 1000; 0 builds a backbone without one.
        img_size: of the square input in pixels; None takes the weight file's, where it shows one, or the model's own.
        in_chans: channels of the input, 1 or 3; None takes the weight file's, or the model's own.
        use_ema: take a checkpoint's averaged weights.

    Raises:
        ModelError: unknown or unsupported name, weights that cannot be read or do not fit.
        DeviceError: the device is not on this machine.
    """
    path = Path(weights) if weights is not None and str(weights) not in NO_FILE and not is_place(weights) else None
    header = read_header(path) if path is not None and path.is_file() and kind_of(path) == SAFETENSORS else None
    if header is None or path is None:
        model = load_baseline(name, weights, num_classes, img_size, seed, in_chans, use_ema)
        return model if weights == "none" else _moved(model, device)
    if use_ema:
        raise ModelError(f"{path} holds a pruned model and no averaged (EMA) weights; leave out --use-ema")
    stored_chans = header["input"]["in_chans"]
    for label, given, stored in (
        ("model", name, header["name"]),
        ("num-classes", num_classes, header["num_classes"]),
        ("img-size", img_size, header["img_size"]),
        ("in-chans", in_chans if stored_chans else None, stored_chans),
    ):
        if given is not None and given != stored:
            raise ModelError(f"{path} holds a pruned model with {label} {stored}, not {given}; leave out --{label}")
    model = _load_pruned(path, header)
    if in_chans not in (None, channels := model.patch_embed.proj.in_channels):
        raise ModelError(f"{path} holds a pruned model with in-chans {channels}, not {in_chans}; leave out --in-chans")
    return _moved(model, device)


def _moved(model: nn.Module, device: str | torch.device) -> nn.Module:
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:
        reason = first_line(error, 100)
        raise DeviceError(f"device {str(device)!r} cannot be used on this machine ({reason}); use cpu, or see toast doctor") from error


def save_model(model: nn.Module, path: str | Path) -> None:
    """Write a pruned model as one .safetensors file that `load_model` reads without the original weights.

    Raises:
        ModelError: the model is not pruned, or the file cannot be written.
    """
    info, path = get_info(model), Path(path)
    if info.execution == "baseline":
        raise ModelError(f"{info.name} is not pruned; apply a plan before saving, or save it with safetensors.torch.save_file")
    check_output(path)
    if info.weights == "none":
        raise ModelError(f"{info.name} was loaded without weights, for counting only; load it with weights to save it")
    of_input = _input_of(info)
    header = {
        "version": HEADER_VERSIONS[1 if of_input else 0],
        "name": info.name,
        "weights": info.weights,
        "num_classes": info.shape.num_classes,
        "img_size": info.shape.image_size,
        "execution": info.execution,
        "schedule": info.schedule.to_dict(),
        **of_input,
        **({"zero_shot": model.head.tower_classes} if isinstance(getattr(model, "head", None), CosineHead) else {}),
    }
    state, text = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}, json.dumps(header)
    try:
        write_whole(path, lambda temporary: save_file(state, temporary, {HEADER_KEY: text}))
    except (OSError, SafetensorError) as error:
        raise ModelError(cannot_write(path, error)) from error


def _input_of(info: ModelInfo) -> dict:
    """What a file says about images beside the sizes: only what is not timm's own for the name, so that other files stay as they were."""
    said = {
        "preprocessing": info.preprocessing.to_dict(), "classes": list(info.classes or ()), "class_order": info.class_order,
        "in_chans": info.in_chans, "random_classifier": info.random_classifier,
        "projection": info.projection,
    }
    return {name: value for name, value in said.items() if value}


def _read_input(header: dict) -> dict:
    """The fields of a ModelInfo that `_input_of` wrote, checked; files without them give its defaults."""
    classes, order, chans, random = (header.get(name) for name in ("classes", "class_order", "in_chans", "random_classifier"))
    if classes is not None and not (
        isinstance(classes, list) and len(classes) == header["num_classes"] and all(isinstance(name, str) for name in classes)
    ):
        raise ValueError("classes are no list of a name each")
    projection = header.get("projection")
    if projection not in (None, True):
        raise ValueError(f"projection {projection!r:.40}")
    if order not in (None, *CLASS_ORDERS) or chans not in (None, 1, 3) or random not in (None, True):
        raise ValueError(f"class order {order!r:.40}, in_chans {chans!r:.40} or random_classifier {random!r:.40}")
    return {
        "preprocessing": Preprocessing(**header.get("preprocessing", {})), "classes": tuple(classes) if classes else None,
        "class_order": order, "in_chans": chans, "random_classifier": bool(random),
        "projection": bool(projection),
    }


def check_output(path: Path) -> None:
    """Raise a ModelError unless a model can be written at `path`; asked before the work, so that none is lost."""
    check_can_write(path, ModelError, ".safetensors")


def read_header(path: Path) -> dict | None:
    """Return what `save_model` wrote beside the weights, or None for a plain weights file.

    Raises:
        ModelError: the file is not safetensors, or the header is damaged or of another version.
    """
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(HEADER_KEY)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"weights file {path} is not a complete safetensors file ({error}); copy it again or convert it anew") from error
    if text is None:
        return None
    try:
        header = json.loads(text)
        version = header["version"]
        if type(version) is not int or version not in HEADER_VERSIONS:
            raise ModelError(f"{path} has header version {version!r}, this program reads {HEADER_VERSIONS[-1]}; update the program")
        header["schedule"] = Schedule.from_dict(header["schedule"])
        sizes, texts = [header[key] for key in ("num_classes", "img_size")], [header[key] for key in ("name", "weights", "execution")]
        sizes.append(header.get("zero_shot", 0))
        least = (0, 1, 0)  # a backbone has no classes, and a tower may have no projection
        if not all(type(size) is int and size >= low for size, low in zip(sizes, least, strict=True)):
            raise ValueError("a size is none")
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("a name is none")
        if header["execution"] not in EXECUTIONS:
            raise ValueError(f"execution {header['execution']!r}")
        header["input"] = _read_input(header)
        check_name(header["name"])
    except ModelError:
        raise
    except (KeyError, TypeError, ValueError, RecursionError, ScheduleError, SetupError) as error:
        raise ModelError(f"{path} has a damaged header ({error}); write the file again with toast apply") from error
    return header


def unfilled(baseline: nn.Module, schedule: Schedule, execution: str) -> nn.Module:
    """Return a pruned copy in the shapes that follow from the schedule; which channels stay, and values, are to be loaded into it.

    Raises:
        PlanError, ScheduleError: as `make_plan` and `apply_plan`.
    """
    plan = make_plan(baseline, replace(schedule, compensation=NONE), Statistics.blank(get_info(baseline).shape))
    return apply_plan(baseline, replace(plan, schedule=schedule), execution)


def _load_pruned(path: Path, header: dict) -> nn.Module:
    """Build the pruned shapes from the schedule, then fill them with the file's weights and indices."""
    schedule: Schedule = header["schedule"]
    state, tower = read_safetensors(path), header.get("zero_shot", header["num_classes"])
    with torch.device("meta"):
        named = build_baseline(header["name"], Build(), 0, "none")
    build = pruned_build(state, named, tower, header["img_size"])
    baseline = build_baseline(header["name"], build, 0, header["weights"])
    if "zero_shot" in header:
        attach(baseline, torch.ones(header["num_classes"], tower or baseline.num_features), 1.0)
    baseline.toast_info = replace(get_info(baseline), **header["input"])
    info = get_info(baseline)
    model = unfilled(baseline, schedule, header["execution"])
    own = model.state_dict()
    differs = [key for key in own.keys() | state.keys() if key not in own or key not in state or own[key].shape != state[key].shape]
    if differs:
        raise ModelError(
            f"{path} does not match its own header: {len(differs)} tensors differ, first {min(differs)}; "
            "write the file again with toast apply"
        )
    check_numbers(path, {key: value for key, value in state.items() if own[key].is_floating_point()})
    _check_indices(path, model, state)
    dtypes = {value.dtype for value in state.values() if value.is_floating_point()}
    model = model.to(dtypes.pop()) if len(dtypes) == 1 else model
    model.load_state_dict(state)
    model.toast_info = replace(model.toast_info, weights=f"{info.weights}; {path.name} sha256:{sha256_of(path)[:12]}")
    return model.eval()


def _check_indices(path: Path, model: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Raise a ModelError where an index in the file points outside the channels or tokens that there are."""
    for name, module in model.named_modules():
        if isinstance(module, FixedChannels | DynamicChannels | Rotation):
            buffers = [(f"{name}.{buffer}", value) for buffer, value in module.named_buffers() if f"{name}.{buffer}" in state]
            if not buffers:  # a rotation that keeps every dimension
                continue
            key, value = buffers[0]
            found = state[key]
            outside = found.dtype != value.dtype or bool((found < 0).any()) or bool((found >= module.positions).any())
            if outside or bool((found.diff() <= 0).any()):
                raise ModelError(
                    f"{path} has a damaged index {key}: it must ascend below {module.positions}; write the file again with toast apply"
                )
