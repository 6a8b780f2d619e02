"""How figures are written: as many digits as their interval supports, and at least those of the figure."""

import pytest

from toast_core.intervals import Estimate, decimals
from toast_core.studies.tasks.base import Figure

COSINE, SHARE = Figure("cosine", "feature cosine", digits=4), Figure("top1", "top-1", "%")
_NUMBERS = [(0.0312, "0.0312"), (0.000118, "0.000118"), (-2.1e-6, "-0.00000210"), (0.0, "0.0000"), (3.0, "3.0000")]


@pytest.mark.parametrize(
    ("interval", "digits"), [((0, 4), 0), ((-1, 1), 0), ((0.1, 0.5), 1), ((0.9, 0.91), 3), ((1 - 4e-7, 1 - 2e-7), 7), ((1, 1), 0)]
)
def test_an_interval_says_the_digits(interval: tuple[float, float], digits: int) -> None:
    assert decimals(interval) == digits


def test_no_interval_says_none() -> None:
    assert decimals((-float("inf"), float("inf")), 2) == 2
    assert decimals((0.9, 0.90002), most=3) == 3


def test_what_differs_is_not_written_alike() -> None:
    one, other = Estimate(0.9999962, (0.9999960, 0.9999964)), Estimate(0.9999978, (0.9999977, 0.9999979))
    assert (COSINE.said(one), COSINE.said(other)) == ("0.9999962", "0.9999978")
    assert COSINE.between(one) == "0.9999960 to 0.9999964"
    assert COSINE.in_short(other) == "feature cosine 0.9999978 (95 %: 0.9999977 to 0.9999979)"


def test_a_share_keeps_its_digits() -> None:
    found = Estimate(91.532, (90.97, 92.06))
    assert SHARE.said(found) == "91.53 %"
    assert SHARE.in_short(found) == "top-1 91.5 % (95 %: 91.0 to 92.1 %)"


@pytest.mark.parametrize(("value", "said"), _NUMBERS)
def test_small_damages_have_three_digits_that_count(value: float, said: str) -> None:
    assert COSINE.number(value) == said
    assert COSINE.number(value, "+") == (said if value < 0 else f"+{said}")
