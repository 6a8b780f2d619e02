"""Undo and redo."""

from dashboard.session.history import History
from toast_core.schedule.schedule import Schedule


def test_history_walks_both_ways_and_an_edit_ends_the_future():
    a, b, c = (Schedule.uniform(1, fc2=ratio) for ratio in (0, 0.1, 0.2))
    history = History(a).edit(b).edit(b).edit(c)
    assert history.undo().present == b and history.undo().undo().undo().present == a
    assert history.undo().undo().redo().redo().redo().present == c
    assert not history.undo().edit(a).future
