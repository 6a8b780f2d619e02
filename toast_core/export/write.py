"""Writing an export: into a folder of its own, run again there, compared, and only then put in its place."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from toast_core.errors import ExportError, ModelError
from toast_core.export.base import Format, Runner
from toast_core.export.formats import FORMATS
from toast_core.export.record import ExportRecord as ExportRecord
from toast_core.files import check_can_write, first_line, sha256_of
from toast_core.models.info import get_info

LARGEST_RELATIVE_DIFFERENCE = 1e-4
_BATCH_SIZE = 32


def export_model(model: nn.Module, format_name: str, path: str | Path, images: torch.Tensor, opset: int | None = None) -> ExportRecord:
    """Write a model in one format, open the file, run it on the images, and keep it only where it computes the same.

    Args:
        model: a pruned model in eval mode, float32, on the CPU.
        format_name: a name in FORMATS.
        path: the file to write, with the format's suffix.
        images: (B, C, H, W) float32, what the model's transform gives; they are compared one alone and then in batches of 32.
        opset: of ONNX; None takes 18.

    Raises:
        ExportError: the format, its suffix or opset is unknown, a package is missing, the file cannot be written or run, or a logit
            is more than LARGEST_RELATIVE_DIFFERENCE of the largest one away.
        ModelError: the model is not pruned, or its weights are not loaded.
    """
    form, path = check_export(format_name, path, opset), Path(path)
    _check_model(model, images)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent) as folder:
            written = Path(folder) / path.name
            example = images[:1].expand(2, -1, -1, -1).contiguous()  # one image alone would be traced as a batch of one
            form.write(model, example, written, opset)
            difference = relative_difference(model, form.open(written), images)
            if not difference <= LARGEST_RELATIVE_DIFFERENCE:
                raise ExportError(
                    f"the {format_name} export differs from the model by {difference:.1e} of its largest logit, more than "
                    f"{LARGEST_RELATIVE_DIFFERENCE:.0e}, so it is not kept; choose another --format"
                )
            size = sum(part.stat().st_size for part in Path(folder).iterdir())
            record = ExportRecord(format_name, path.name, size, difference, len(images), sha256_of(written))
            _put_in_place(Path(folder), path)
    except OSError as error:
        raise ExportError(f"cannot write {path} ({error.strerror or first_line(error)}); choose a folder with room to write in") from error
    return record


def open_exported(path: str | Path) -> Runner:
    """Return what runs an exported file, found by its suffix: images (B, C, H, W) in float32 -> logits (B, classes).

    Raises:
        ExportError: no such file, a suffix of no format or of two, or a file that cannot be run.
        ModelError: a safetensors file without a schedule, or a damaged one.
    """
    path = Path(path)
    form = _format_of(path)
    if not path.is_file():
        raise ExportError(f"{path} is not there; name a file from toast export")
    run = form.open(path)

    def logits(images: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return run(images)

    return logits


def check_export(format_name: str, path: str | Path, opset: int | None = None) -> Format:
    """Return the format, once all that can be known before the work is found to be right.

    Raises:
        ExportError: an unknown format, another suffix, a folder that cannot be written, an opset the format has not.
    """
    path, form = Path(path), FORMATS[format_name]
    check_can_write(path, ExportError, form.suffix)
    if opset is not None and not form.takes_opset:
        raise ExportError(f"--opset {opset} is for onnx, not for {format_name}; leave it out")
    form.check(opset)
    return form


def relative_difference(model: nn.Module, run: Runner, images: torch.Tensor) -> float:
    """Return the largest difference of a logit over the largest logit; not a number where a logit is none.

    Raises:
        ExportError: the exported file fails on a batch.
    """
    difference = largest = torch.zeros(())
    for batch in _batches(images):
        with torch.inference_mode():
            expected = model(batch)
            try:
                found = run(batch)
            except Exception as error:  # torch's and ONNX Runtime's errors share no root
                raise ExportError(f"the export fails on a batch of {len(batch)} ({first_line(error)}); choose another --format") from error
        if found.shape != expected.shape:
            raise ExportError(f"the export gives logits of shape {tuple(found.shape)}, the model {tuple(expected.shape)}")
        # torch's maximum, since Python's would pass over what is not a number
        difference = torch.maximum(difference, (found - expected).abs().max())
        largest = torch.maximum(largest, expected.abs().max())
    return float(difference / largest)


def _format_of(path: Path) -> Format:
    """The format whose files end like this one; a package that cannot be loaded does not stand in the way of the others."""
    formats, failures = FORMATS.working()
    named = [name for name, form in formats.items() if form.suffix == path.suffix]
    if len(named) > 1:
        adders = " and ".join(f"{name} of {FORMATS.sources(name)[0]}" for name in named)
        raise ExportError(f"{path} may be of two formats, {adders}; uninstall one of the packages")
    if not named:
        suffixes = ", ".join(dict.fromkeys(form.suffix for form in formats.values()))
        raise ExportError("; ".join([f"{path} is no export; its name must end in {suffixes}", *failures]))
    return formats[named[0]]


def _batches(images: torch.Tensor) -> Iterator[torch.Tensor]:
    yield images[:1]
    if len(images) > 1:
        yield from images.split(_BATCH_SIZE)


def _check_model(model: nn.Module, images: torch.Tensor) -> None:
    info, parameter = get_info(model), next(model.parameters())
    if info.execution == "baseline":
        raise ModelError(f"{info.name} is not pruned; apply a schedule before exporting it")
    if info.weights == "none":
        raise ModelError(f"{info.name} was loaded without weights, for counting only; load it with weights to export it")
    if parameter.device.type != "cpu" or parameter.dtype != torch.float32 or model.training:
        raise ExportError(f"{info.name} is {parameter.dtype} on {parameter.device}; exports are made in float32, on the CPU, in eval mode")
    if not len(images):
        raise ExportError("there is no image to compare the export on; give at least one")


def _put_in_place(folder: Path, path: Path) -> None:
    """Move what was written beside `path`, the file itself last; where that fails, nothing new stays."""
    moved: list[Path] = []
    try:
        for part in sorted(folder.iterdir(), key=lambda part: part.name == path.name):
            target = path.with_name(part.name)
            part.replace(target)
            moved.append(target)
    except OSError:
        for target in moved:
            target.unlink(missing_ok=True)
        raise
