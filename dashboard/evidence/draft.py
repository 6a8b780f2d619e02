"""A draft and a measured result, as the book of drafts keeps them for their owner. Pure; imports neither Streamlit nor torch."""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from toast_core.schedule.schedule import Schedule

_MAX_STEPS = 50
Steps = tuple[Sequence[Schedule], Sequence[Schedule]]


@dataclass(frozen=True)
class Draft:
    """One draft. Times are seconds since 1970.

    parent    number of the draft that it began from, which may be gone; None where it began from something else
    origin    name of what it began from: a draft, a starting point, or a link
    steps     packed undo history, see `history`
    closed    an edit begins a new draft that descends from this one
    revision  counts its changes
    starred, note   what its owner says of it
    """

    number: int
    name: str
    parent: int | None
    origin: str
    schedule: Schedule
    steps: bytes
    closed: bool
    revision: int
    created: float
    changed: float
    starred: bool = False
    note: str = ""

    def history(self) -> Steps:
        """The schedules before and after it in the undo history."""
        past, future = json.loads(zlib.decompress(self.steps))
        return [Schedule.from_dict(one) for one in past], [Schedule.from_dict(one) for one in future]


@dataclass(frozen=True)
class Result:
    """A schedule that was measured, and the figures (see `dashboard.session.autosave.keep_result`)."""

    schedule: Schedule
    figures: dict


def pack(steps: Steps) -> bytes:
    """The schedules next to the present one as bytes that `Draft.history` reads; neighbours differ in little, so that they pack well."""
    past, future = steps
    near = [[one.to_dict() for one in past[-_MAX_STEPS:]], [one.to_dict() for one in future[:_MAX_STEPS]]]
    return zlib.compress(json.dumps(near).encode())
