"""The page about a pruned model that was written and checked: before and after, who gets hurt, the schedule, digests, how to load it."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from analysis_cache.errors import StoreError
from dashboard import wording
from dashboard.evidence.damage import Arrays
from dashboard.report.drawing import schedule_drawing
from dashboard.report.facts import Stored, chosen_in_words, facts_of
from dashboard.report.hurt import Pictures, hurt_sections
from dashboard.report.loading import ways_to_load
from dashboard.report.paper import COMPUTED, MEASURED, Paper, Section, Tile, badge, cell, definitions, paragraph, table
from toast_core.errors import CertificateError
from toast_core.schedule.schedule import Schedule
from toast_core.studies.agreement.result import Agreement
from toast_core.studies.certificate.result import Certificate
from toast_core.studies.delivery.result import Delivered, file_stem
from toast_core.studies.evaluation.result import Estimate
from toast_core.studies.latency.result import Timing
from toast_core.studies.tasks.base import Figure
from toast_core.studies.tasks.registry import TASKS

_TIMES = "\N{MULTIPLICATION SIGN}"
_BYTES = {"float32": 4, "float64": 8}
_HALF = 2


@dataclass(frozen=True)
class Applied:
    """What a store knows of one pruned file.

    before, after   outcomes image by image of baseline and pruned model; None where the store lacks them
    exports         the files that were made of it
    certificate     the newest about it; None where there is none
    """

    stored: Stored
    record: Agreement
    schedule: Schedule
    before: Arrays | None
    after: Arrays | None
    exports: tuple[Delivered, ...]
    certificate: Certificate | None


def read_applied(stored: Stored) -> Applied:
    """Read what an analysis of kind agreement and the others about its file say.

    Raises:
        StoreError: the record is not there or cannot be read.
    """
    try:
        record, schedule = Agreement.from_dict(stored.rows[0]), Schedule.from_dict(stored.request.get("schedule"))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise StoreError(f"the record of analysis {stored.analysis.short_id} cannot be read ({error}); check the schedule again") from error
    outcomes: dict[object, Arrays] = {}
    for head in stored.heads:
        if head.identity.kind == "evaluation":
            outcomes[head.identity.detail.get("execution")] = stored.replay.outcomes(head.key)
    before, after = (found if found and "predicted" in found else None for found in map(outcomes.get, ("baseline", "compact")))
    about = [one for one in stored.replay.analyses() if one.request.get("source") == record.file_sha256]
    return Applied(stored, record, schedule, before, after, *_made_of(stored, about))


def _made_of(stored: Stored, about: Sequence) -> tuple[tuple[Delivered, ...], Certificate | None]:
    exports: dict[str, Delivered] = {}
    certificate = None
    for analysis in about:
        for row in stored.replay.rows(analysis.id):
            try:
                if analysis.request["metric"] == "export":
                    exports.setdefault(str(row["format"]), Delivered.from_dict(row))
                elif certificate is None:
                    certificate = Certificate.from_dict(row["certificate"])
            except (KeyError, TypeError, ValueError, CertificateError):
                continue  # what cannot be read is left out: nothing is said of it
    return tuple(exports.values()), certificate


def delivery_paper(applied: Applied, pictures: Pictures | None = None, names: Sequence[str] = ()) -> Paper:
    """The page. `names` are the classes', where the record does not have them itself."""
    record = applied.record
    task = TASKS[record.task]
    sections = [Section("Before and after", _table(record))]
    if applied.before is not None and applied.after is not None:
        sections += hurt_sections(applied.before, applied.after, record.classes or names, pictures)
    elif task.answers:
        sections.append(Section("Who gets hurt", paragraph("The outcomes of single images are not in this store.", "soft")))
    sections.append(Section("What is dropped, block by block", _schedule(applied)))
    sections.append(Section("How to load it", _loading(applied)))
    sections.append(Section("Files and digests", _digests(applied)))
    facts = facts_of(applied.stored, record.data, (
        ("Channels chosen", chosen_in_words(applied.schedule)),
        ("Measured on", f"{record.processor} ({record.device}, {record.threads} thread{'s' if record.threads > 1 else ''}, {record.dtype}, "
                        f"{', '.join(f'{name} {version}' for name, version in record.versions.items())})"),
    ))
    title = f"{record.model}, pruned: {_saved(record):.0f} % fewer operations per image"
    return Paper(title, _lead(record), facts, _tiles(record), tuple(sections))


def _saved(record: Agreement) -> float:
    return 100 * (1 - record.macs["compact"] / record.macs["baseline"])


def _lead(record: Agreement) -> str:
    figure = TASKS[record.task].figures[0]
    low, high = record.delta.ci95
    cost = (
        f"The pruned model needs {_saved(record):.0f} % fewer multiply-accumulates (MACs) per image. On the machine named below it is "
        f"{' and '.join(map(_speed_in_words, record.timings))}."
    )
    change = f"{wording.points(record.delta, figure)} (95 %: {wording.points_interval(record.delta, figure)})"
    now = wording.accuracy(record.headline["compact"], figure)
    if low <= 0 <= high:
        return f"{cost} On {record.images:,} images its {figure.label} is {now}: {change}, which cannot be told apart from the baseline."
    return f"{cost} On {record.images:,} images its {figure.label} is {now}, {change} against the baseline."


def _speed_in_words(timing: Timing) -> str:
    (median, first, third), size = timing.speedup, timing.batch_size
    images = "on single images" if size == 1 else f"in batches of {size}"
    return f"{'about as fast as before' if first <= 1 <= third else f'{median:.2f} times as fast'} {images}"


def _tiles(record: Agreement) -> tuple[Tile, ...]:
    figure, single, before = TASKS[record.task].figures[0], record.timings[0], _weights_bytes(record, "baseline")
    now = record.headline["compact"]
    return (
        Tile(figure.title, wording.accuracy(now, figure), f"{wording.points(record.delta, figure)} to the baseline", MEASURED),
        Tile("MACs per image", wording.change(record.macs["compact"], record.macs["baseline"]),
             f"{wording.gmacs(record.macs['compact'])} of {wording.gmacs(record.macs['baseline'])} G", COMPUTED),
        Tile("One image", f"{single.compact_ms[0]:.3g} ms", f"{single.baseline_ms[0]:.3g} ms before", MEASURED),
        Tile("File", f"{_mb(record.file_bytes)}", f"weights {_mb(before)} before" if before else "", MEASURED),
    )


def _mb(size: int) -> str:
    return f"{size / 1e6:,.{1 if size >= 1e6 else 2}f} MB"


def _weights_bytes(record: Agreement, name: str) -> int:
    return record.params[name] * _BYTES.get(record.dtype, _HALF)


def _table(record: Agreement) -> str:
    figure, both = TASKS[record.task].figures[0], ("baseline", "compact")
    was, now, whole = (*(record.headline[name] for name in both), _weights_bytes(record, "baseline"))
    rows = [
        (cell(figure.title, f"{record.images:,} images"), *(_with_interval(one, figure) for one in (was, now)),
         cell(wording.points(record.delta, figure), f"{wording.points_interval(record.delta, figure)}; {wording.verdict(record.delta)}"),
         badge(MEASURED)),
        (cell("Multiply-accumulates", "operations of one image"), *(cell(f"{wording.gmacs(record.macs[name])} GMACs") for name in both),
         cell(wording.change(record.macs["compact"], record.macs["baseline"])), badge(COMPUTED)),
        (cell("Parameters"), *(cell(wording.parameters(record.params[name])) for name in both),
         cell(wording.change(record.params["compact"], record.params["baseline"])), badge(COMPUTED)),
        (cell("Size", f"{record.dtype} weights; pruned: the file"), cell(_mb(whole)), cell(_mb(record.file_bytes)),
         cell(wording.change(record.file_bytes, whole)), f"{badge(COMPUTED)} {badge(MEASURED)}"),
    ]
    for timing in record.timings:
        name = "One image" if timing.batch_size == 1 else f"A batch of {timing.batch_size}"
        rows.append((
            cell(name, f"median of {timing.pairs} pairs, with quartiles"), *map(_milliseconds, (timing.baseline_ms, timing.compact_ms)),
            cell(f"{timing.speedup[0]:.2f}{_TIMES} as fast", f"{timing.speedup[1]:.2f} to {timing.speedup[2]:.2f}"), badge(MEASURED),
        ))
    same = "" if record.same is None else f" {record.same:,} of {record.images:,} answers are the same."
    checked = "is" if record.is_equal else "differs from"
    proof = (
        f"Checked: the file {checked} the model that was measured while tuning; the largest difference of a {TASKS[record.task].output} is "
        f"{record.largest_difference:.1e}, rounding explains {record.tolerance:.1e}.{same} Both models took turns on the clock."
    )
    return table(("", "Baseline", "Pruned", "Change", ""), rows) + f"<p class='soft'>{escape(proof)} {badge(MEASURED)}</p>"


def _with_interval(estimate: Estimate, figure: Figure) -> str:
    return cell(wording.accuracy(estimate, figure), wording.accuracy_interval(estimate, figure))


def _milliseconds(spread: tuple[float, float, float]) -> str:
    digits = max(0, wording.decimals(Estimate(spread[0], (spread[1], spread[2]))))
    return cell(f"{spread[0]:,.{digits}f} ms", f"{spread[1]:,.{digits}f} to {spread[2]:,.{digits}f}")


def _schedule(applied: Applied) -> str:
    said = (
        "Percent dropped of each part of a block: query and key (qk), value and output (vo), the feed-forward network's input (fc1) and "
        "its hidden units (fc2). Blocks from the first, 0, to the last."
    )
    return paragraph(said, "soft") + schedule_drawing(applied.schedule)


def _loading(applied: Applied) -> str:
    record, transform = applied.record, str(applied.stored.request.get("transform", ""))
    file = f"{file_stem(record.model, record.schedule)}.safetensors"
    ways = ways_to_load(file, applied.exports, transform, TASKS[record.task].answers)
    (title, lines), *others = ways
    more = f"Other files load with {'; '.join(name for name, _ in others)}." if others else ""
    code = f'<pre tabindex="0">{escape(lines)}</pre>'
    return f"<h3>{escape(title)}</h3>{code}{paragraph(f'Images become input by: {transform}. {more}', 'soft')}"


def _digests(applied: Applied) -> str:
    record, request = applied.record, applied.stored.request
    pairs = [
        (f"{file_stem(record.model, record.schedule)}.safetensors", f"{_mb(record.file_bytes)}, sha256 {record.file_sha256}"),
        *(
            (one.path, f"{_mb(one.bytes)}, sha256 {one.sha256}; run again on {one.images} images, equal to "
                       f"{one.relative_difference:.1e} of the largest output") for one in applied.exports
        ),
        ("Schedule", record.schedule), ("Baseline's weights", str(request.get("weights_digest", "unknown"))),
        ("Images", str(request.get("data_digest", "unknown"))),
    ]
    if applied.certificate is not None:
        found = applied.certificate
        said = f"the baseline and {len(found.forms) - 1} forms of the pruned model on {found.image_count:,} images, "
        said += f"{len(found.differing())} of them not the compact model" if found.differing() else "which are one model"
        pairs.append(("Certificate", f"{said}; sha256 {found.sha256}"))
    return definitions(pairs, "small")
