"""Plotly figures of stored analyses, each with a heading for people; and as PNG and SVG where the machine can draw them."""

import asyncio
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import plotly.graph_objects as go

from dashboard.charts.composition import composition_figure
from dashboard.charts.redundancy import redundancy_figure, spectrum_figure
from dashboard.charts.sensitivity import sensitivity_curves, sensitivity_heatmap
from toast_core.schedule.sites import BY_NAME
from toast_core.studies.composition.result import CompositionRow
from toast_core.studies.redundancy.result import REDUNDANCY_SITES, RedundancyRow

TEMPLATE = "plotly_white"
_IMAGE_SCALES = {"png": 2, "svg": 1}
_WIDTH = 1100  # pixels; heights are the figures' own
_TIMEOUT_S = 90
_INSTALL = "pip install 'toast-studio[figures]'"
_REDUNDANT = {"hidden": "hidden units of the feed-forward network (fc2)", "fc1_input": "input channels of the feed-forward network (fc1)"}


@dataclass(frozen=True)
class Drawn:
    """One figure: the name of its files, its heading for people, a line that says how to read it, and where its figures come from."""

    name: str
    heading: str
    reading: str
    badge: str
    figure: go.Figure


def report_figures(rows_by_kind: Mapping[str, Sequence[Mapping]]) -> dict[str, go.Figure]:
    """The figures of `drawn` by file name."""
    return {one.name: one.figure for one in drawn(rows_by_kind)}


def drawn(rows_by_kind: Mapping[str, Sequence[Mapping]]) -> list[Drawn]:
    """The figures of a report: the counterparts of the paper's Fig. 4 and Fig. 5, spectra of the last block, composition.

    Args:
        rows_by_kind: rows as the store keeps them: `redundancy` (RedundancyRow.to_dict), `sensitivity` (see charts.sensitivity) and
            `composition` (CompositionRow.to_dict).
    """
    found = [*_redundancy(rows_by_kind.get("redundancy", ())), *_sensitivity(rows_by_kind.get("sensitivity", ()))]
    found += _composition(rows_by_kind.get("composition", ()))
    for one in found:  # a saved figure may be looked at on any background
        one.figure.update_layout(paper_bgcolor="white", plot_bgcolor="white")
    return found


def _redundancy(rows: Sequence[Mapping]) -> Iterator[Drawn]:
    read = [RedundancyRow.from_dict(row) for row in rows]
    for site in REDUNDANCY_SITES:
        of_site = [row for row in read if row.site == site]
        if of_site:
            last, name = max(of_site, key=lambda row: row.block), _REDUNDANT[site]
            yield Drawn(
                f"redundancy-{site}", f"How alike the {name} are, block by block",
                "What the channels of a block share. It describes the model; it does not say which blocks can be pruned.", "measured",
                redundancy_figure(of_site, site=site, template=TEMPLATE),
            )
            yield Drawn(
                f"spectrum-{site}-block-{last.block}", f"How many directions the {name} of block {last.block} use",
                "A steep fall: few directions carry what the block computes.", "measured", spectrum_figure(last, TEMPLATE),
            )


def _sensitivity(rows: Sequence[Mapping]) -> Iterator[Drawn]:
    for site in dict.fromkeys(row["site"] for row in rows):
        name = f"{site}: {' and '.join(BY_NAME[one].label for one in site.split('+') if one in BY_NAME)}".rstrip(": ")
        yield Drawn(
            f"sensitivity-{site}-curves", f"What is lost when one block drops {name}",
            "A line a block, that block pruned alone: the flatter, the more can be dropped there.", "measured",
            sensitivity_curves(rows, site, TEMPLATE),
        )
        yield Drawn(
            f"sensitivity-{site}-heatmap", f"The same for every block and share of {site}",
            "Grey: cannot be told apart from no loss.", "measured", sensitivity_heatmap(rows, site, TEMPLATE),
        )


def _composition(rows: Sequence[Mapping]) -> Iterator[Drawn]:
    analyses: dict[tuple, list[CompositionRow]] = {}
    for row in rows:
        analysis = tuple(row.get(name) for name in ("model", "schedule", "dtype", "images", "deployed_seed"))
        analyses.setdefault(analysis, []).append(CompositionRow.from_dict(row))
    for number, of_one in enumerate(analyses.values()):
        yield Drawn(
            f"composition-{number}", "Does the answer depend on the other images of a batch?",
            "Accuracy over the batch size, in class order and shuffled: a model that is safe to deploy gives a flat line.", "measured",
            composition_figure(of_one, TEMPLATE),
        )


def render_images(figures: Mapping[str, go.Figure]) -> tuple[dict[str, bytes], list[str]]:
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
