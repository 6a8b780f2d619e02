"""The sheet itself: title, what it is about, figures with their badges, sections; as one HTML file that prints on A4."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

MEASURED, COMPUTED, PREDICTED = "measured", "computed", "predicted"
_CSS = """
:root { color-scheme: light; --ink: #1c2a35; --soft: #55636f; --line: #d9dfe4; --wash: #f4f6f8; --accent: #0072B2; }
* { box-sizing: border-box; }
body { margin: 0; background: #e9edf0; color: var(--ink); font: 15px/1.5 "Inter", "Helvetica Neue", Arial, "Liberation Sans", sans-serif; }
article { max-width: 210mm; margin: 24px auto; padding: 14mm 15mm; background: #fff; box-shadow: 0 1px 6px rgb(28 42 53 / 14%); }
.over { margin: 0 0 6px; font-size: 12px; letter-spacing: .08em; text-transform: uppercase; color: var(--soft); }
h1 { margin: 0 0 8px; font-size: 28px; line-height: 1.2; font-weight: 650; letter-spacing: -.01em; }
h2 { margin: 26px 0 8px; padding-top: 10px; border-top: 1px solid var(--line); font-size: 16px; font-weight: 650; }
h3 { margin: 16px 0 4px; font-size: 14px; font-weight: 600; }
p { margin: 0 0 8px; } .lead { font-size: 17px; } .soft, figcaption { color: var(--soft); font-size: 13px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 10px; margin: 16px 0; }
.tile { padding: 10px 12px; border-radius: 6px; background: var(--wash); }
.tile b { display: block; font-size: 23px; line-height: 1.25; font-weight: 650; white-space: nowrap; }
.tile span { font-size: 13px; color: var(--soft); }
.tile .badge { display: table; margin-top: 4px; } pre + .soft { margin-top: 4px; } dl.small { font-size: 11.5px; } td svg { margin: 2px 0; }
.badge { display: inline-block; padding: 0 6px; border: 1px solid currentcolor; border-radius: 9px; font-size: 11px; line-height: 16px; }
.badge { white-space: nowrap; } .badge.measured { color: #00674b; } .badge.computed { color: #005a8d; }
.badge.predicted { color: #7b3f6d; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; margin: 12px 0 0; font-size: 13.5px; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
table { width: 100%; border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--soft); } td, th { padding: 4px 8px 4px 0; vertical-align: top; }
tbody tr { border-top: 1px solid var(--line); } td small { display: block; color: var(--soft); font-size: 12px; }
figure, .wide { overflow-x: auto; } figure { margin: 8px 0; } figure > svg { min-width: 520px; }
svg { max-width: 100%; height: auto; display: block; }
pre { margin: 6px 0; padding: 10px 12px; border-radius: 6px; background: var(--wash); overflow-x: auto; }
pre, code { font: 12.5px/1.5 "JetBrains Mono", "DejaVu Sans Mono", Consolas, monospace; } code { overflow-wrap: anywhere; }
.pictures { display: flex; flex-wrap: wrap; gap: 10px; } .pictures figure { width: 92px; margin: 0; }
.pictures img { width: 72px; height: 72px; object-fit: contain; border-radius: 4px; background: var(--wash); display: block; }
.pictures figcaption { font-size: 11.5px; line-height: 1.3; margin-top: 3px; overflow-wrap: anywhere; }
footer { margin-top: 22px; padding-top: 8px; border-top: 1px solid var(--line); font-size: 12px; color: var(--soft); }
@media (max-width: 640px) { article { margin: 0; padding: 20px 16px; } dl { grid-template-columns: 1fr; } dd { margin-bottom: 6px; }
  h1 { font-size: 24px; } .lead { font-size: 16px; } }
@page { size: A4; margin: 12mm 14mm; }
@media print {
  body { background: #fff; font-size: 9.5pt; line-height: 1.4; } article { margin: 0; padding: 0; max-width: none; box-shadow: none; }
  article + article { break-before: page; } h2 { margin: 12px 0 4px; padding-top: 7px; font-size: 11pt; }
  h1 { font-size: 18pt; } .lead { font-size: 11pt; } p { margin-bottom: 4px; } figure { margin: 4px 0; } pre { padding: 6px 10px; }
  .tile, tr, pre, figure, .pictures, dl { break-inside: avoid; } h2, h3 { break-after: avoid; } table, dl { font-size: 8.5pt; }
  td, th { padding-block: 2px; } dl { margin-top: 8px; } dl.small { font-size: 7pt; } .soft, figcaption, td small { font-size: 8pt; }
  footer { margin-top: 10px; font-size: 8pt; } pre, code { font-size: 8.5pt; }
  .tiles { margin: 10px 0; grid-template-columns: repeat(4, 1fr); } .tile b { font-size: 15pt; } .tile span { font-size: 8pt; }
  .tile { padding: 6px 9px; } .badge { font-size: 7pt; line-height: 11pt; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
}
"""


@dataclass(frozen=True)
class Tile:
    """One figure that is seen first: what it is, its value, what belongs to it, and where it comes from."""

    label: str
    value: str
    note: str
    badge: str


@dataclass(frozen=True)
class Section:
    """A part of the sheet; `body` is HTML."""

    title: str
    body: str


@dataclass(frozen=True)
class Paper:
    """One analysis on a sheet.

    title, lead   what it is about, and what came out of it in one sentence or two; plain text
    facts         names and values: model, data, date and the like; plain text
    """

    title: str
    lead: str
    facts: tuple[tuple[str, str], ...]
    tiles: tuple[Tile, ...] = ()
    sections: tuple[Section, ...] = ()


def badge(kind: str) -> str:
    """Where a figure comes from, as a small mark."""
    return f'<span class="badge {escape(kind)}">{escape(kind)}</span>'


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text."""
    return f"<p class='{kind}'>{escape(text)}</p>" if kind else f"<p>{escape(text)}</p>"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; headings are plain text, cells HTML."""
    head = "".join(f"<th scope='col'>{escape(one)}</th>" for one in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def definitions(pairs: Iterable[tuple[str, str]], kind: str = "") -> str:
    """Names and values, both plain text."""
    return f"<dl class='{kind}'>{''.join(f'<dt>{escape(name)}</dt><dd>{escape(value)}</dd>' for name, value in pairs)}</dl>"


def cell(value: str, below: str = "") -> str:
    """A table's cell: a value, and in small print what belongs to it; both plain text."""
    return escape(value) + (f"<small>{escape(below)}</small>" if below else "")


def to_html(papers: Sequence[Paper]) -> str:
    """The sheets as one HTML file that loads nothing from elsewhere."""
    title = escape(papers[0].title if len(papers) == 1 else "ToaSt Studio report")
    sheets = "\n".join(map(_sheet, papers))
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_CSS}</style></head>\n<body><main>\n{sheets}\n</main></body></html>\n"
    )


def _sheet(paper: Paper) -> str:
    tiles = "".join(
        f'<div class="tile"><span>{escape(one.label)}</span><b>{escape(one.value)}</b>'
        f"<span>{escape(one.note)}</span>{badge(one.badge)}</div>" for one in paper.tiles
    )
    shown = f'<div class="tiles">{tiles}</div>' if tiles else ""
    sections = "".join(f"<section><h2>{escape(one.title)}</h2>{one.body}</section>\n" for one in paper.sections)
    return (
        f'<article><p class="over">ToaSt Studio report</p><h1>{escape(paper.title)}</h1>{paragraph(paper.lead, "lead")}'
        f'{shown}{definitions(paper.facts)}\n{sections}'
        "<footer>Measured: run on the images or on the clock. Computed: follows from the shapes. Predicted: estimated, not run. "
        "Intervals are at 95 %.</footer></article>"
    )
