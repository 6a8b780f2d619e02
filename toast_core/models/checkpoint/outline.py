"""What model some weights are of: described from their shapes, and timm's names that fit them."""

import re
from collections.abc import Mapping
from typing import Any

import timm
import torch
from torch import nn

from toast_core.models.adapters import timm_modules
from toast_core.models.checkpoint.claims import NOTHING_CLAIMED, Claims, contradiction
from toast_core.models.demo import DEMO_BUILDERS

# the width that a word of timm's names stands for; names without such a word are built to see
_WIDTHS = {
    "tiny": 192,
    "small": 384,
    "base": 768,
    "large": 1024,
    "huge": 1280,
    "giant": 1408,
    "gigantic": 1664,
    "so400m": 1152,
    "giantopt": 1536,
    "medium": 512,
    "betwixt": 640,
    "xsmall": 256,
}
_SWIN_WIDTHS = {"tiny": 96, "small": 96, "base": 128, "large": 192}
_CHANGEABLE = re.compile(r"pos_embed|(head|head_dist|head\.fc)\.(weight|bias)")  # by image size and number of classes
_MOST = 3

State = Mapping[str, torch.Tensor]


def described(state: State) -> str:
    """Return in words what model a state dict in timm's names is of, as far as shapes say it: blocks, width, patch, classes."""
    patch = state.get("patch_embed.proj.weight")
    depth = len({name.split(".")[1] for name in state if re.match(r"blocks\.\d+\.", name)})
    stages = _stages(state)
    if patch is None or patch.ndim != 4 or not (depth or stages):
        return f"{len(state)} tensors of no vision transformer that is known, first {next(iter(state), 'none')}"
    kind = f"a Swin with {'-'.join(map(str, stages))} blocks" if stages else f"a ViT with {depth} block{'s' * (depth != 1)}"
    more = [f"of width {patch.shape[0]}", f"{'x'.join(map(str, sorted(set(patch.shape[2:]))))}-pixel patches of {patch.shape[1]} channels"]
    if (registers := state.get("reg_token")) is not None and registers.ndim == 3:
        more.append(f"{registers.shape[1]} registers")
    if "dist_token" in state:
        more.append("a distillation token")
    if (window := window_of(state)) is not None:
        more.append(f"windows of {window}")
    classes = classes_in(state)
    return f"{kind} {', '.join(more)}, {f'{classes} outputs' if classes else 'no classifier'}"


def classes_in(state: State) -> int | None:
    """Return how many classes the classifier of these weights tells apart; None where there is no classifier in them."""
    for key in ("head.weight", "head.fc.weight"):
        if key in state and state[key].ndim == 2 and len(state[key]):
            return state[key].shape[0]
    return None


def window_of(state: State) -> int | None:
    """Return the side of a Swin's windows; None where there are no bias tables."""
    table = state.get("layers.0.blocks.0.attn.relative_position_bias_table")
    return (round(table.shape[0] ** 0.5) + 1) // 2 if table is not None and table.ndim == 2 else None


def fitting(state: State, claims: Claims = NOTHING_CLAIMED, img_size: int | None = None, prefer: str = "") -> tuple[str, ...]:
    """Return timm's names of at most 3 supported models that have these tensors in these shapes, and the claims; the likeliest first.

    Args:
        state: in timm's names; position embeddings and classifier may be of any size.
        img_size: names of this image size come first.
        prefer: names that begin so come first.
    """
    patch = state.get("patch_embed.proj.weight")
    if patch is None or patch.ndim != 4:
        return ()
    names = [name for name in [*timm.list_models(), *DEMO_BUILDERS] if _may_fit(name, patch, bool(_stages(state)))]
    names.sort(key=lambda name: (not name.startswith(prefer), img_size is None or f"_{img_size}" not in name, len(name), name))
    found: list[str] = []
    for name in names:
        if len(found) < _MOST and _fits(name, state, claims):
            found.append(name)
    return tuple(found)


def _stages(state: State) -> list[int]:
    """How many blocks each stage of a Swin has; empty for other models."""
    blocks = {tuple(map(int, match.groups())) for name in state if (match := re.match(r"layers\.(\d+)\.blocks\.(\d+)\.", name))}
    return [sum(stage == own for own, _ in blocks) for stage in sorted({stage for stage, _ in blocks})]


def _may_fit(name: str, patch: torch.Tensor, staged: bool) -> bool:
    """Whether the words of a name leave a chance, so that few models are built."""
    if name in DEMO_BUILDERS:
        return patch.shape[1] == 1
    if timm.models.model_entrypoint(name).__module__ not in timm_modules() or name.startswith("swin") != staged:
        return False
    words = name.split("_")
    width = next((_WIDTHS[word] if not staged else _SWIN_WIDTHS.get(word) for word in words if word in _WIDTHS), None)
    size = re.search(r"patch(\d+)", name)
    return (width is None or width == len(patch) or "plus" in words) and (size is None or int(size.group(1)) == patch.shape[-1])


def _fits(name: str, state: State, claims: Claims) -> bool:
    for first in ({"depth": 1}, {}):  # one block tells most of the names apart, and is built in no time
        if first and (name in DEMO_BUILDERS or _stages(state)):
            continue
        try:
            own = _shapes(_outline(name, state, first))
        except (RuntimeError, ValueError, TypeError, AssertionError):
            return False
        given = {key: tuple(value.shape) for key, value in state.items() if not _CHANGEABLE.fullmatch(key)}
        if first:
            given = {key: shape for key, shape in given.items() if not re.match(r"blocks\.[1-9]", key)}
        if own != given:
            return False
    return not contradiction(_outline(name, state, {}), claims)


def _outline(name: str, state: State, options: dict[str, Any]) -> nn.Module:
    """The named model without values, pooled as the weights' last norm says."""
    chans = state["patch_embed.proj.weight"].shape[1]
    with torch.device("meta"):
        if name in DEMO_BUILDERS:
            return DEMO_BUILDERS[name]()
        if "fc_norm.weight" in state and "norm.weight" not in state:
            options = options | {"global_pool": "avg"}
        return timm.create_model(name, num_classes=classes_in(state) or 0, in_chans=chans, **options)


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in model.state_dict().items() if not _CHANGEABLE.fullmatch(key)}
