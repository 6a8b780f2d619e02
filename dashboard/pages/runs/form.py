"""What one kind of job is on the Runs page: a `FORM` in a file of this folder, which is all that the page needs of a new kind."""

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

import streamlit as st

from dashboard.session import state
from toast_core.engine.protocol import Description, Job
from toast_core.schedule.schedule import SELECTIONS


@dataclass(frozen=True)
class Form:
    """How the Runs page offers one kind of job, and what it shows of those that there are.

    kind            as the engine names it
    title           what is offered; empty where jobs of this kind are started on another page
    help            what it measures
    place           among those offered, ascending
    choose          completes a run of this kind by asking for the rest; None while something is missing, which it says
    images          what its images are called where they are not the dashboard's; `choose` then asks for their number, too
    unit            what the price counts
    needs_schedule  whether its command line reads the schedule in hand from a file
    may_end_early   whether a run may measure less than its price counts
    buttons         draws what only cards of these jobs have, beside their other buttons
    details         draws what only cards of these jobs have, once there is an analysis
    """

    kind: str
    title: str = ""
    help: str = ""
    place: int = 0
    choose: Callable[[Description, dict], dict | None] | None = None
    images: str | None = None
    unit: str = "cell"
    needs_schedule: bool = False
    may_end_early: Callable[[dict], bool] = lambda run: False
    buttons: Callable[[Job], None] | None = None
    details: Callable[[Job], None] | None = None


@cache
def find_forms() -> dict[str, Form]:
    """The forms of this folder by kind, those that are offered in their order."""
    modules = (import_module(f"{__package__}.{file.name}") for file in pkgutil.iter_modules([str(Path(__file__).parent)]))
    found = [module.FORM for module in modules if hasattr(module, "FORM")]
    return {form.kind: form for form in sorted(found, key=lambda form: form.place)}


def chosen_selection(engine: Description) -> str:
    """Ask how channels are chosen, that of the schedule in hand first; calibrated only where there are calibration images."""
    selections = [name for name in SELECTIONS if name != "calibrated" or engine.calibration]
    in_hand = state.schedule().selection
    return st.segmented_control(
        "Channels are chosen", selections, format_func=_in_words, required=True, key="run-selection",
        default=in_hand if in_hand in selections else selections[0],
        help="  \n".join(f"{_in_words(name)}: {SELECTIONS[name]}" for name in selections),
    )


def _in_words(name: str) -> str:
    return name.replace("_", " ").capitalize()
