"""The evaluation of the schedule in hand on the Runs page."""

from dashboard.pages.runs.form import Form
from dashboard.session import state
from toast_core.engine.protocol import Description


def _choose(engine: Description, run: dict) -> dict | None:
    return run | {"schedule": state.schedule().to_dict()}


FORM = Form("evaluation", "Schedule in hand", "accuracy and loss of the schedule on the Tune page.", 3, _choose, needs_schedule=True)
