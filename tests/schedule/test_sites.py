"""The registry of sites agrees with everything that has one field a site."""

from dataclasses import fields

import pytest

from toast_core.cost.shapes import BlockShape
from toast_core.pruning.plan import BlockPlan
from toast_core.schedule.schedule import BlockSchedule
from toast_core.schedule.sites import BY_NAME, CHANNEL_SITES, HEAD_SITES, PAIRS, SITES, Kind

SHAPE = BlockShape(
    tokens=5, attention_tokens=5, keys=5, width=24, heads=3, head_dim=8, hidden=96, stage=0, qkv_bias=True, qk_norm=False, fc1_bias=True,
    fixed_params=0,
)


def test_a_block_of_a_schedule_and_of_a_plan_has_every_site() -> None:
    assert [field.name for field in fields(BlockSchedule)] == list(SITES)
    assert set(SITES) <= {field.name for field in fields(BlockPlan)}


def test_kinds_and_pairs_part_the_sites() -> None:
    assert (HEAD_SITES, CHANNEL_SITES) == (("qk", "vo"), ("fc1", "fc2"))
    assert PAIRS == {"qk+vo": HEAD_SITES, "fc1+fc2": CHANNEL_SITES}
    assert {BY_NAME[site].kind for site in HEAD_SITES} == {Kind.HEADS}


@pytest.mark.parametrize(("site", "width"), [("qk", 8), ("vo", 8), ("fc1", 24), ("fc2", 96)])
def test_widths_are_fields_of_a_block(site: str, width: int) -> None:
    assert SHAPE.site_width(site) == width
