"""A redundancy analysis on the Runs page: there is nothing more to choose than how many images."""

from dashboard.pages.runs.form import Form
from toast_core.engine.protocol import Description


def _choose(engine: Description, run: dict) -> dict | None:
    return run


FORM = Form("redundancy", "Redundancy", "what the feed-forward channels of every block have in common.", 2, _choose)
