"""Small drawings in SVG, for paper: a schedule as bars over the blocks, and a difference with its interval."""

from html import escape

from toast_core.intervals import Estimate
from toast_core.schedule.schedule import Schedule
from toast_core.schedule.sites import REGISTRY

_BAR, _GRID, _INK, _WORSE, _BETTER, _UNCLEAR = "#0072B2", "#d9dfe4", "#55636f", "#D55E00", "#0072B2", "#7d8792"
_WIDTH, _PANEL, _HEIGHT, _LEFT, _TOP, _PLOT = 680, 330, 98, 38, 20, 52
_FONT = 'font-family="Inter, Arial, Liberation Sans, sans-serif"'
_STRIP, _STRIP_HEIGHT = 150, 16


def schedule_drawing(schedule: Schedule) -> str:
    """A small bar chart a site where anything is dropped: what share of it every block drops, in percent."""
    panels = []
    dropped = [site for site in REGISTRY if any(schedule.ratios(site.name))]
    for place, site in enumerate(dropped):
        x, y = (place % 2) * (_WIDTH - _PANEL), (place // 2) * _HEIGHT
        panels.append(f'<g transform="translate({x} {y})">{_panel(site.name, site.label, schedule.ratios(site.name))}</g>')
    height = _HEIGHT * (-(-len(dropped) // 2))
    alt = "; ".join(_in_words(site.name, schedule.ratios(site.name)) for site in REGISTRY)
    whole = ", ".join(site.name for site in REGISTRY if site not in dropped)
    said = f'<figcaption>Nothing is dropped at {whole}.</figcaption>' if whole else ""
    size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}"'
    return (
        f'<figure tabindex="0"><svg {size} role="img" aria-label="{escape(alt)}" {_FONT} font-size="10">'
        f"{''.join(panels)}</svg>{said}</figure>"
    )


def _panel(name: str, label: str, ratios: tuple[float, ...]) -> str:
    step, base = (_PANEL - _LEFT) / len(ratios), _TOP + _PLOT
    width = max(1.0, step * 0.72)
    parts = [f'<text x="0" y="11" fill="#1c2a35" font-weight="600" font-size="11">{escape(name)}'
             f'<tspan fill="{_INK}" font-weight="400">&#160; {escape(label)}</tspan></text>']
    for share in (0, 50, 100):
        y = base - _PLOT * share / 100
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{_PANEL}" stroke="{_GRID}"/>')
        unit = " %" if share == 100 else ""
        parts.append(f'<text x="{_LEFT - 5}" y="{y + 3.5:.1f}" text-anchor="end" fill="{_INK}">{share}{unit}</text>')
    every = max(1, -(-len(ratios) // 12))
    for block, ratio in enumerate(ratios):
        x, tall = _LEFT + step * block + (step - width) / 2, max(_PLOT * ratio, 0.8)
        if ratio:
            parts.append(f'<rect x="{x:.1f}" y="{base - tall:.1f}" width="{width:.1f}" height="{tall:.1f}" fill="{_BAR}"/>')
        if block % every == 0:
            parts.append(f'<text x="{x + width / 2:.1f}" y="{base + 12}" text-anchor="middle" fill="{_INK}">{block}</text>')
    return "".join(parts)


def _in_words(name: str, ratios: tuple[float, ...]) -> str:
    return f"{name}: {', '.join(f'{100 * ratio:.0f} %' for ratio in ratios)}"


def difference_strip(change: Estimate, reach: float, is_clear: bool) -> str:
    """A difference in points with its interval, on an axis of `reach` points to both sides of zero; grey where it is not clear."""
    half = _STRIP / 2 - 4
    low, value, high = (_STRIP / 2 + half * max(-1.0, min(1.0, one / reach)) for one in (change.ci95[0], change.value, change.ci95[1]))
    colour, middle = (_WORSE if change.value < 0 else _BETTER) if is_clear else _UNCLEAR, _STRIP_HEIGHT / 2
    return (
        f'<svg viewBox="0 0 {_STRIP} {_STRIP_HEIGHT}" width="{_STRIP}" height="{_STRIP_HEIGHT}" aria-hidden="true">'
        f'<path d="M{_STRIP / 2} 0V{_STRIP_HEIGHT}" stroke="{_GRID}"/>'
        f'<path d="M{low:.1f} {middle}H{high:.1f}" stroke="{colour}" stroke-width="1.5"/>'
        f'<circle cx="{value:.1f}" cy="{middle}" r="3.5" fill="{colour if is_clear else "#fff"}" stroke="{colour}"/></svg>'
    )
