"""Which model and which weights the words --model and --weights ask for together."""

from dataclasses import replace
from pathlib import Path

from toast_core.errors import ModelError
from toast_core.models.checkpoint.place import is_place
from toast_core.models.checkpoint.read import Checkpoint, read_checkpoint, refuse_unnamed
from toast_core.models.demo import DEMO_BUILDERS
from toast_core.preprocessing import OWN

DEMO_WEIGHTS = Path(__file__).resolve().parents[2] / "assets" / "fashion_mnist"
NO_FILE = ("random", "none")


def asked_for(name: str | None, weights: str | Path | None, use_ema: bool = False) -> tuple[str, Checkpoint | None]:
    """Return timm's name of the model, and its weights where a file, a folder or the hub has them.

    Args:
        name: timm's, a demo's, hf-hub:OWNER/NAME or local-dir:FOLDER, which bring their own weights unless others are named; None where
            the weights' config.json says it.
        weights: see `read_checkpoint`; `random` and `none` are no file; None: a demo's own, or timm's pretrained ones (no checkpoint).

    Raises:
        ModelError: nothing names the model, its weights cannot be read, or averaged weights are asked for where there is no checkpoint.
    """
    brought = read_checkpoint(str(name), use_ema and weights is None) if is_place(name) else None
    if weights is None and name in DEMO_BUILDERS:
        weights = DEMO_WEIGHTS / f"{name}.safetensors"
    checkpoint = brought
    if weights is not None:
        checkpoint = None if str(weights) in NO_FILE else read_checkpoint(weights, use_ema)
    if use_ema and checkpoint is None:
        raise ModelError("averaged (EMA) weights are asked for, but no checkpoint is named; pass --weights FILE, or leave out --use-ema")
    if brought is not None and checkpoint is not None and checkpoint is not brought and checkpoint.preprocessing == OWN:
        checkpoint = replace(checkpoint, preprocessing=brought.preprocessing, img_size=checkpoint.img_size or brought.img_size)
    named = brought or checkpoint
    if name is not None and brought is None:
        if checkpoint is not None and checkpoint.architecture not in (None, name.partition(".")[0]):
            note = f"{checkpoint.path.name} or its config.json names {checkpoint.architecture}; {name} was asked for and is built"
            checkpoint = replace(checkpoint, notes=(*checkpoint.notes, note))
        return name, checkpoint
    if named is None:
        raise ModelError(f"no model is named and {weights or 'no weights file'} names none; pass --model, for example --model demo_vit")
    if named.architecture is None:
        raise refuse_unnamed(named)
    return named.architecture, checkpoint
