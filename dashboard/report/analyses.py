"""A page for every kind of stored analysis."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go

from analysis_cache.analysis import Analysis
from analysis_cache.errors import StoreError
from analysis_cache.replay import Replay
from dashboard import wording
from dashboard.charts.recovery import recovery_figure
from dashboard.charts.style import chart_config
from dashboard.report.delivery import delivery_paper, read_applied
from dashboard.report.drawing import schedule_drawing
from dashboard.report.evaluation import evaluation_paper
from dashboard.report.facts import Stored, facts_of
from dashboard.report.figures import TEMPLATE, Drawn, drawn
from dashboard.report.paper import MEASURED, PREDICTED, Paper, Section, badge, cell, paragraph, table
from toast_core.intervals import Estimate
from toast_core.schedule.schedule import Schedule
from toast_core.schedule.sites import BY_NAME
from toast_core.studies.certificate.result import Certificate
from toast_core.studies.composition.result import CompositionRow
from toast_core.studies.composition.verdict import judge
from toast_core.studies.tasks.registry import task_in, task_of_row

_MOST_ROWS = 40
_TITLES = {
    "sensitivity": "what one block can lose alone", "redundancy": "how redundant its channels are",
    "composition": "one schedule in any batch", "sketch": "where it is sensitive, predicted", "tuning": "a schedule for a budget",
    "recovery": "accuracy won back by fine-tuning", "latency": "how long its parts take", "tuning_curves": "curves of compensated cells",
    "certificate": "certificate", "export": "exported files",
}
_LEADS = {
    "sensitivity": "Every cell prunes one site of one block and leaves the rest alone.",
    "redundancy": "How much of what the feed-forward channels compute is said twice. It describes the model, and does not predict what "
                  "pruning costs.",
    "sketch": "Predicted from random directions, calibrated by a few cells that were run. Nothing here is a measured accuracy.",
}


def read_paper(replay: Replay, analysis: Analysis) -> tuple[Paper, list[Drawn]]:
    """The page of an analysis, and the figures on it that can be files of their own.

    Raises:
        StoreError: nothing of it is measured, or what is cannot be read.
    """
    stored = Stored(replay, analysis)
    if not stored.heads:
        raise StoreError(f"analysis {analysis.short_id} has no measured cell yet; wait for its run, or start it again")
    try:
        if stored.metric == "agreement":
            return delivery_paper(read_applied(stored)), []
        if stored.metric == "evaluation":
            return evaluation_paper(stored), []
        figures = _FIGURES.get(stored.metric, lambda one: [])(stored)
        sections = _SECTIONS.get(stored.metric, _other)(stored)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise StoreError(f"analysis {analysis.short_id} cannot be read ({type(error).__name__}: {error}); measure it again") from error
    title = f"{stored.model}: {_TITLES.get(stored.metric, stored.metric.replace('_', ' '))}"
    shown = tuple(Section(one.heading, _drawn(one)) for one in figures)
    lead = _LEADS.get(stored.metric, "") or _lead(stored)
    return Paper(title, lead, facts_of(stored, _data(stored), _baseline(stored)), (), (*sections, *shown)), list(figures)


def _baseline(stored: Stored) -> tuple[tuple[str, str], ...]:
    """What the baseline scores on the same images, where that was stored with the analysis."""
    head = stored.replay.baseline(stored.analysis.id)
    if head is None:
        return ()
    figure = task_of_row(head.summary).figures[0]
    if figure.key not in head.summary:
        return ()
    found = Estimate.from_dict(head.summary[figure.key])
    return ((f"Baseline's {figure.label}", f"{wording.accuracy(found, figure)} ({wording.accuracy_interval(found, figure)}), measured"),)


def _data(stored: Stored) -> str:
    """The image set's name, where a tuning's report says it."""
    return str(stored.rows[0].get("calibration", "")) if stored.metric == "tuning" else ""


def _drawn(one: Drawn) -> str:
    """A Plotly figure with the line that says how to read it; its program is put into the file once, by `with_plotly`."""
    made = go.Figure(one.figure).update_layout(title_text="", margin_t=24)
    drawing = made.to_html(full_html=False, include_plotlyjs=False, config=chart_config(one.name), default_width="100%")
    return f"<p class='soft'>{escape(one.reading)} {badge(one.badge)}</p><figure>{drawing}</figure>"


def with_plotly(page: str) -> str:
    """The page with Plotly's program inside, where it has a figure that needs it."""
    if "Plotly.newPlot(" not in page:
        return page
    from plotly.offline import get_plotlyjs

    return page.replace("</head>", f"<script>{get_plotlyjs()}</script></head>", 1)


def _lead(stored: Stored) -> str:
    rows = stored.rows
    if stored.metric == "composition":
        return judge([CompositionRow.from_dict(row) for row in rows]).sentence
    if stored.metric == "tuning":
        report = rows[0]
        best = next((one for one in report.get("candidates", ()) if one["name"] == report["chosen"]), None)
        saved = f"The schedule saves {100 * report['reduction']:.0f} % of the {_unit(report)}" if "reduction" in report else "A schedule"
        return f"{saved}; {task_in(report).judged(best)}." if best else f"{saved}."
    if stored.metric == "certificate":
        found = Certificate.from_dict(rows[0]["certificate"])
        differing = found.differing()
        return "; ".join(differing) if differing else f"{len(found.forms)} forms, measured on the same {found.image_count:,} images."
    return f"{len(rows)} cell{'s' if len(rows) != 1 else ''}."


def _unit(report: Mapping[str, Any]) -> str:
    return {"macs": "multiply-accumulates", "params": "parameters"}.get(report["budget"]["unit"], str(report["budget"]["unit"]))


def _nothing(stored: Stored) -> list[Section]:
    return []


def _tuning(stored: Stored) -> list[Section]:
    report = stored.rows[0]
    task = task_in(report)
    rows = [(cell(str(one["name"])), cell(task.judged(one)), badge(MEASURED)) for one in report.get("candidates", ())]
    drawing = Section("What is dropped, block by block", schedule_drawing(Schedule.from_dict(report["schedule"])))
    return [drawing, Section("Candidates on held-out images", table(("Candidate", "Measured", ""), rows))] if rows else [drawing]


def _certificate(stored: Stored) -> list[Section]:
    found = Certificate.from_dict(stored.rows[0]["certificate"])
    figure = found.forms[0].task.figures[0]
    rows = [
        (cell(one.name), cell(figure.said(one.figures[figure.key]), figure.between(one.figures[figure.key])),
         cell(f"{one.largest_difference:.1e}"), cell(f"{one.size_bytes / 1e6:.2f} MB"),
         cell(f"{one.speeds[0].ms[0]:.2f} ms", f"{one.speeds[0].ms[1]:.2f} to {one.speeds[0].ms[2]:.2f}"), badge(MEASURED))
        for one in found.forms
    ]
    heads = ("Form", figure.title, "Largest difference to compact", "Size", "One image", "")
    return [Section("Forms side by side", table(heads, rows)), Section("Seal", paragraph(f"sha256 {found.sha256}"))]


def _other(stored: Stored) -> list[Section]:
    """Any other analysis as a table of what its cells say in one word or number."""
    plain = [
        {name: value for name, value in row.items() if name != "key" and isinstance(value, str | int | float) and value is not True}
        for row in stored.rows
    ]
    names = list(dict.fromkeys(name for row in plain for name in row))[:8]
    heads = tuple(name.replace("_", " ").capitalize() for name in names)
    rows = [[cell(_short(row.get(name, ""))) for name in names] for row in plain[:_MOST_ROWS]]
    more = f"The first {_MOST_ROWS} of {len(plain)} rows; toast cache show has all." if len(plain) > _MOST_ROWS else ""
    return [Section("What was measured", table(heads, rows) + paragraph(more, "soft") + f"<p>{badge(MEASURED)}</p>")]


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:60]


def _sketched(stored: Stored) -> list[Drawn]:
    from dashboard.charts.sketch import site_heatmap
    from dashboard.evidence.sketch import read_map

    rows = [row for one in stored.rows for row in one["rows"]]
    found = read_map(rows, stored.request, stored.analysis.finished_utc is not None)
    if found is None:
        return []
    sites = dict.fromkeys(site for site, _ in found.points)
    return [
        Drawn(
            f"sketch-{site}", f"Predicted damage when one block drops {site}{f', {BY_NAME[site].label}' if site in BY_NAME else ''}",
            f"{found.task.damage.title} of a block pruned alone, by the share that it drops.", PREDICTED,
            site_heatmap(found, site, TEMPLATE).update_layout(paper_bgcolor="white", plot_bgcolor="white"),
        )
        for site in sites
    ]


def _recovered(stored: Stored) -> list[Drawn]:
    epochs = sorted((row for row in stored.rows if row.get("part") == "epoch"), key=lambda row: row["epoch"])
    figure = recovery_figure(epochs, TEMPLATE).update_layout(paper_bgcolor="white", plot_bgcolor="white")
    return [Drawn("recovery", "Epoch by epoch", "The dotted line marks the epoch that is kept.", MEASURED, figure)]


def _charted(stored: Stored) -> list[Drawn]:
    return drawn({stored.metric: stored.rows})


_FIGURES: Mapping[str, Callable[[Stored], Sequence[Drawn]]] = {
    **dict.fromkeys(("sensitivity", "redundancy", "composition"), _charted), "sketch": _sketched, "recovery": _recovered,
}
_SECTIONS: Mapping[str, Callable[[Stored], list[Section]]] = {
    **dict.fromkeys(_FIGURES, _nothing), "tuning": _tuning, "certificate": _certificate,
}
