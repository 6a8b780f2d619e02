"""keep_count, the only rounding rule."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import RATIOS
from toast_core.schedule.rounding import keep_count

WIDTHS = st.integers(1, 8192)
MULTIPLES = st.integers(1, 128)


@given(WIDTHS, RATIOS, MULTIPLES)
def test_at_least_one_and_at_most_all_stay(width: int, ratio: float, multiple: int) -> None:
    assert 1 <= keep_count(width, ratio, multiple) <= width


@given(WIDTHS, RATIOS, RATIOS, MULTIPLES)
def test_a_larger_ratio_never_keeps_more(width: int, first: float, second: float, multiple: int) -> None:
    low, high = sorted((first, second))
    assert keep_count(width, high, multiple) <= keep_count(width, low, multiple)


@given(WIDTHS, MULTIPLES)
def test_ratio_zero_keeps_all(width: int, multiple: int) -> None:
    assert keep_count(width, 0.0, multiple) == width


@given(WIDTHS, RATIOS, MULTIPLES)
def test_a_multiple_is_kept_or_the_whole_width(width: int, ratio: float, multiple: int) -> None:
    kept, plain = keep_count(width, ratio, multiple), keep_count(width, ratio)
    assert kept % multiple == 0 or kept == width
    assert plain <= kept < plain + multiple


@given(WIDTHS, st.integers(1, 999))
def test_decimal_ratios_are_exact(width: int, thousandths: int) -> None:
    exact = width * (1 - Fraction(thousandths, 1000))
    assert keep_count(width, thousandths / 1000) == max(1, exact.numerator // exact.denominator)


@pytest.mark.parametrize(
    ("width", "ratio", "multiple", "kept"),
    [
        (80, 0.9, 1, 8), (640, 0.9, 1, 64), (64, 0.9, 1, 6), (32, 0.9, 1, 3), (3072, 0.9, 1, 307), (1536, 0.7, 1, 460), (10, 0.3, 1, 7),
        (10, 0.95, 1, 1), (1, 0.999, 1, 1), (64, 0.9, 8, 8), (64, 0.5, 8, 32), (20, 0.1, 8, 20), (20, 0.5, 8, 16), (7, 0.5, 8, 7),
        (7, 0.5, 1000, 7),
    ],
)
def test_known_counts(width: int, ratio: float, multiple: int, kept: int) -> None:
    assert keep_count(width, ratio, multiple) == kept


@pytest.mark.parametrize("multiple", [10**30, 10**340], ids=["10^30", "10^340"])
def test_a_multiple_beyond_any_width_keeps_the_whole_width(multiple: int) -> None:
    assert keep_count(80, 0.5, multiple) == 80
