"""Figures and tables on a page, each with what takes it along: PNG and SVG of a figure, made in the browser, and CSV of a table."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from dashboard.charts.style import chart_config
from dashboard.session.whole import whole

_FONT = "Arial, Helvetica, sans-serif"
_HTML = '<div><span>Save figure</span><button data-format="png">PNG</button><button data-format="svg">SVG</button></div>'
_CSS = """
div { display: flex; gap: 0.5rem; align-items: center; justify-content: flex-end; font: 0.8rem var(--st-font); }
span { color: var(--st-text-color); opacity: 0.6; }
button {
  font: inherit; color: var(--st-text-color); background: none; border: 1px solid var(--st-border-color); border-radius: 0.4rem;
  padding: 0.1rem 0.6rem; cursor: pointer;
}
button:hover, button:focus-visible { border-color: var(--st-primary-color); color: var(--st-primary-color); }
"""
_save_buttons = st.components.v2.component(
    "toast_save_figure", html=_HTML, css=_CSS, js=(Path(__file__).parents[1] / "static" / "save_figure.js").read_text(encoding="utf-8")
)


def show_figure(figure: go.Figure, key: str, name: str, alt: str, on_select: Callable[[], object] | None = None) -> None:
    """Show a figure with its PNG and SVG buttons.

    Args:
        key: of the chart, unique on the page; with `on_select` the selected points are in the session under it.
        name: of the saved files, without suffix.
        alt: what a screen reader says.
    """
    # the page's own font is not in a saved file: words measured in it would be cut there
    figure.update_layout(font_family=_FONT)
    st.plotly_chart(
        figure, key=key, config=chart_config(name), alt=alt, on_select=whole(on_select) if on_select else "ignore", selection_mode="points"
    )
    _save_buttons(key=f"{key}-save", data={"chart": key}, height="content")


def show_table(frame: pd.DataFrame, key: str, name: str) -> None:
    """Show a table with a button that saves it as CSV."""
    st.dataframe(frame, key=key, hide_index=True)
    st.download_button(
        "Save as CSV", lambda: frame.to_csv(index=False).encode(), f"{name}.csv", "text/csv", key=f"{key}-csv", on_click="ignore"
    )
