"""A drawing on a page: an SVG that takes the page's colours, which an image could not, and Streamlit's own HTML leaves out."""

import streamlit as st

_JS = """export default ({ data, parentElement }) => {
  parentElement.querySelector("div").innerHTML = data.svg;
};
"""
_CSS = "div { color: var(--st-text-color); overflow-x: auto; } svg { min-width: 560px; }"
_drawing = st.components.v2.component("toast_drawing", html="<div></div>", css=_CSS, js=_JS)


def show_drawing(svg: str, key: str) -> None:
    """Show an SVG of our own making, as wide as its place."""
    _drawing(key=key, data={"svg": svg})
