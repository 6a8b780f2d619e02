"""The page about one evaluation: its figures, and against the baseline on the same images where the same source has that."""

from collections.abc import Sequence

from analysis_cache.cell import CellHead
from dashboard import wording
from dashboard.evidence.damage import paired_change
from dashboard.report.drawing import schedule_drawing
from dashboard.report.facts import Stored, chosen_in_words, facts_of
from dashboard.report.hurt import Pictures, hurt_sections
from dashboard.report.paper import MEASURED, Paper, Section, Tile, badge, cell, paragraph, table
from toast_core.intervals import Estimate
from toast_core.schedule.schedule import Schedule
from toast_core.studies.tasks.registry import task_of_row


def evaluation_paper(stored: Stored, pictures: Pictures | None = None, names: Sequence[str] = ()) -> Paper:
    """The page of a finished evaluation; StoreError where its cell cannot be read."""
    head = stored.heads[0]
    schedule, task = Schedule.from_dict(stored.request["schedule"]), task_of_row(head.summary)
    figure, images = task.figures[0], int(head.summary.get("images", 0))
    now = Estimate.from_dict(head.summary[figure.key])
    what = "the baseline" if schedule.is_baseline else f"schedule {schedule.digest()[:8]}"
    before = None if schedule.is_baseline else baseline_of(stored, head)
    change, rows = None, []
    if before is not None:
        change = paired_change(stored.replay.outcomes(before.key), stored.replay.outcomes(head.key))
    for one in task.figures:
        if one.key in head.summary:
            values = [Estimate.from_dict(cells.summary[one.key]) for cells in (before, head) if cells and one.key in cells.summary]
            shown = [cell(wording.accuracy(value, one), wording.accuracy_interval(value, one)) for value in values]
            rows.append((cell(one.title, f"{images:,} images"), *shown, badge(MEASURED)))
    heads = ("", *(["Baseline"] if before else []), "Baseline" if schedule.is_baseline else "Pruned", "")
    sections = [Section("Figures", table(heads, [row for row in rows if len(row) == len(heads)]))]
    if before is not None and task.answers:
        sections += hurt_sections(stored.replay.outcomes(before.key), stored.replay.outcomes(head.key), names, pictures)
    more = []
    if not schedule.is_baseline:
        sections.append(Section("What is dropped, block by block", schedule_drawing(schedule)))
        more.append(("Channels chosen", chosen_in_words(schedule)))
    lead = f"{figure.title} is {wording.accuracy(now, figure)} ({wording.accuracy_interval(now, figure)}) on {images:,} images."
    if change is not None:
        lead += (
            f" Against the baseline on the same {change[1]:,} images: {wording.points(change[0], figure)} "
            f"({wording.points_interval(change[0], figure)}); {wording.verdict(change[0])}."
        )
    elif not schedule.is_baseline:
        lead += " The baseline was not measured on the same images in this store, so no difference is given."
    tiles = [Tile(figure.title, wording.accuracy(now, figure), wording.accuracy_interval(now, figure), MEASURED)]
    if change is not None:
        tiles.append(Tile("Difference", wording.points(change[0], figure), wording.points_interval(change[0], figure), MEASURED))
    if not sections:
        sections.append(Section("Figures", paragraph("Nothing is stored yet.")))
    return Paper(f"{stored.model}: {what}, evaluated", lead, facts_of(stored, more=more), tuple(tiles), tuple(sections))


def baseline_of(stored: Stored, head: CellHead) -> CellHead | None:
    """The baseline's evaluation on the same images with the same weights, wherever the source has it."""
    same = ("model", "weights_digest", "data_digest", "subset_digest", "transform", "dtype")
    wanted = [getattr(head.identity, name) for name in same]
    for analysis in stored.replay.analyses():
        if analysis.request.get("data_digest") != head.identity.data_digest:
            continue
        found = stored.replay.baseline(analysis.id)
        if found is not None and [getattr(found.identity, name) for name in same] == wanted and found.identity.kind == "evaluation":
            return found
    return None
