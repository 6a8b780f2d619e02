"""A drawing of one block: what runs one after the other, and where each site drops channels, with this model's sizes. An SVG as text."""

from dataclasses import dataclass
from html import escape

from dashboard.charts.style import BLUE, GREEN, ORANGE, PURPLE
from toast_core.cost.shapes import BlockShape

SITE_COLOURS = {"qk": BLUE, "vo": GREEN, "fc1": PURPLE, "fc2": ORANGE}
_BOX, _ROW, _TOP = 46, 72, 52
_WIDTH = 690


@dataclass(frozen=True)
class _Box:
    """A step of a half: its name, its size in words, where it stands, and the sites that narrow it."""

    name: str
    size: str
    x: int
    width: int
    sites: tuple[str, ...] = ()


def block_drawing(shape: BlockShape) -> str:
    """The drawing as an SVG that scales to its place: attention above, the feed-forward network below, a legend of the sites."""
    heads, dim, width, hidden = shape.heads, shape.head_dim, shape.width, shape.hidden
    attention = (
        _Box("norm", f"{width}", 34, 60), _Box("query, key", f"{heads} x {dim}", 112, 112, ("qk",)),
        _Box("value", f"{heads} x {dim}", 242, 98, ("vo",)), _Box("attention", f"{shape.keys} keys", 358, 112, ("qk", "vo")),
        _Box("projection", f"{heads * dim} to {width}", 488, 128, ("vo",)),
    )
    fc1 = f"{width} to {hidden * shape.fc1_rows}"
    ffn = (
        _Box("norm", f"{width}", 34, 60), _Box("fc1", fc1, 112, 140, ("fc1", "fc2")),
        _Box("activation", f"{hidden} hidden", 276, 140, ("fc2",)), _Box("fc2", f"{hidden} to {width}", 440, 140, ("fc2",)),
    )
    height = _TOP + 2 * _ROW + 6
    parts = [_half(attention, _TOP), _half(ffn, _TOP + _ROW), _legend()]
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(_in_words(shape))}" '
        'style="width:100%;height:auto;font:13px var(--st-font,sans-serif);color:inherit" fill="currentColor">' + "".join(parts) + "</svg>"
    )


def _half(boxes: tuple[_Box, ...], top: int) -> str:
    middle = top + _BOX / 2
    line = f'<line x1="10" x2="{_WIDTH - 10}" y1="{middle}" y2="{middle}" stroke="currentColor" stroke-opacity=".35" stroke-width="1.5"/>'
    plus = f'<text x="{_WIDTH - 34}" y="{middle - 7}" text-anchor="middle" font-size="17">+</text>'
    return line + plus + "".join(_box(one, top) for one in boxes)


def _box(one: _Box, top: int) -> str:
    shade = SITE_COLOURS[one.sites[0]] if one.sites else "#8A8F98"
    middle, stripes = one.x + one.width / 2, []
    for number, site in enumerate(one.sites):
        share = one.width / len(one.sites)
        stripes.append(
            f'<rect x="{one.x + number * share}" y="{top + _BOX - 5}" width="{share}" height="5" fill="{SITE_COLOURS[site]}"/>'
        )
    return (
        f'<rect x="{one.x}" y="{top}" width="{one.width}" height="{_BOX}" fill="var(--st-background-color, Canvas)"/>'
        f'<rect x="{one.x}" y="{top}" width="{one.width}" height="{_BOX}" fill="{shade}" fill-opacity=".14" stroke="{shade}"/>'
        f'{"".join(stripes)}<text x="{middle}" y="{top + 18}" text-anchor="middle" font-weight="600">{one.name}</text>'
        f'<text x="{middle}" y="{top + 34}" text-anchor="middle" font-size="12" fill-opacity=".75">{one.size}</text>'
    )


def _legend() -> str:
    said = {
        "qk": "dimensions of query and key", "vo": "dimensions of value and projection", "fc1": "inputs of fc1", "fc2": "hidden units",
    }
    found = []
    for number, (site, words) in enumerate(said.items()):
        x, y = 20 + 330 * (number % 2), 2 + 22 * (number // 2)
        found.append(
            f'<rect x="{x}" y="{y}" width="12" height="12" rx="2" fill="{SITE_COLOURS[site]}"/>'
            f'<text x="{x + 18}" y="{y + 11}"><tspan font-weight="600">{site}</tspan> drops {words}</text>'
        )
    return "".join(found)


def _in_words(shape: BlockShape) -> str:
    return (
        f"One block: attention of {shape.heads} heads of {shape.head_dim} dimensions, of which qk drops those of query and key and vo "
        f"those of value and projection; then a feed-forward network of {shape.hidden} hidden units on {shape.width} channels, of which "
        "fc2 drops hidden units and fc1 inputs"
    )
