"""Figures of stored analyses as files: one HTML page that needs nothing else, and a PNG and an SVG of every figure."""

import asyncio
import html
import importlib.util
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import plotly.graph_objects as go

from dashboard.charts.composition import composition_figure
from dashboard.charts.redundancy import redundancy_figure, spectrum_figure
from dashboard.charts.sensitivity import sensitivity_curves, sensitivity_heatmap
from dashboard.charts.style import chart_config
from toast_core.errors import DataError
from toast_core.files import write_bytes
from toast_core.studies.composition.result import CompositionRow
from toast_core.studies.redundancy.result import REDUNDANCY_SITES, RedundancyRow

TEMPLATE = "plotly_white"
_IMAGE_SCALES = {"png": 2, "svg": 1}
_WIDTH = 1100  # pixels; heights are the figures' own
_TIMEOUT_S = 90
_INSTALL = "pip install 'toast-studio[figures]'"


def write_report(rows_by_kind: Mapping[str, Sequence[Mapping]], out_dir: Path, title: str) -> tuple[list[Path], list[str]]:
    """Write `report.html`, and each figure as PNG and SVG where Kaleido and a Chromium are on this machine.

    Files are written beside their name and renamed, so an interrupted report leaves none half written; earlier ones are replaced.

    Args:
        rows_by_kind: rows as the store keeps them: `redundancy` (RedundancyRow.to_dict), `sensitivity` (see charts.sensitivity) and
            `composition` (CompositionRow.to_dict).
        out_dir: a folder, made where it is missing.
        title: heading of the page.

    Returns:
        The files written, and what to tell the user: why there are no images, where there are none.

    Raises:
        DataError: there is nothing to draw, or the folder cannot be written.
    """
    figures = report_figures(rows_by_kind)
    if not figures:
        raise DataError(f"{title} has no redundancy, sensitivity or composition rows to draw; run toast analyze first")
    images, messages = _render(figures)
    contents = {"report.html": _page(figures, title).encode(), **images}
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            write_bytes(out_dir / name, content)
    except OSError as error:
        raise DataError(f"the report cannot be written to {out_dir} ({error.strerror}); choose another folder") from error
    return [out_dir / name for name in contents], messages


def report_figures(rows_by_kind: Mapping[str, Sequence[Mapping]]) -> dict[str, go.Figure]:
    """The figures of a report by file name: the counterparts of the paper's Fig. 4 and Fig. 5, spectra of the last block, composition."""
    redundancy = [RedundancyRow.from_dict(row) for row in rows_by_kind.get("redundancy", ())]
    figures = {}
    for site in REDUNDANCY_SITES:
        rows = [row for row in redundancy if row.site == site]
        if rows:
            last = max(rows, key=lambda row: row.block)
            figures[f"redundancy-{site}"] = redundancy_figure(rows, site=site, template=TEMPLATE)
            figures[f"spectrum-{site}-block-{last.block}"] = spectrum_figure(last, TEMPLATE)
    sensitivity = rows_by_kind.get("sensitivity", ())
    for site in dict.fromkeys(row["site"] for row in sensitivity):
        figures[f"sensitivity-{site}-curves"] = sensitivity_curves(sensitivity, site, TEMPLATE)
        figures[f"sensitivity-{site}-heatmap"] = sensitivity_heatmap(sensitivity, site, TEMPLATE)
    analyses: dict[tuple, list[CompositionRow]] = {}
    for row in rows_by_kind.get("composition", ()):
        analysis = tuple(row.get(name) for name in ("model", "schedule", "dtype", "images", "deployed_seed"))
        analyses.setdefault(analysis, []).append(CompositionRow.from_dict(row))
    for number, rows in enumerate(analyses.values()):
        figures[f"composition-{number}"] = composition_figure(rows, TEMPLATE)
    # a saved figure may be looked at on any background
    return {name: figure.update_layout(paper_bgcolor="white", plot_bgcolor="white") for name, figure in figures.items()}


def _page(figures: Mapping[str, go.Figure], title: str) -> str:
    parts = [
        f"<h2>{html.escape(name)}</h2>\n" + figure.to_html(full_html=False, include_plotlyjs=number == 0, config=chart_config(name))
        for number, (name, figure) in enumerate(figures.items())
    ]
    heading = html.escape(title)
    style = "body{font-family:sans-serif;max-width:1200px;margin:2em auto;padding:0 1em;background:white;color:#222}h2{font-size:1em}"
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{heading}</title><style>{style}</style></head>\n'
        f"<body><h1>{heading}</h1>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def _render(figures: Mapping[str, go.Figure]) -> tuple[dict[str, bytes], list[str]]:
    """Every figure in every image format by file name, or none and why."""
    if not _has_kaleido():
        return {}, [f"no PNG or SVG was written: Kaleido is not installed; {_INSTALL}, or use the camera button in report.html"]
    try:
        # in a thread of its own, since the caller may be inside a running event loop
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(asyncio.run, _draw(figures)).result(), []
    except Exception as error:  # whatever a foreign browser does must not cost the user the HTML
        reason = " ".join(str(error.args[0] if error.args else type(error).__name__).split())
        return {}, [f"no PNG or SVG was written: Kaleido could not use a Chromium ({reason}); install one, or set BROWSER_PATH to it"]


def _has_kaleido() -> bool:
    return importlib.util.find_spec("kaleido") is not None


async def _draw(figures: Mapping[str, go.Figure]) -> dict[str, bytes]:
    import kaleido

    # Kaleido would load MathJax from the network, and no figure has formulas
    async with kaleido.Kaleido(mathjax=False, timeout=_TIMEOUT_S) as browser:
        return {
            f"{name}.{image}": await browser.calc_fig(
                figure, opts={"format": image, "width": _WIDTH, "height": figure.layout.height, "scale": scale}
            )
            for name, figure in figures.items() for image, scale in _IMAGE_SCALES.items()
        }
