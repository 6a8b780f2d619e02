"""`toast certify`: baseline, masked, compact and exported forms side by side in one sealed file, and its check."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toast_core.cli.opened import note_rest, open_workbench
from toast_core.cli.options import Json, read_schedule, takes_setup
from toast_core.cli.output import Bar, print_json, told_of
from toast_core.errors import CertificateError
from toast_core.files import cannot_write, check_can_write, write_text
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup
from toast_core.studies.certificate.result import FORMS, Asked, Certificate, Digests

if TYPE_CHECKING:
    from toast_core.studies.certificate.measure import CertificateSubject
    from toast_core.workbench import Workbench

# What a check takes from the certificate: it would be about something else if these were given.
_FIXED = (
    "model", "num_classes", "img_size", "in_chans", "use_ema", "mean", "std", "crop_pct", "crop_mode", "interpolation", "exif_rotate",
    "class_order", "random_classifier", "calibration_images", "images", "batch_size", "output",
)


_NEEDS = (
    "toast certify needs --data and -o FILE, and --schedule with the baseline, or --weights with a file from toast apply alone; "
    "or --check FILE to check a certificate"
)


@takes_setup("certify", said={"images": "class-balanced subset; default: all", "batch_size": "images per batch, timed beside 1"})
def certify(
    context: typer.Context,
    setup: Setup,
    schedule: Annotated[Path | None, typer.Option("--schedule", help="schedule JSON; default: the one inside a pruned file")] = None,
    export: Annotated[list[Path] | None, typer.Option(help="file to open and compare with the compact model; may be repeated")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="certificate JSON to write")] = None,
    check: Annotated[Path | None, typer.Option(help="certificate to check again; what is not given is taken from it")] = None,
    as_json: Json = False,
) -> None:
    """Measure every form of a pruned model on the same images, with digests of all that went in; or check such a certificate.

    Of a file from toast apply alone, given as --weights, the schedule is the one inside and the file is one of the forms; its baseline
    is found by what the file says of it: embedded, timm's, or of the same name and content beside it.

    Exit 1 where a form is not the compact model beyond rounding, or where a claim of the checked certificate does not hold; times are
    measured again and never fail.
    """
    if check is None:
        if setup.data is None or output is None or (schedule is None and setup.weights is None):
            raise CertificateError(_NEEDS)
        raise typer.Exit(_issue(setup, schedule, tuple(export or ()), output, as_json))
    given = [name for name in context.params if context.get_parameter_source(name).name == "COMMANDLINE"]
    if extra := [name for name in _FIXED if name in given]:
        flag = extra[0].replace("_", "-")
        raise CertificateError(f"--check takes {flag} from the certificate; leave out --{flag}")
    record = _record(check)
    changed = {name: getattr(setup, name) for name in ("weights", "calibration", "data", "class_map", "labels") if name in given}
    asked = Asked(replace(record.asked.setup, **changed), str(schedule) if schedule else record.asked.schedule_file)
    raise typer.Exit(_check(record, asked, _exports(record, export), setup.device, as_json))


def _issue(setup: Setup, file: Path | None, exports: tuple[Path, ...], output: Path, as_json: bool) -> int:
    """Write a certificate; 1 where a form differs from the compact model."""
    check_can_write(output, CertificateError)
    if len({str(path) for path in exports}) < len(exports):
        raise CertificateError("the same --export is given twice; keep one of them")
    if file is None:
        setup, file, exports = _from_pruned(setup, exports)
    workbench, subject = _subject(Asked(setup, str(file)), read_schedule(file), setup.device)
    certificate, told = _measured(workbench, subject, subject.digests(), exports)
    try:
        write_text(output, certificate.to_json())
    except OSError as error:
        raise CertificateError(cannot_write(output, error)) from error
    differing = certificate.differing()
    if as_json:
        print_json({**certificate.to_dict(), **told})
    else:
        _print(certificate)
        for line in differing:
            print(f"differs: {line}")
        print(f"wrote {output}, sha256 {certificate.sha256}")
    return 1 if differing else 0


def _from_pruned(setup: Setup, exports: tuple[Path, ...]) -> tuple[Setup, Path, tuple[Path, ...]]:
    """The baseline of a pruned file, the file for the schedule inside, and the file itself as the first of the exports."""
    from toast_core.studies.certificate.origin import baseline_of

    found = baseline_of(setup)
    if found is None or setup.weights is None:
        raise CertificateError(_NEEDS)
    file = Path(setup.weights)
    return found[0], file, exports if file in exports else (file, *exports)


def _check(record: Certificate, asked: Asked, exports: tuple[Path, ...], device: str, as_json: bool) -> int:
    """Digests first: figures of other weights, images or files would say nothing about the certificate's."""
    from toast_core.studies.certificate.check import broken_seal, changed_inputs, failed_claims
    from toast_core.studies.certificate.measure import export_digest

    workbench, subject = _subject(asked, _schedule(record, asked), device)
    files = {str(path): export_digest(path) for path in exports}
    digests = subject.digests()
    changed = changed_inputs(record, digests, subject.schedule, files)
    failed = broken_seal(record) + changed
    found, told = (None, {}) if changed else _measured(workbench, subject, digests, exports)
    if found is not None:
        failed += failed_claims(record, found)
    if as_json:
        document = {"certificate": record.sha256, "holds": not failed, "failed": failed, "measured_again": found and found.to_dict()}
        print_json(document | {"same_machine_kind": found and found.setting.kind == record.setting.kind} | told)
        return 1 if failed else 0
    for line in failed:
        print(f"fails: {line}")
    if found is None:
        print("figures were not measured again, because what they are about has changed")
        return 1
    _print_times(record, found)
    if not failed:
        same = record.setting.kind == found.setting.kind
        rule = "counts are equal" if same else "counts lie within their intervals, as this is another kind of machine"
        print(f"every claim holds: digests, accuracy, agreement, MACs, parameters and sizes of {len(record.forms)} forms; {rule}")
    return 1 if failed else 0


def _record(file: Path) -> Certificate:
    from analysis_cache.canonical import read_json

    try:
        text = file.read_bytes()
    except OSError as error:
        raise CertificateError(f"certificate {file} cannot be read ({error.strerror}); write one with toast certify -o FILE") from error
    return Certificate.from_dict(read_json(text, f"certificate {file}"))


def _schedule(record: Certificate, asked: Asked) -> Schedule:
    """The schedule file, given or recorded; the certificate's own copy where the recorded file did not come along."""
    file = Path(asked.schedule_file)
    if asked.schedule_file == record.asked.schedule_file and not file.exists():
        return record.schedule
    return read_schedule(file)


def _exports(record: Certificate, given: list[Path] | None) -> tuple[Path, ...]:
    recorded = tuple(Path(form.file) for form in record.forms if form.file is not None)
    if given is None:
        return recorded
    if len({str(path) for path in given}) != len(recorded) or len(given) != len(recorded):
        raise CertificateError(f"{len(given)} --export are given, the certificate has {len(recorded)}; give one for each, in its order")
    return tuple(given)


def _subject(asked: Asked, schedule: Schedule, device: str) -> "tuple[Workbench, CertificateSubject]":
    from toast_core.studies.certificate.issue import subject_of

    workbench = open_workbench(replace(asked.setup, device=device))
    if workbench.setup.model is None:  # the weights named it; a certificate does too
        workbench.setup = replace(workbench.setup, model=workbench.info.name)
    return subject_of(workbench, schedule, asked.schedule_file)


def _measured(
    workbench: "Workbench", subject: "CertificateSubject", digests: Digests, exports: tuple[Path, ...]
) -> tuple[Certificate, dict[str, object]]:
    """The certificate, and what stands beside it in JSON: class numbers and notes, which are no part of what is sealed."""
    from toast_core.studies.certificate.issue import issue_for

    with Bar("certifying") as advance:
        certificate, notes = issue_for(workbench, subject, digests, exports, advance)
    notes = (*workbench.notes(), *notes)
    note_rest(workbench, notes)
    return certificate, told_of(subject.data, notes)


def _print(certificate: Certificate) -> None:
    """Forms side by side, one quantity a line."""
    setting, setup, forms = certificate.setting, certificate.asked.setup, certificate.forms
    print(f"{setup.model} on {certificate.image_count} images of {setup.data}, {certificate.skipped_count} skipped")
    if certificate.input is not None:
        print(f"images: {certificate.input.transform}")
    print(f"{setting.device}, {setting.processor}, {setting.threads} threads, {setting.dtype}, torch {setting.versions['torch']}")
    files = [Path(form.file) for form in forms if form.file is not None]
    for number, file in enumerate(files):
        print(f"file {number + 1}: {file}")
    _line("", [*FORMS[:3], *(f"file {number + 1}" for number in range(len(files)))])
    task = forms[0].task
    for figure in (one for one in task.figures if one.key in forms[0].figures):
        estimates = [form.figures.get(figure.key) for form in forms]
        heading = f"{figure.label}, {figure.unit}" if figure.unit else figure.label
        _line(heading, [figure.value(one) if one else "-" for one in estimates])
        _line("  95 %", [figure.between(one) if one else "-" for one in estimates])
    if forms[0].same_count is not None:
        _line("same class as compact", [str(form.same_count) for form in forms])
    _line(f"{task.output} off compact by", [f"{form.largest_difference:.1e}" for form in forms])
    _line("GMACs from shapes", [f"{form.macs / 1e9:.4f}" for form in forms])
    _line("GMACs counted", [f"{form.counted_macs / 1e9:.4f}" if form.counted_macs is not None else "-" for form in forms])
    _line("parameters, M", [f"{form.params / 1e6:.3f}" if form.params is not None else "-" for form in forms])
    _line("size, MB", [f"{form.size_bytes / 1e6:.2f}" for form in forms])
    for index, speed in enumerate(forms[0].speeds):
        speeds = [form.speeds[index] for form in forms]
        _line(f"ms, batch {speed.batch_size}", [f"{one.ms[0]:.2f}" for one in speeds])
        _line("  quartiles", [f"{one.ms[1]:.2f} to {one.ms[2]:.2f}" for one in speeds])
        _line("  images/s", [f"{one.images_per_s:.0f}" for one in speeds])
        _line("  times as fast", [f"{one.speedup[0]:.2f}" for one in speeds])


def _line(label: str, cells: list[str]) -> None:
    print(f"{label:21}" + "".join(f" {cell:>18}" for cell in cells))


def _print_times(record: Certificate, found: Certificate) -> None:
    """Then and now, no claim."""
    for was, now in zip(record.forms, found.forms, strict=True):
        for old, new in zip(was.speeds, now.speeds, strict=False):
            print(f"{now.name}, batch {new.batch_size}: {new.ms[0]:.2f} ms, certified {old.ms[0]:.2f} ms (measured again, no claim)")
