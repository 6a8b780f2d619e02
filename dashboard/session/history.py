"""The schedule in hand and the way back. Pure; imports neither Streamlit nor torch."""

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
        """Another schedule in hand; nothing changes where it is the same."""
        return self if schedule == self.present else History(schedule, (*self.past, self.present)[-_MAX_UNDO:])

    def undo(self) -> "History":
        """One step back, where there is one."""
        return History(self.past[-1], self.past[:-1], (self.present, *self.future)) if self.past else self

    def redo(self) -> "History":
        """One step forward again, where there is one."""
        return History(self.future[0], (*self.past, self.present), self.future[1:]) if self.future else self
