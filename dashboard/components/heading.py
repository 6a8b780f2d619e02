"""The heading of every page, and the style that all pages share."""

from collections.abc import Callable

import streamlit as st

# The equaliser, its totals and what is measured fit a laptop's screen only without the page's wide upper margin.
# A notice comes above the rest: a browser that keeps its place while the page grows would scroll it out of sight.
# Streamlit's captions are too pale for small print on white: 3.9 of contrast, where readable is 4.5.
# The figures of the schedule in hand stay in sight while the page scrolls, below Streamlit's own bar.
FIGURES = "figures-bar"
_STYLE = f"""<style>
[data-testid='stMainBlockContainer'] {{ padding-top: 3.75rem; }}
[data-testid='stMain'] {{ overflow-anchor: none; }}
[data-testid='stCaptionContainer'] {{ opacity: 0.75; }}
:is([data-testid='stLayoutWrapper'], [data-testid='stElementContainer']):has(> .st-key-{FIGURES}), .st-key-{FIGURES} {{
  position: sticky; top: 3.4rem; z-index: 90;
}}
</style>"""


def show_heading(words: str, size: Callable = st.title) -> None:
    """Show a page's title, and what is styled alike on all pages.

    The browser draws what has come 10 ms after the first piece, and the rest when that is drawn. So what a page must show soonest
    follows its heading without anything to compute in between.
    """
    st.html(_STYLE)
    size(words, anchor=False)
