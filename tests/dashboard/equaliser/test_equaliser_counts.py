"""The equaliser in a real browser counts as Python does: cost and milliseconds."""

import random
from dataclasses import replace

import pytest

from dashboard import wording
from tests.support import curves as made_up
from tests.support.equaliser_page import (
    NONE_STORED,
    SWIN,
    TOTALS,
    data_of,
    open_desk,
    open_sections,
    text_of,
)
from tests.support.evaluations import VIT
from toast_core.cost.macs import count_cost
from toast_core.schedule.schedule import SELECTIONS, BlockSchedule, Schedule


def random_schedules(shape, count: int, seed: int, highest: float = 0.99) -> list[Schedule]:
    """Schedules with any ratios, not only stops."""
    draw = random.Random(seed)

    def ratio() -> float:
        return draw.choice([0.0, round(highest * draw.random(), 2), highest * draw.random(), 0.9])

    return [
        Schedule(
            tuple(BlockSchedule(ratio(), ratio(), ratio(), ratio()) for _ in shape.blocks), draw.choice(list(SELECTIONS)),
            multiple_of=draw.choice([1, 1, 4, 8, 16]),
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize("shape", [VIT, SWIN], ids=lambda shape: shape.name)
def test_the_browsers_totals_are_those_of_count_cost(browser, shape):
    page = open_desk(browser, data_of(Schedule.uniform(len(shape.blocks)), shape, stored=NONE_STORED))
    schedules = random_schedules(shape, 150, 7)
    found = page.evaluate(TOTALS, [data_of(schedule, shape, stored=NONE_STORED) for schedule in schedules])
    wanted = [count_cost(shape, schedule) for schedule in schedules]
    assert [tuple(row) for row in found] == [(cost.macs, cost.params) for cost in wanted]
    assert text_of(page, "macs") == wording.gmacs(wanted[-1].macs) and wording.parameters(
        wanted[-1].params
    ) in page.locator(".total.macs .note").inner_text()


@pytest.mark.parametrize("shape", [VIT, SWIN], ids=lambda shape: shape.name)
def test_the_counting_section_alone_counts_as_count_cost(browser, shape):
    schedules = random_schedules(shape, 150, 7)
    found = open_sections(browser).evaluate(
        """async (cases) => {
          const [{ costOf }, { barsOf }] = [await import("./counts.js"), await import("./limits.js")];
          return cases.map((data) => costOf({ data }, barsOf(data)));
        }""",
        [data_of(schedule, shape, stored=NONE_STORED) for schedule in schedules],
    )
    wanted = [count_cost(shape, schedule) for schedule in schedules]
    assert found == [{"macs": cost.macs, "params": cost.params} for cost in wanted]


@pytest.mark.parametrize("shape", [VIT, SWIN], ids=lambda shape: shape.name)
def test_the_browsers_milliseconds_are_those_of_the_table(browser, shape):
    table = made_up.latency_table(shape)
    page = open_desk(browser, data_of(Schedule.uniform(len(shape.blocks)), shape, stored=NONE_STORED, table=table))
    assert "told for calibrated selection only" in page.locator(".total.latency").inner_text()
    schedules = [replace(one, selection="calibrated") for one in random_schedules(shape, 60, 11)]
    equal = [Schedule.uniform(len(shape.blocks), qk=ratio, vo=ratio, fc2=ratio) for ratio in (0, 0.25, 0.51, 0.9)]
    schedules += [replace(one, selection="calibrated") for one in equal]
    found = page.evaluate(
        "(cases) => cases.map((data) => { show(data); return Number(document.querySelector('.total.latency').dataset.exact); })",
        [data_of(schedule, shape, stored=NONE_STORED, table=table) for schedule in schedules],
    )
    assert found == pytest.approx([table.predict_ms(schedule) for schedule in schedules], rel=1e-9)
    assert "batch 1, float32, 2 threads, made up" in page.locator(".total.latency").inner_text()
    page.evaluate("(data) => show(data)", data_of(schedules[0], shape, stored=NONE_STORED))
    assert "no latency table stored" in page.locator(".total.latency").inner_text()
