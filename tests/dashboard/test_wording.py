"""Figures in words."""

from datetime import UTC, datetime

import pytest

from dashboard import wording
from tests.support import evidence as stored
from toast_core.studies.evaluation.result import Estimate


def test_one_decimal_at_least_and_as_many_as_the_interval_supports():
    assert wording.accuracy(Estimate(88.43, (86.3, 90.2))) == "88.4 %"
    assert wording.accuracy(Estimate(88.434, (88.40, 88.46))) == "88.43 %" and wording.points(Estimate(0.0, (0.0, 0.0))) == "0.0 points"
    assert wording.accuracy(Estimate(88.43, (88.0, 88.9))) == "88.4 %"
    assert wording.points(Estimate(-1.23, (-1.6, -0.9))) == "\N{MINUS SIGN}1.2 points"
    assert wording.points(Estimate(-0.01, (-0.4, 0.4))) == "0.0 points"
    assert wording.gmacs(4_608_000_000) == "4.61" and wording.parameters(851_000) == "0.851 M"
    assert wording.change(70, 100) == "\N{MINUS SIGN}30 %"
    assert wording.verdict(Estimate(-1, (-3, 1))) == "cannot tell apart from the baseline"
    assert wording.verdict(Estimate(-3, (-5, -1))) == "worse than the baseline"


@pytest.mark.parametrize(("seconds", "words"), [(20, "just now"), (60, "1 minute ago"), (7300, "2 hours ago"), (200_000, "2 days ago")])
def test_ages_are_in_words(seconds: int, words: str):
    then = datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert wording.age(stored.TIME, datetime.fromtimestamp(then.timestamp() + seconds, UTC)) == words


@pytest.mark.parametrize(("damage", "text"), [
    (0.0, "0"), (1e-9, "below 0.000001"), (1.23e-6, "0.0000012"), (0.0075, "0.0075"), (0.01234, "0.012"), (1.0, "1"), (2.345, "2.3"),
    (12.3, "12"),
])
def test_a_damage_of_any_size_has_two_digits(damage, text):
    assert wording.small(damage) == text
