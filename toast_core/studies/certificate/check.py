"""Whether what a certificate says still holds. Compares records; measures nothing."""

from dataclasses import fields
from math import isclose

from toast_core.intervals import Estimate, wilson_percent
from toast_core.schedule.schedule import Schedule
from toast_core.schedule.sites import SITES
from toast_core.studies.certificate.result import Certificate, Digests, Form, Input

_EXACT = ("params", "size_bytes", "macs", "counted_macs")
_EQUAL_MEANS, _ROUNDED_MEANS = 1e-6, 1e-4  # of cosines in float32 summed in the same order, and rounded otherwise
_CHANGED = {
    "weights": "at least one weight was changed",
    "schedule": "the schedule was edited",
    "data": "the images or their labels were swapped, changed or drawn otherwise",
    "calibration": "the calibration images were swapped, changed or drawn otherwise",
}


def broken_seal(record: Certificate) -> list[str]:
    """One line where the certificate was edited after it was written."""
    found = record.digest()
    if found == record.sha256:
        return []
    return [f"certificate: its sha256 is {found[:12]}, it says {record.sha256[:12] or 'none'}: it was edited after it was written"]


def changed_inputs(record: Certificate, found: Digests, schedule: Schedule, exported: dict[str, str]) -> list[str]:
    """One line for each input that is not the certified one.

    Args:
        found, schedule: what is there now.
        exported: sha256 of the files by name, in the certificate's order.
    """
    lines = []
    for field in fields(Digests):
        was, now = getattr(record.digests, field.name), getattr(found, field.name)
        if was != now:
            reason = _edits(record.schedule, schedule) if field.name == "schedule" else _CHANGED[field.name]
            lines.append(f"{field.name}: sha256 is {(now or 'none')[:12]}, certified {(was or 'none')[:12]}: {reason}")
    forms = [form for form in record.forms if form.form == "exported"]
    for form, (name, now) in zip(forms, exported.items(), strict=True):
        if form.sha256 != now:
            lines.append(f"exported {name}: sha256 is {now[:12]}, certified {form.sha256[:12]}: the file was changed")
    return lines


def _edits(was: Schedule, now: Schedule) -> str:
    """The first difference between two schedules, in words, and how many more ratios differ."""
    if len(was.blocks) != len(now.blocks):
        return f"it has {len(now.blocks)} blocks, certified {len(was.blocks)}"
    ratios = [
        f"block {index} {site} is {getattr(new, site):g}, certified {getattr(old, site):g}"
        for index, (old, new) in enumerate(zip(was.blocks, now.blocks, strict=True))
        for site in SITES
        if getattr(old, site) != getattr(new, site)
    ]
    if ratios:
        return ratios[0] + (f", and {len(ratios) - 1} more" if len(ratios) > 1 else "")
    changed = next((field.name for field in fields(Schedule) if getattr(was, field.name) != getattr(now, field.name)), "")
    return f"{changed} differs" if changed else "the certificate's own schedule was edited"


def failed_claims(record: Certificate, found: Certificate) -> list[str]:
    """One line for each claim that a new measurement does not bear out; times are no claims.

    On the same kind of machine (`Setting.kind`) counts of images must be equal. Elsewhere sums are rounded otherwise: a count must
    lie within its recorded 95 % interval. Logits may differ by what rounding explains everywhere.
    """
    lines = []
    if record.input is not None and record.input != found.input:
        names = [field.name for field in fields(Input)]
        name = next(name for name in names if getattr(record.input, name) != getattr(found.input, name, None))
        new, old = (repr(getattr(one.input, name, None))[:120] for one in (found, record))
        lines.append(f"input: {name.replace('_', ' ')} is {new}, certified {old}")
    same_kind = record.setting.kind == found.setting.kind
    if (record.image_count, record.skipped_count) != (found.image_count, found.skipped_count):
        lines.append(
            f"images: {found.image_count} could be read and {found.skipped_count} not, "
            f"certified {record.image_count} and {record.skipped_count}"
        )
    for was, now in zip(record.forms, found.forms, strict=True):
        lines += _failed(was, now, record.image_count, found.tolerance, same_kind)
    if same_kind and abs(record.largest_logit - found.largest_logit) > found.tolerance:
        lines.append(f"masked: the largest {record.forms[1].task.output} is {found.largest_logit:g}, certified {record.largest_logit:g}")
    return lines


def _failed(was: Form, now: Form, images: int, tolerance: float, same_kind: bool) -> list[str]:
    lines = [
        f"{was.name}: {name.replace('_', ' ')} is {getattr(now, name)}, certified {getattr(was, name)}"
        for name in _EXACT
        if getattr(was, name) != getattr(now, name)
    ]
    if same_kind and was.sha256 != now.sha256:
        lines.append(f"{was.name}: sha256 is {now.sha256[:12]}, certified {was.sha256[:12]}: pruning gave other weights")
    for name, count in was.counts.items():
        stated = was.figures[name]
        follows = (100.0 * count / images, *wilson_percent(count, images))
        if not all(isclose(one, other, abs_tol=1e-9) for one, other in zip(follows, (stated.value, *stated.ci95), strict=True)):
            lines.append(f"{was.name}: {name} of {stated.value:.2f} % with its interval is not that of {count} images of {images}")
    for name in (*was.counts, "same"):
        before, after = (one.same_count if name == "same" else one.counts.get(name) for one in (was, now))
        if before != after and (before is None or after is None or not _holds(before, after, images, same_kind)):
            lines.append(f"{was.name}: {name} count is {after} of {images} images, certified {before}")
    for name in (name for name in was.figures if name not in was.counts):
        if not _mean_holds(was.figures[name], now.figures.get(name), same_kind):
            lines.append(f"{was.name}: {name} is {now.figures.get(name)}, certified {was.figures[name]}")
    excess = now.largest_difference - was.largest_difference
    if (excess if was.form != "baseline" else abs(excess) if same_kind else 0.0) > tolerance:
        lines.append(
            f"{was.name}: a {was.task.output} differs from the compact model's by {now.largest_difference:.1e}, "
            f"certified {was.largest_difference:.1e} ({tolerance:.1e} more is rounding)"
        )
    return lines


def _holds(was: int, now: int, images: int, same_kind: bool) -> bool:
    if same_kind:
        return was == now
    low, high = wilson_percent(was, images)
    return low <= 100.0 * now / images <= high


def _mean_holds(was: Estimate, now: Estimate | None, same_kind: bool) -> bool:
    """Whether a mean over images is the one certified: equal on the same kind of machine, else within its interval and rounding."""
    if now is None:
        return False
    if same_kind:
        return isclose(was.value, now.value, abs_tol=_EQUAL_MEANS)
    low, high = was.ci95
    return low - _ROUNDED_MEANS <= now.value <= high + _ROUNDED_MEANS
