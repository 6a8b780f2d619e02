"""Where a pruned file's baseline can be found again: from what the file says of it, so that the file alone can be certified."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from toast_core.errors import CertificateError
from toast_core.files import sha256_of
from toast_core.loading import read_header
from toast_core.models.build import RANDOM_CLASSIFIER
from toast_core.models.checkpoint import DEMO_WEIGHTS, NO_FILE, is_place
from toast_core.models.checkpoint.kinds import SAFETENSORS, kind_of
from toast_core.models.demo import DEMO_BUILDERS
from toast_core.preprocessing import Preprocessing
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup

_FILE = re.compile(r"(?P<name>[^/\\]+) sha256:(?P<digest>[0-9a-f]{12})(?P<averaged> \(EMA\))?")  # as a checkpoint's `source` says it
_SEED = 0  # of random weights: a certificate takes no other


def baseline_of(setup: Setup) -> tuple[Setup, Schedule] | None:
    """Return the setup of the baseline that the setup's pruned file was made from, and the schedule inside; None of any other weights.

    The baseline is the demo's embedded one, timm's, random from seed 0, or a file of the same name and content beside the pruned file or
    in the working folder. Sizes and preprocessing are those that the file says, where the setup leaves them open.

    Raises:
        CertificateError: it is none of these, or another model is named.
        ModelError: the file is damaged.
    """
    if setup.weights is None or setup.weights in NO_FILE or is_place(setup.weights):
        return None
    path = Path(setup.weights)
    header = read_header(path) if path.is_file() and kind_of(path) == SAFETENSORS else None
    if header is None:
        return None
    if setup.model not in (None, header["name"]):
        raise CertificateError(f"{path} holds a pruned {header['name']}, not {setup.model}; leave out --model")
    weights, averaged = _weights(path, header)
    found = replace(setup, model=header["name"], weights=weights, use_ema=averaged)
    sizes = {"num_classes": header["num_classes"], "img_size": header["img_size"], "in_chans": header["input"]["in_chans"]}
    said = sizes | _as_options(header["input"]["preprocessing"]) | {"class_order": header["input"]["class_order"]}
    open_ones: dict[str, Any] = {name: value for name, value in said.items() if getattr(setup, name) in (None, False)}
    return replace(found, **open_ones), header["schedule"]


def _weights(path: Path, header: dict) -> tuple[str | None, bool]:
    """The option that loads the baseline's weights, and whether the averaged ones."""
    said = header["weights"].removesuffix(f", {RANDOM_CLASSIFIER}")
    if said == "timm pretrained":
        return None, False
    if said == f"random, seed {_SEED}":
        return "random", False
    match = _FILE.fullmatch(said)
    if match is not None:
        named = DEMO_WEIGHTS / f"{header['name']}.safetensors"
        if header["name"] in DEMO_BUILDERS and match["name"] == named.name and _is(named, match["digest"]):
            return None, False
        for folder in (path.parent, Path()):
            if _is(folder / match["name"], match["digest"]):
                return str(folder / match["name"]), bool(match["averaged"])
    raise CertificateError(
        f"{path} holds the pruned model, and its baseline came from {said!r:.120}, which is neither beside it nor in this folder; "
        f"put it there, or give --weights BASELINE --schedule {path} --export {path}"
    )


def _is(file: Path, digest: str) -> bool:
    return file.is_file() and sha256_of(file).startswith(digest)


def _as_options(preprocessing: Preprocessing) -> dict[str, object]:
    """In the words of a setup."""
    found = preprocessing.to_dict()
    return {name: ",".join(map(str, value)) if isinstance(value, list | tuple) else value for name, value in found.items()}
