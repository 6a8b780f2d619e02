"""The files to download: the pruned model, every export format, the certificate, the schedule."""

import json
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from analysis_cache.errors import StoreError
from dashboard import wording
from dashboard.components.jobs import OPEN
from dashboard.components.model_file import digest_of_file, written_file
from dashboard.evidence.find import Evidence, Found
from dashboard.pages.deliver.run import follow, last_job, show_refusal, show_run, start
from dashboard.session import state
from dashboard.session.whole import whole
from toast_core.cost.shapes import ModelShape
from toast_core.engine.protocol import FormatCard
from toast_core.errors import CertificateError, ScheduleError
from toast_core.schedule.reference import to_reference
from toast_core.schedule.schedule import Schedule
from toast_core.studies.agreement.result import Agreement
from toast_core.studies.certificate.result import Certificate
from toast_core.studies.delivery.result import METRIC as EXPORT
from toast_core.studies.delivery.result import Delivered, content_of, file_stem

PRUNED = "safetensors"
_TEXTS = {
    PRUNED: ("ToaSt Studio (.safetensors)", "The weights with the schedule inside: every toast command takes it as --weights."),
    "onnx": ("ONNX (.onnx)", "For ONNX Runtime and other engines, with any batch size."),
    "torch_export": ("PyTorch program (.pt2)", "Runs with PyTorch and nothing of ours."),
    "loader": ("PyTorch with a loader (.zip)", "A PyTorch program, and beside it the lines that load it."),
}
_WIDTHS = (3, 2)


@dataclass(frozen=True)
class Exported:
    """An export that is on this machine as it was verified."""

    record: Delivered
    folder: Path


def find_exports(found: Found, record: Agreement, folder: Path) -> dict[str, Exported]:
    """The exports of a pruned file by format, newest first, of those whose files lie in `folder` unchanged."""
    exports: dict[str, Exported] = {}
    for row in _rows_about(found, EXPORT, record):
        try:
            one = Exported(Delivered.from_dict(row), folder / str(row["key"]))
        except (KeyError, TypeError, ValueError):
            continue
        if one.record.format not in exports and _is_whole(one):
            exports[one.record.format] = one
    return exports


def _rows_about(found: Found, metric: str, record: Agreement) -> list[dict]:
    rows = []
    for evidence in found.of(metric):
        if evidence.analysis.request.get("source") == record.file_sha256:
            try:
                rows += evidence.rows()
            except StoreError:
                continue
    return rows


def _is_whole(one: Exported) -> bool:
    parts = one.record.parts(one.folder)
    if not all(part.is_file() for part in parts) or sum(part.stat().st_size for part in parts) != one.record.bytes:
        return False
    return digest_of_file(parts[0], parts[0].stat().st_mtime_ns) == one.record.sha256


def show_files(found: Found, evidence: Evidence, record: Agreement, schedule: Schedule, ready: bool) -> dict[str, Exported]:
    """A row a file, each with its download, the button that makes it, or why it cannot be made; return the exports that are here."""
    key = str(evidence.rows()[0]["key"])
    exports = find_exports(found, record, written_file(key).parent)
    _show_pruned(record, key)
    for card in state.engine_state().formats:
        if card.name != PRUNED:
            run = {"kind": EXPORT, "schedule": schedule.to_dict(), "source": key, "formats": [card.name]}
            _show_format(card, exports.get(card.name), run, ready)
    _show_certificate(found, record, schedule, key, exports, ready)
    return exports


def _show_pruned(record: Agreement, key: str) -> None:
    """The file of the record, once it is known to be the one that the record is about."""
    title, use = _TEXTS[PRUNED]
    words, action = st.columns(_WIDTHS, vertical_alignment="center")
    words.markdown(f"**{title}**  \n{use}")
    path = written_file(key)
    if not path.is_file() or digest_of_file(path, path.stat().st_mtime_ns) != record.file_sha256:
        action.warning("The file of this record is not on this machine, or was changed. Measure again to write it.")
        return
    action.download_button(
        f"Download model ({path.stat().st_size / 1e6:.1f} MB)", path.read_bytes, f"{file_stem(record.model, record.schedule)}.{PRUNED}",
        "application/octet-stream", type="primary", key="deliver-model", on_click="ignore", width="stretch",
    )
    words.caption(f"sha256 {record.file_sha256}")


def _show_format(card: FormatCard, here: Exported | None, run: dict, ready: bool) -> None:
    title, use = _TEXTS.get(card.name, (f"{card.name} ({card.suffix})", ""))
    words, action = st.columns(_WIDTHS, vertical_alignment="center")
    suffix = ".zip" if card.suffix == ".py" else card.suffix  # a loader comes with its program
    badge = f" {wording.BADGES['measured']}" if here else ""
    words.markdown(f"**{wording.plain(title)}**{badge}  \n{use}")
    if here is not None:
        one, folder = here.record, here.folder
        action.download_button(
            f"Download {suffix} ({one.bytes / 1e6:.1f} MB)", lambda: content_of(one, folder), one.download, "application/octet-stream",
            key=f"deliver-{card.name}", on_click="ignore", width="stretch",
        )
        words.caption(
            f"Run again on {one.images} images: equal to {one.relative_difference:.1e} of the largest output. sha256 {one.sha256}"
        )
        return
    if card.missing:
        action.button("Not on this machine", disabled=True, key=f"make-{card.name}", width="stretch")
        words.caption(wording.plain(card.missing))
        return
    if not ready:
        return
    job = last_job(EXPORT, run)
    if job and job.state in OPEN:
        with action:
            follow(EXPORT, run)
        return
    if job and job.state == "failed":
        words.error(f"Run {job.number} failed: {wording.plain(job.message)}")
    name = f"make-{card.name}"
    action.button(f"Make {suffix}", on_click=whole(start), args=(run, name), key=name, width="stretch")
    with words:
        show_refusal(name)


def _show_certificate(
    found: Found, record: Agreement, schedule: Schedule, key: str, exports: dict[str, Exported], ready: bool
) -> None:
    made = find_certificate(found, record)
    words, action = st.columns(_WIDTHS, vertical_alignment="center")
    badge = f" {wording.BADGES['measured']}" if made else ""
    words.markdown(
        f"**Certificate (.json)**{badge}  \nEvery form and file measured on the same images, with digests of all that went in; toast "
        "certify --check measures it again."
    )
    files = set() if made is None else {form.file for form in made.forms if form.file}
    lacking = [name for name, one in exports.items() if one.record.path not in files]
    if made is not None:
        differing = made.differing()
        action.download_button(
            "Download certificate", made.to_json, "certificate.json", "application/json", key="deliver-certificate", on_click="ignore",
            width="stretch",
        )
        said = f"{len(differing)} of them not the compact model" if differing else "which are one model"
        words.caption(
            f"The baseline and {len(made.forms) - 1} forms of the pruned model on {made.image_count:,} images, {said}. sha256 {made.sha256}"
        )
        if lacking:
            words.caption(f"Made before {', '.join(lacking)}: certify again to have {'it' if len(lacking) == 1 else 'them'} in.")
    if ready and (made is None or lacking):
        on_cpu = state.engine_state().device.partition(":")[0] == "cpu"  # exported programs are run on the CPU alone
        formats = sorted(exports) if on_cpu else []
        run = {"kind": "certificate", "schedule": schedule.to_dict(), "source": key, "formats": formats}
        show_run(run, "Certify", prominent=False)


def find_certificate(found: Found, record: Agreement) -> Certificate | None:
    """The certificate of a pruned file that has most forms."""
    made = []
    for row in _rows_about(found, "certificate", record):
        try:
            made.append(Certificate.from_dict(row["certificate"]))
        except (KeyError, CertificateError):
            continue
    return max(made, key=lambda one: (len(one.forms), one.created), default=None)


def show_schedule_files(schedule: Schedule, shape: ModelShape) -> None:
    """The schedule as our file, and as the reference implementation reads it."""
    ours, reference = st.columns(2)
    ours.download_button(
        "Schedule (JSON)", schedule.to_json, "schedule.json", "application/json", key="deliver-schedule", on_click="ignore"
    )
    ours.caption("What the command lines on this page read.")
    try:
        entry = to_reference(schedule)
    except ScheduleError as error:
        reference.button("For the reference implementation (JSON)", disabled=True, key="deliver-no-reference")
        reference.caption(str(error))
        return
    reference.download_button(
        "For the reference implementation (JSON)", json.dumps(entry, indent=1), f"{shape.name}-reference.json", "application/json",
        key="deliver-reference", on_click="ignore",
    )
    reference.caption("One entry as that program reads it. It chooses channels per batch, whatever this schedule says.")
