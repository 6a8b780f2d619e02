"""Keeps the schedule in hand as a draft of the browser's owner, run by run, and finds it again after a reload or a restart.

A draft grows while it is edited in one go. Saving it, taking another schedule in hand, or having a run measure, apply or export it closes
it: an edit of a closed draft begins a new one that descends from it. What was fitted, tuned or imported is a draft of its own from the
start. So nothing that was left or measured is overwritten, and the lineage says what came from what.

The owner is a random id that the server sets as a cookie (`dashboard.owner`). A browser that refuses cookies has no
owner, and keeps no drafts.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

import streamlit as st

from dashboard.engine.client import state_root
from dashboard.evidence.draft import Draft, Result
from dashboard.evidence.savings import offered_points
from dashboard.evidence.weights import weights_digest
from dashboard.owner import OWNER_COOKIE, is_owner
from dashboard.session.drafts import MAX_NAME, DraftBook, DraftError
from dashboard.session.history import History
from toast_core.cost.shapes import ModelShape
from toast_core.engine.protocol import Description, Measurement
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup

A_LINK = "a link"
_FOLDER, _NAME = "drafts", "draft-to-name"


@dataclass(frozen=True)
class Hand:
    """What the session works on: a draft, or a schedule named `origin` that is no draft yet."""

    draft: Draft | None
    origin: str
    schedule: Schedule


@st.cache_resource(show_spinner=False)
def _book(folder: Path) -> DraftBook:
    return DraftBook(folder)


def book() -> DraftBook:
    """The book of drafts in this state folder, opened once for all sessions."""
    return _book(state_root() / _FOLDER)


def owner() -> str | None:
    """The browser's id; None where it has none."""
    found = st.context.cookies.get(OWNER_COOKIE, "")
    return found if is_owner(found) else None


def hand() -> Hand:
    """What the session works on; `resume` comes first."""
    return st.session_state["hand"]


def drafts(shape: ModelShape) -> list[Draft]:
    """This browser's drafts of the model, the one in hand or last in hand first."""
    who = owner()
    return book().drafts(who, shape.name) if who else []


def resume(
    setup: Setup, shape: ModelShape, schedule: Schedule, linked: bool
) -> tuple[Schedule, Sequence[Schedule], Sequence[Schedule]]:
    """On a session's first run, return the schedule to take in hand with those before and after it.

    That is the draft with the link's schedule, or where no link asks for one, the draft that was in hand last; else `schedule`.
    """
    try:
        found = next((one for one in drafts(shape) if not linked or one.schedule == schedule), None)
    except DraftError as error:
        found, st.session_state["notice"] = None, str(error)
    if found is None:
        st.session_state["hand"] = Hand(None, _named(setup, shape, schedule) or A_LINK, schedule)
        return schedule, (), ()
    st.session_state["hand"] = Hand(found, found.origin, found.schedule)
    return found.schedule, *found.history()


def autosave(setup: Setup, shape: ModelShape, history: History) -> None:
    """Keep the schedule in hand if this run has changed it. A book that cannot be written leaves a notice, and the session goes on."""
    who, held, wanted = owner(), hand(), st.session_state.pop(_NAME, None)
    if who is None or history.present == held.schedule:
        return
    try:
        st.session_state["hand"] = _kept(who, held, (_named(setup, shape, history.present), wanted), shape, history)
    except DraftError as error:
        st.session_state["notice"] = str(error)


def _kept(who: str, held: Hand, names: tuple[str | None, str | None], shape: ModelShape, history: History) -> Hand:
    """`names` are that of the starting point that the schedule is, and that of the draft that it is to be, where there are such."""
    name, wanted = names
    present, steps = history.present, (history.past, history.future)
    own, draft = book().drafts(who, shape.name), held.draft
    same = next((one for one in own if one.schedule == present and (draft is None or one.number != draft.number)), None)
    if same or name:
        if draft:
            book().close(who, draft.number)
        return Hand(same and book().take(who, same.number), same.origin if same else name, present)
    grown = book().grow(who, draft, present, steps) if draft and wanted is None else None
    if grown is None:
        # where the draft was removed, what it came from is still its name
        parent = next((one.number for one in own if draft and one.number == draft.number), None)
        grown = book().add(who, shape.name, present, parent, draft.name if draft else held.origin, steps)
    if wanted is not None:
        book().rename(who, grown.number, _unused(wanted, [one.name for one in own]))
        grown = book().close(who, grown.number)
    return Hand(grown, grown.origin, present)


def _unused(name: str, taken: Sequence[str]) -> str:
    """The name, with a number where it is taken."""
    name = "".join(one for one in name if one.isprintable()).strip()[: MAX_NAME - 6] or "Import"
    return next(one for one in chain([name], (f"{name} ({number})" for number in count(2))) if one not in taken)


def begin(name: str) -> None:
    """Leave the draft in hand as it is; the schedule that the caller takes in hand next is a draft of its own under this name, closed.

    Raises:
        DraftError: the book cannot be written.
    """
    freeze()
    st.session_state[_NAME] = name


def freeze() -> None:
    """Leave the draft in hand as it is: its next edit begins a new one. Nothing where the schedule in hand is no draft.

    Raises:
        DraftError: the book cannot be written.
    """
    held, who = hand(), owner()
    if held.draft and not held.draft.closed and who:
        st.session_state["hand"] = Hand(book().close(who, held.draft.number), held.origin, held.schedule)


def _named(setup: Setup, shape: ModelShape, schedule: Schedule) -> str | None:
    """The name of the starting point that a schedule equals; None where it equals none."""
    return next((point.name for point in offered_points(setup, shape, schedule) if point.schedule == schedule), None)


def save(name: str) -> None:
    """Close the draft in hand under a name; its next edit begins a new draft.

    Raises:
        DraftError: the name is not allowed, or the book cannot be written.
    """
    held, who = hand(), owner()
    if held.draft and who and book().rename(who, held.draft.number, name):
        st.session_state["hand"] = Hand(book().close(who, held.draft.number), held.origin, held.schedule)


def mark(number: int, name: str, starred: bool, note: str) -> None:
    """Set what the list shows of a draft.

    Raises:
        DraftError: the name or note is not allowed, or the book cannot be written.
    """
    held, who = hand(), owner()
    if who is None:
        return
    book().rename(who, number, name)
    marked = book().mark(who, number, starred, note)
    if held.draft and held.draft.number == number:
        st.session_state["hand"] = Hand(marked, held.origin, held.schedule)


def restore(number: int) -> None:
    """Put a removed draft on the list again.

    Raises:
        DraftError: the book cannot be written.
    """
    if who := owner():
        book().restore(who, number)


def take(draft: Draft) -> None:
    """Make a draft the one in hand; the caller takes its schedule in hand, too."""
    held, who = hand(), owner()
    if who is None:
        return
    if held.draft and held.draft.number != draft.number:
        book().close(who, held.draft.number)
    st.session_state["hand"] = Hand(book().take(who, draft.number), draft.origin, draft.schedule)


def remove(number: int) -> None:
    """Take a draft off the list; one in hand stays in hand as a schedule, and its next edit begins a new draft.

    Raises:
        DraftError: the book cannot be written.
    """
    held, who = hand(), owner()
    if who is None:
        return
    book().remove(who, number)
    if held.draft and held.draft.number == number:
        st.session_state["hand"] = Hand(None, held.draft.name, held.schedule)


def subject(setup: Setup, engine: Description) -> str:
    """What results are about: the weights, and the images that they are measured on and calibrated with."""
    weights = weights_digest(setup) or setup.weights
    calibration = engine.calibration.digest if engine.calibration else None
    return json.dumps([engine.model.name, weights, setup.img_size, engine.data.digest, calibration])


def keep_result(setup: Setup, engine: Description, schedule: Schedule, message: Measurement) -> None:
    """Store a finished measurement: the headline by its key, the baseline's, their difference (Estimate.to_dict each) and `images`.

    Of a classifier these are `top1`, `baseline`, `delta_top1` and `images`.
    """
    who = owner()
    if who is None or engine.data is None:
        return
    key = message.scheduled.keys[0]
    figures = {
        "images": message.images_done, key: message.scheduled.headline.to_dict(), "baseline": message.baseline.headline.to_dict(),
        f"delta_{key}": message.change.to_dict(),
    }
    try:
        book().keep_result(who, subject(setup, engine), schedule, figures)
    except DraftError as error:
        st.session_state["notice"] = str(error)


def results(setup: Setup, engine: Description) -> dict[str, Result]:
    """What this browser has measured while editing, by the schedule's digest, newest first."""
    who = owner()
    return book().results(who, subject(setup, engine)) if who and engine.is_ready and engine.data else {}
