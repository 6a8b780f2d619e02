"""The drawing of a block."""

from xml.etree import ElementTree

import pytest

from dashboard.charts.block import SITE_COLOURS, block_drawing
from dashboard.engine.client import shipped_shape
from toast_core.schedule.sites import SITES


@pytest.mark.parametrize("model", ["demo_vit", "demo_swin"])
def test_it_is_an_svg_with_this_models_sizes_that_says_what_it_shows(model):
    shape = shipped_shape(model).blocks[0]
    drawn = ElementTree.fromstring(block_drawing(shape).replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1))
    words = " ".join(drawn.itertext())
    assert f"{shape.heads} x {shape.head_dim}" in words and f"{shape.width} to {shape.hidden}" in words and f"{shape.keys} keys" in words
    assert drawn.get("role") == "img" and f"{shape.hidden} hidden units" in drawn.get("aria-label")
    assert tuple(SITE_COLOURS) == SITES and all(f"{site} drops" in words.replace("  ", " ") for site in SITES)
    _, _, width, height = map(float, drawn.get("viewBox").split())
    for box in drawn.iter("{http://www.w3.org/2000/svg}rect"):
        x, y, wide, high = (float(box.get(name)) for name in ("x", "y", "width", "height"))
        assert x >= 0 and x + wide <= width and y >= 0 and y + high <= height
