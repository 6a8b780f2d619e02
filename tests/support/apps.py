"""Pages drawn by Streamlit without a browser, read."""

from streamlit.testing.v1 import AppTest

_KINDS = ("markdown", "caption", "info", "error", "code")


def words(at: AppTest, *more: str) -> str:
    """What can be read on the page: running text, hints, errors and code, and the texts of `more` kinds of elements."""
    return "\n".join(str(element.value) for kind in (*_KINDS, *more) for element in at.get(kind))
