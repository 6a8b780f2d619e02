"""Measuring what a certificate says: digests first, then every form on the same images and on the clock."""

import hashlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn

from toast_core.cost.macs import count_cost
from toast_core.data.digest import images_digest
from toast_core.data.load import ImageData
from toast_core.data.noise import random_images
from toast_core.errors import CertificateError, ScheduleError
from toast_core.export import open_exported
from toast_core.files import sha256_of
from toast_core.loading import load_model
from toast_core.machine import dtype_name, processor_name
from toast_core.models.counting import count_macs, counted_macs
from toast_core.models.info import get_info
from toast_core.models.weights import weights_digest
from toast_core.schedule.schedule import Schedule
from toast_core.studies.agreement.measure import Compared, compare
from toast_core.studies.certificate.result import FORMS, VERSION, Asked, Certificate, Digests, Form, Input, Setting, Speed
from toast_core.studies.latency.pairs import Forward, time_models
from toast_core.studies.latency.result import Latencies
from toast_core.studies.tasks.bank import Bank, bank_for
from toast_core.studies.tasks.registry import task_of

PAIRS = 15
_PACKAGES = ("torch", "timm", "numpy")


@dataclass(frozen=True, eq=False)
class CertificateSubject:
    """What a certificate is about, loaded and not yet measured.

    baseline      a model that nothing was done to, on the device where everything runs
    data          images, labelled where the task needs it; calibration, where the schedule needs any
    """

    asked: Asked
    schedule: Schedule
    baseline: nn.Module
    data: ImageData
    calibration: ImageData | None

    @property
    def bank(self) -> Bank | None:
        """What a task that looks for neighbours compares the images with."""
        return bank_for(self.data, self.calibration)[0] if task_of(get_info(self.baseline).shape).seeks_neighbours else None

    def digests(self) -> Digests:
        """The digests of everything that goes in.

        Raises:
            DataError: an image cannot be read.
        """
        calibration = images_digest(self.calibration) if self.calibration is not None else None
        return Digests(weights_digest(self.baseline), self.schedule.digest(), images_digest(self.data), calibration)


def check_subject(baseline: nn.Module, schedule: Schedule) -> None:
    """Raise a CertificateError where the model is pruned already, a ScheduleError where the schedule prunes nothing or does not fit."""
    info = get_info(baseline)
    if info.execution != "baseline":
        raise CertificateError(f"{info.name} is already pruned; certify the baseline with the schedule, and give this file as --export")
    if info.weights == "none":
        raise CertificateError(f"{info.name} was loaded without weights, for counting only; load it with weights to certify it")
    schedule.check_length(len(info.shape.blocks), info.name)
    if schedule.is_baseline:
        raise ScheduleError("the schedule prunes nothing, so there is nothing to certify; give a ratio above 0 in some block")


def open_form(path: Path, device: torch.device) -> Forward:
    """Open an exported file as a function from images to its output; only a .safetensors file runs on other devices than the CPU.

    Raises:
        CertificateError: it cannot run on this device.
        ExportError: no such file, not an export's suffix, or a file that cannot be run.
        ModelError: a .safetensors file without a schedule, or a damaged one.
    """
    opened = open_exported(path)
    if path.suffix == ".safetensors":
        return load_model(weights=path, device=device)  # a model, which has parameters to count and can be moved
    if device.type != "cpu":
        raise CertificateError(f"export {path} runs on the CPU alone; certify it with --device cpu")
    return opened


def export_digest(path: Path) -> str:
    """Return the sha256 of an exported file; of a loader and the program beside it, the sha256 of both digests.

    Raises:
        CertificateError: there is no such file.
    """
    parts = _parts(path)
    if not all(part.is_file() for part in parts):
        raise CertificateError(f"export {path} is not there, or what belongs to it is not; pass --export for each file, in its order")
    digests = [sha256_of(part) for part in parts]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _parts(path: Path) -> list[Path]:
    """An exported file, and the program that a loader has beside it."""
    return [path, path.with_suffix(".program.pt2")] if path.suffix == ".py" else [path]


def setting_of(model: nn.Module) -> Setting:
    """The machine and the software that this model runs on."""
    parameter = next(model.parameters())
    versions = {"python": sys.version.split()[0]} | {name: version(name) for name in _PACKAGES}
    return Setting(str(parameter.device), processor_name(parameter.device), torch.get_num_threads(), dtype_name(parameter.dtype), versions)


def input_of(subject: CertificateSubject) -> Input:
    """How the images that are certified on become input, and which class an output is."""
    order = get_info(subject.baseline).class_order
    return Input(subject.data.transform.description, order, subject.data.source.classes)


def measure(
    subject: CertificateSubject, masked: nn.Module, compact: nn.Module, digests: Digests, exported: Mapping[Path, Forward],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Certificate:
    """Run every form on all images, then each in pairs with the baseline on the clock, at batch size 1 and the one asked for.

    Args:
        digests: the subject's.
        exported: the opened files.
        progress: is told the images and pairs done, and all of them.

    Raises:
        DataError: no image could be read.
        DeviceError: the device ran out of memory.
        PlanError: an output is not a finite number.
    """
    baseline, batch_size = subject.baseline, subject.asked.setup.batch_size
    named = {"baseline": baseline, "masked": masked, "compact": compact} | {str(path): run for path, run in exported.items()}
    sizes = sorted({1, min(batch_size, len(subject.data))})
    steps = len(subject.data) + PAIRS * len(sizes) * (len(named) - 1)
    compared = compare(named, subject.data, batch_size, lambda done, total: progress(done, steps), subject.bank)
    timed = _timed(named, sizes, lambda done: progress(len(subject.data) + done, steps))
    shapes = get_info(baseline).shape
    macs = {"baseline": count_macs(baseline), "masked": count_cost(shapes).macs}
    forms = tuple(
        _form(name, run, subject, compared, timed[name], macs.get(name, count_cost(shapes, subject.schedule).macs))
        for name, run in named.items()
    )
    return Certificate(
        version=VERSION, created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), asked=subject.asked, schedule=subject.schedule,
        digests=digests, setting=setting_of(baseline), image_count=len(compared.outcomes["baseline"].index),
        skipped_count=len(subject.data.skipped), largest_logit=compared.largest_logit, forms=forms, input=input_of(subject),
    ).sealed()


def _form(name: str, run: Forward, subject: CertificateSubject, compared: Compared, speeds: tuple[Speed, ...], macs: int) -> Form:
    outcomes, is_file, task = compared.outcomes[name], name not in FORMS, task_of(get_info(subject.baseline).shape)
    parameter = next(subject.baseline.parameters())
    one = random_images(subject.baseline, 1).to(parameter.device, parameter.dtype)
    module = run if isinstance(run, nn.Module) else None
    return Form(
        form="exported" if is_file else name,
        file=name if is_file else None,
        sha256=export_digest(Path(name)) if is_file else weights_digest(run),
        size_bytes=sum(part.stat().st_size for part in _parts(Path(name))) if is_file else _tensor_bytes(run),
        params=sum(value.numel() for value in module.parameters()) if module is not None else None,
        macs=macs,
        counted_macs=counted_macs(run, one) or None,
        counts=outcomes.hits(),
        figures={key: estimate for key, estimate in outcomes.estimates().items() if key in task.certified},
        same_count=compared.same_as_compact(name),
        largest_difference=compared.differences[name],
        speeds=speeds,
    )


def _tensor_bytes(model: nn.Module) -> int:
    return sum(value.numel() * value.element_size() for value in model.state_dict().values())


def _timed(named: Mapping[str, Forward], sizes: list[int], progress: Callable[[int], object]) -> dict[str, tuple[Speed, ...]]:
    """Every form against the baseline; the baseline's own times are those of its pairs with compact."""
    baseline, found, done = named["baseline"], {}, 0
    dtype = dtype_name(next(baseline.parameters()).dtype)
    for name, run in named.items():
        if name == "baseline":
            continue
        latencies: list[Latencies] = []
        for size in sizes:
            told = partial(_told, progress, done)
            latencies.append(time_models(baseline, run, random_images(baseline, size), dtype, pairs=PAIRS, progress=told))
            done += PAIRS
        found[name] = tuple(map(Speed.of, latencies))
        if name == "compact":
            found["baseline"] = tuple(map(Speed.of_baseline, latencies))
    return found


def _told(progress: Callable[[int], object], before: int, pairs: int) -> None:
    progress(before + pairs)
