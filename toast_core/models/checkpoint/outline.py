"""What model some weights are of: described from their shapes, and timm's names that fit them."""

import re
from collections.abc import Mapping
from itertools import takewhile
from typing import Any

import timm
import torch
from torch import nn

from toast_core.models.adapters import timm_modules
from toast_core.models.checkpoint.claims import NOTHING_CLAIMED, Claims, contradiction
from toast_core.models.demo import DEMO_BUILDERS
from toast_core.models.form import Form, form_of, zero_biases

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


def described(state: State, other_head: str = "") -> str:
    """Return in words what model a state dict in timm's names is of, as far as shapes say it: blocks, width, patch, classes.

    `other_head` is not empty where the file has a classifier that is left aside.
    """
    form = form_of(state)
    if form.patch is None or not form.depth:
        return f"{len(state)} tensors of no vision transformer that is known, first {next(iter(state), 'none')}"
    blocks = f"{'-'.join(map(str, form.stages)) if form.stages else form.depth} block{'s' * (form.depth != 1)}"
    kind = f"a {'Swin' if form.stages else 'ViT'} with {blocks}"
    more = [f"of width {form.width}", f"{'x'.join(map(str, sorted(set(form.patch))))}-pixel patches of {form.channels} channels"]
    if form.registers:
        more.append(f"{form.registers} registers")
    if form.distillation:
        more.append("a distillation token")
    if form.windows:
        more.append(f"windows of {form.windows[0]}")
    head = f"{form.classes} outputs" if form.classes else "another head than timm's" if other_head else "no classifier"
    return f"{kind} {', '.join(more)}, {head}"


def fitting(state: State, claims: Claims = NOTHING_CLAIMED, img_size: int | None = None, prefer: str = "") -> tuple[str, ...]:
    """Return timm's names of at most 3 supported models that have these tensors in these shapes, and the claims; the likeliest first.

    Args:
        state: in timm's names; position embeddings and classifier may be of any size.
        img_size: names of this image size come first.
        prefer: names that begin as this does come first, the longer the same beginning, the earlier.
    """
    form = form_of(state)
    if form.patch is None:
        return ()
    names = [name for name in [*timm.list_models(), *DEMO_BUILDERS] if _may_fit(name, form)]
    names.sort(key=lambda name: (-_same_beginning(name, prefer), img_size is None or f"_{img_size}" not in name, len(name), name))
    found: list[str] = []
    for name in names:
        if len(found) < _MOST and _fits(name, state, form, claims):
            found.append(name)
    return tuple(found)


def hindrance(state: State, claims: Claims) -> str:
    """Why no name of `fitting` meets the claims, where the shapes alone have one; empty where they have none."""
    names = fitting(state)
    what = contradiction(_outline(names[0], state, form_of(state), {}), claims) if names else ""
    return f"{names[0]} has these shapes, but config.json says {what}" if what else ""


def _same_beginning(name: str, other: str) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(name, other, strict=False)))


def _may_fit(name: str, form: Form) -> bool:
    """Whether the words of a name leave a chance, so that few models are built."""
    if name in DEMO_BUILDERS:
        return form.channels == 1
    staged = form.stages is not None
    if timm.models.model_entrypoint(name).__module__ not in timm_modules() or name.startswith("swin") != staged:
        return False
    words = name.split("_")
    width = next((_WIDTHS[word] if not staged else _SWIN_WIDTHS.get(word) for word in words if word in _WIDTHS), None)
    size = re.search(r"patch(\d+)", name)
    fits_size = size is None or form.patch is None or int(size.group(1)) == form.patch[1]
    return (width is None or width == form.width or "plus" in words) and fits_size


def _fits(name: str, state: State, form: Form, claims: Claims) -> bool:
    for first in ({"depth": 1}, {}):  # one block tells most of the names apart, and is built in no time
        if first and (name in DEMO_BUILDERS or form.stages):
            continue
        try:
            own = _shapes(_outline(name, state, form, first))
        except (RuntimeError, ValueError, TypeError, AssertionError):
            return False
        free = zero_biases(state) - own.keys()
        given = {key: tuple(value.shape) for key, value in state.items() if not _CHANGEABLE.fullmatch(key) and key not in free}
        if first:
            given = {key: shape for key, shape in given.items() if not re.match(r"blocks\.[1-9]", key)}
        if own != given:
            return False
    return not contradiction(_outline(name, state, form, {}), claims)


def _outline(name: str, state: State, form: Form, options: dict[str, Any]) -> nn.Module:
    """The named model without values, pooled as the weights' last norm says."""
    with torch.device("meta"):
        if name in DEMO_BUILDERS:
            return DEMO_BUILDERS[name]()
        if form.pooled_norm:
            options = options | {"global_pool": "avg"}
        return timm.create_model(name, num_classes=form.classes or 0, in_chans=form.channels, **options)


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in model.state_dict().items() if not _CHANGEABLE.fullmatch(key)}
