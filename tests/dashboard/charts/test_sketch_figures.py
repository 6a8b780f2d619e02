"""Heat maps of what a sketch predicts."""

import pytest

from dashboard.charts.sketch import blocks_heatmap, site_heatmap
from tests.support.sketches import damage_map
from toast_core.schedule.sites import SITES


def test_every_block_and_ratio_of_a_site_with_what_cannot_be_told_marked() -> None:
    damage = damage_map()
    (heat,) = site_heatmap(damage, "qk").data
    assert (len(heat.y), len(heat.x), heat.zmin, heat.zmax) == (12, 9, -4, 0)
    assert {line[0] for line in heat.text} == {"≈"} and "≈" not in {text for line in heat.text for text in line[1:]}
    unsure = heat.customdata[3][0]
    assert unsure.startswith("10% dropped<br>predicted KL ") and unsure.endswith("cannot tell apart from zero")
    assert "95 %: " in heat.customdata[3][5] and heat.customdata[3][5].startswith("60% dropped<br>predicted KL ")
    assert list(heat.colorbar.ticktext) == ["0.0001", "0.001", "0.01", "0.1", "1"]


def test_every_site_and_block_at_one_ratio() -> None:
    damage = damage_map()
    (heat,) = blocks_heatmap(damage, SITES, 0.5).data
    assert list(heat.y) == list(SITES) and len(heat.x) == 12 and all(value is not None for line in heat.z for value in line)
    (blank,) = blocks_heatmap(damage, SITES, 0.55).data
    assert {value for line in blank.z for value in line} == {None} and blank.customdata[0][0] == "not sketched"


@pytest.mark.parametrize(("kl", "power"), [(0.0, -4), (1e-9, -4), (1e-2, -2), (30.0, 0)])
def test_the_scale_ends_where_the_colours_do(kl: float, power: float) -> None:
    (heat,) = site_heatmap(damage_map(kl=kl, kl95=[kl / 2, None]), "vo").data
    assert {value for line in heat.z for value in line} == {power} and "no interval from one image" in heat.customdata[0][0]
