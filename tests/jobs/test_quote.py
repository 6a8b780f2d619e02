"""What a run costs, before it starts, and how long it still takes."""

from dataclasses import replace

import pytest

from analysis_cache.store import EvidenceStore
from tests.support.runs import SENSITIVITY, tiny_workbench
from toast_core.jobs.book import JobBook
from toast_core.jobs.process import left_seconds
from toast_core.jobs.quote import Quoter
from toast_core.studies.registry import read_run


def test_seconds_follow_the_work_and_what_is_stored_costs_nothing(tmp_path):
    workbench = tiny_workbench(tmp_path)
    quoter = Quoter(workbench, JobBook(tmp_path / "jobs"), start_s=3.0)
    small, large = (quoter.quote(read_run({**SENSITIVITY, "images": images})) for images in (16, 32))
    assert (small.cells, small.stored, small.images) == (3, 0, 16)
    assert large.seconds - 3 == pytest.approx(2 * (small.seconds - 3)) and small.seconds > 3
    with EvidenceStore.open(workbench.setup.store) as store:
        read_run(SENSITIVITY).measure(workbench, store, lambda done, total: None)
    assert quoter.quote(read_run(SENSITIVITY)) == replace(small, stored=3, macs=0, seconds=0.0)


def test_finished_jobs_of_the_kind_and_model_set_the_speed(tmp_path):
    book = JobBook(tmp_path / "jobs")
    quoter = Quoter(tiny_workbench(tmp_path), book, start_s=3.0)
    offer = quoter.offer(read_run(SENSITIVITY))
    number = book.add(**vars(offer)).number
    book.change(number, ("queued",), state="done", measured_s=1000.0)
    assert quoter.quote(read_run(SENSITIVITY)).seconds == pytest.approx(1003)
    assert quoter.quote(read_run({"kind": "redundancy", "images": 16})).seconds < 1000


@pytest.mark.parametrize(("first", "last", "total", "left"), [
    ((0.0, 0), (10.0, 50), 100, 10.0), ((5.0, 20), (5.0, 20), 100, None), ((0.0, 20), (4.0, 20), 100, None), ((0.0, 0), (1.0, 8), 8, 0.0),
])
def test_time_left(first, last, total, left):
    assert left_seconds(first, last, total) == left
