"""Jobs in words."""

from dataclasses import replace

import pytest

from dashboard.components.jobs import duration, facts_text, price_text, progress_text
from tests.support.engines import QUOTE, job


@pytest.mark.parametrize(("seconds", "text"), [
    (0.2, "1 s"), (12.4, "12 s"), (89, "89 s"), (90, "2 min"), (1500, "25 min"), (6000, "1.7 h"), (40_000, "11 h"),
])
def test_durations_have_no_more_digits_than_an_estimate_deserves(seconds, text):
    assert duration(seconds) == text


def test_prices_say_what_is_stored():
    free = price_text(replace(QUOTE, stored=36, seconds=0.0))
    assert free.startswith("**0 s**: 36 cells \N{MULTIPLICATION SIGN} 1,000 images, all stored")
    assert price_text(replace(QUOTE, stored=1)).endswith("Of the cells, 1 is stored already, at no cost.")


def test_progress_and_facts_in_words():
    assert progress_text(job(1, "running", done=250, total=1000, left_s=75.0)) == "25 % done, about 75 s left"
    assert progress_text(job(1, "running", message="Loading PyTorch")) == "Loading PyTorch; the quote was 4 min"
    assert progress_text(job(1, "running", wish="pause", done=1, total=2)) == "Pausing; what is finished stays stored"
    assert price_text(QUOTE, upper_bound=True).startswith("**At most about 4 min**")
    assert "restarted 2 times by itself" in facts_text(job(1, "running", crashes=2))
    assert "measured for 30 s" in facts_text(job(1, "done", finished_at=1e9 + 33, measured_s=30.0))
