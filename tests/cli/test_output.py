"""Progress: lines of a log where there is no terminal for a bar."""

from collections.abc import Iterator

import pytest

from toast_core.cli import output
from toast_core.cli.output import Bar, Log, in_words, show_steps


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """The clock of the logs made meanwhile; no step was told before."""
    found = Clock()
    monkeypatch.setattr(output, "_clock", found)
    output._steps.clear()
    yield found
    output._steps.clear()


def lines(told: object, clock: Clock, seconds: float, total: int, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What is said over `seconds` of even work."""
    for done in range(1, total + 1):
        clock.now = seconds * done / total
        told(done, total)
    return capsys.readouterr().err.splitlines()


def test_short_work_says_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    assert lines(Log("evaluating").told, clock, 9.9, 1000, capsys) == []


@pytest.mark.parametrize(("seconds", "least", "most"), [(60, 4, 6), (1000, 9, 17), (3600, 50, 60)])
def test_long_work_says_how_far_it_is_now_and_then(
    clock: Clock, capsys: pytest.CaptureFixture[str], seconds: int, least: int, most: int
) -> None:
    said = lines(Log("certifying").told, clock, seconds, 4000, capsys)
    assert least <= len(said) <= most and all("\r" not in line for line in said)


def test_a_line_has_the_work_done_and_the_time_left(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    said = lines(Log("certifying").told, clock, 600, 2000, capsys)
    assert said[0] == "toast: certifying: 200 of 2,000, 10 %, about 9 min left"


def test_a_bar_is_a_log_without_a_terminal(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Bar("recovering", with_note=True) as advance:
        clock.now = 30.0
        advance(5, 10, "epoch 2, loss 0.5")
    assert capsys.readouterr().err == "toast: recovering: 5 of 10, 50 %, epoch 2, loss 0.5\n"


def test_steps_of_a_workbench_are_logged_each_time_from_the_start(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    for begins in (0, 100):
        for block in range(1, 13):
            clock.now = begins + 5.0 * (block - 1)
            show_steps("compensating", block, 12)
    said = capsys.readouterr().err.splitlines()
    assert said[0] == said[len(said) // 2] == "toast: compensating: 3 of 12, 25 %, about 30 s left"


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0 s"), (59, "59 s"), (100, "2 min"), (3600, "1 h 0 min"), (11100, "3 h 5 min")])
def test_times_left_are_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
