"""The schedule in hand with the steps before and after it. Pure; imports neither Streamlit nor torch."""

from dataclasses import dataclass

from toast_core.schedule.schedule import Schedule

_MAX_UNDO = 200


@dataclass(frozen=True)
class History:
    """The schedule in hand, with those before and after it."""

    present: Schedule
    past: tuple[Schedule, ...] = ()
    future: tuple[Schedule, ...] = ()

    def edit(self, schedule: Schedule) -> "History":
        """The history with another schedule in hand, and nothing to redo; itself where the schedule is the same."""
        return self if schedule == self.present else History(schedule, (*self.past, self.present)[-_MAX_UNDO:])

    def undo(self) -> "History":
        """The history one step back; itself at the beginning."""
        return History(self.past[-1], self.past[:-1], (self.present, *self.future)) if self.past else self

    def redo(self) -> "History":
        """The history one step forward again; itself where nothing was undone."""
        return History(self.future[0], (*self.past, self.present), self.future[1:]) if self.future else self
