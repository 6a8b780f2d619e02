"""What the shipped analyses say, as the Markdown of docs/findings.md; `benchmarks.documents` puts it in place.

Reads analysis_cache/shipped/*.toastbundle, without torch: what single sites hold, what noise hides, whether redundancy tells which
blocks can be pruned, and how much accuracy depends on the batch.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median_high

import numpy as np
import pandas as pd

from analysis_cache.analysis import Analysis
from analysis_cache.errors import StoreError
from analysis_cache.replay import Replay
from dashboard.charts.tolerance import tolerances
from toast_core.intervals import Z95, paired_interval
from toast_core.schedule.schedule import Schedule
from toast_core.studies.composition.result import CompositionRow
from toast_core.studies.composition.verdict import judge
from toast_core.studies.sensitivity.cells import SITE_GROUPS

LIMIT_POINTS = 1.0  # of top-1, that a block may lose and still hold a ratio
SHOWN_RATIOS = (0.5, 0.7, 0.9)
COMPARED_RATIO = 0.5
PAIRS = (("hidden", "fc2"), ("fc1_input", "fc1"))  # what redundancy measures, and the site that prunes it
# redundancy figures, and the sign of a correlation with damage that would let them stand in for measuring it
USEFUL_SIGNS = {f"R2 held out at {COMPARED_RATIO:g}": -1, "effective rank / C": 1, "sparsity": -1}
Row = Mapping[str, object]


@dataclass(frozen=True)
class Grid:
    """A finished exact sweep: its rows, how its channels were selected, its images and the smallest class among them."""

    rows: tuple[Row, ...]
    selection: str
    images: int
    smallest_class: int

    @property
    def sites(self) -> list[str]:
        """The sites that it has, in the usual order."""
        return [site for site in SITE_GROUPS if any(row["site"] == site for row in self.rows)]

    def of(self, site: str, ratio: float) -> list[Row]:
        """The rows of every block at one site and ratio, by block."""
        return sorted((row for row in self.rows if row["site"] == site and row["ratio"] == ratio), key=lambda row: row["block"])

    def holding(self, site: str, ratio: float) -> list[int]:
        """The blocks whose whole interval lies above -LIMIT_POINTS at this ratio."""
        return [row["block"] for row in self.of(site, ratio) if row["ci95"][0] > -LIMIT_POINTS]


@dataclass
class Evidence:
    """What is known of one model: sweeps, redundancy rows, and the composition rows of each schedule."""

    grids: list[Grid] = field(default_factory=list)
    redundancy: list[Row] = field(default_factory=list)
    compositions: list[tuple[Schedule, list[CompositionRow]]] = field(default_factory=list)


def evidence_of(paths: Sequence[Path]) -> dict[str, Evidence]:
    """Read the finished analyses of bundles, by model.

    Raises:
        StoreError: no bundle, or one that is not sound.
    """
    if not paths:
        raise StoreError("no bundle in analysis_cache/shipped; write one with toast cache export")
    found: dict[str, Evidence] = {}
    for path in paths:
        with closing(Replay.open(path)) as replay:
            for analysis in sorted(replay.analyses(), key=lambda one: one.label):
                if analysis.finished_utc is not None:
                    _add(found.setdefault(str(analysis.request["model"]), Evidence()), replay, analysis)
    return dict(sorted(found.items(), reverse=True))  # demo_vit first, as in every document


def _add(known: Evidence, replay: Replay, analysis: Analysis) -> None:
    metric, rows = analysis.request["metric"], replay.rows(analysis.id)
    if metric == "redundancy":
        known.redundancy = rows
    elif metric == "composition":
        schedule = Schedule.from_json(json.dumps(analysis.request["schedule"]))
        known.compositions.append((schedule, [CompositionRow.from_dict(row) for row in rows]))
    elif metric == "sensitivity" and analysis.request["mode"] == "exact":
        labels = replay.outcomes(replay.baseline(analysis.id).key)["label"]
        selection = str(analysis.request["settings"]["selection"])
        known.grids.append(Grid(tuple(rows), selection, len(labels), int(np.bincount(labels).min())))


def smallest_change(images: int) -> int:
    """How many images must turn wrong, and none right, before the paired interval excludes 0."""
    before = np.ones(images, bool)
    return next(lost for lost in range(images + 1) if paired_interval(before, np.arange(images) >= lost)[1] < 0)


@dataclass(frozen=True)
class Noise:
    """How much of a sweep noise hides.

    undecided, seeming_gains  cells whose interval contains 0, and those of them that read better than the baseline
    gains, losses             cells whose interval lies wholly above, or below, 0
    largest_hidden            the largest difference among the undecided, in points
    """

    cells: int
    undecided: int
    seeming_gains: int
    gains: int
    losses: int
    largest_hidden: float

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Noise":
        """Count."""
        undecided = [row["top1_delta"] for row in rows if row["ci95"][0] <= 0 <= row["ci95"][1]]
        gains, losses = sum(row["ci95"][0] > 0 for row in rows), sum(row["ci95"][1] < 0 for row in rows)
        return cls(len(rows), len(undecided), sum(delta > 0 for delta in undecided), gains, losses, max(map(abs, undecided), default=0.0))


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> tuple[float, float, float]:
    """Spearman's rho and its 95 % interval by Fisher's transform with Bonett and Wright's variance."""
    rho = float(pd.DataFrame({"first": first, "second": second}).corr(method="spearman").loc["first", "second"])
    centre = math.atanh(max(-1 + 1e-12, min(1 - 1e-12, rho)))
    half = Z95 * math.sqrt((1 + rho**2 / 2) / (len(first) - 3))
    return rho, math.tanh(centre - half), math.tanh(centre + half)


def findings_part(known: Mapping[str, Evidence]) -> str:
    """What the analyses say, as Markdown."""
    sections = [_grid_section(model, grid) for model, evidence in known.items() for grid in evidence.grids]
    related = list(_relations(known))
    if related:
        sections.append(_relation_section(related))
    sections += [_composition_section(known)] if any(evidence.compositions for evidence in known.values()) else []
    return "\n\n".join(sections)


def _grid_section(model: str, grid: Grid) -> str:
    lines = [
        f"**`{model}`**, one site of one block pruned at a time, `{grid.selection}` selection, no training after pruning: {len(grid.rows)} "
        f"cells on {grid.images:,} test images (at least {grid.smallest_class} a class).",
        "",
        f"| site | half of the blocks hold up to | {' | '.join(f'hold {ratio:g}' for ratio in SHOWN_RATIOS)} | "
        f"most sensitive at {COMPARED_RATIO:g} | next |",
        f"|{'---|' * (len(SHOWN_RATIOS) + 4)}",
    ]
    stood = tolerances(grid.rows, LIMIT_POINTS)
    for site in grid.sites:
        rows = grid.of(site, COMPARED_RATIO)
        counts = [f"{len(grid.holding(site, ratio))} of {len(rows)}" for ratio in SHOWN_RATIOS]
        worst, second = sorted(rows, key=lambda row: row["top1_delta"])[:2]
        half = median_high(one.ratio for one in stood if one.site == site)
        lines.append(f"| `{site}` | {half:g} | {' | '.join(counts)} | {_points(worst)} | {_points(second)} |")
    sentences = (_holding_sentence(grid), _first_block_sentence(grid), _noise_sentence(grid))
    return "\n".join([*lines, "", *(f"- {sentence}" for sentence in sentences)])


def _holding_sentence(grid: Grid) -> str:
    """Which blocks hold the largest ratio shown, site by site."""
    held = {site: grid.holding(site, SHOWN_RATIOS[-1]) for site in grid.sites}
    told = "; ".join(f"`{site}` {', '.join(map(str, blocks)) or 'none'}" for site, blocks in held.items())
    return f"Blocks that hold {SHOWN_RATIOS[-1]:g}: {told}."


def _noise_sentence(grid: Grid) -> str:
    noise, change = Noise.of(grid.rows), smallest_change(grid.images)
    return (
        f"Noise: {noise.undecided} of {noise.cells} cells ({noise.undecided / noise.cells:.0%}) cannot be told from the baseline; "
        f"{noise.seeming_gains} of these read better than it. {noise.losses} are worse and {noise.gains} better beyond noise, where chance "
        f"alone would give {0.025 * noise.cells:.0f} better ones if no cell mattered. {change} images must change, all for the "
        f"worse, before a difference shows: {100 * change / grid.images:.2f} points; the largest difference that stayed "
        f"hidden reads {noise.largest_hidden:.1f}."
    )


def _first_block_sentence(grid: Grid) -> str:
    """Where block 0 is the one most damaged, and where that is beyond noise; damage is KL, the top-1 intervals decide about noise."""
    first, apart, ranks = [], [], {}
    for site in grid.sites:
        rows = grid.of(site, COMPARED_RATIO)
        ranks[site] = 1 + sum(row["kl"] > rows[0]["kl"] for row in rows)
        if ranks[site] == 1:
            first.append(site)
            if all(rows[0]["ci95"][1] < row["ci95"][0] for row in rows[1:]):
                apart.append(site)
    others = ", ".join(f"`{site}` {rank}" for site, rank in ranks.items() if rank > 1)
    blocks = len(grid.of("fc2", COMPARED_RATIO))
    return (
        f"Block 0 at {COMPARED_RATIO:g}: pruning it changes the output most (KL) of all {blocks} blocks at {_sites(first)}; its loss of "
        f"top-1 is beyond every other block's interval at {_sites(apart)}." + (f" Its rank elsewhere: {others}." if others else "")
    )


def _sites(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "no site"


def _points(row: Row) -> str:
    low, high = row["ci95"]
    return f"block {row['block']}: {row['top1_delta']:+z.1f} ({low:+z.1f} to {high:+z.1f})"


@dataclass(frozen=True)
class Relation:
    """How figures of a model's redundancy order its blocks compared with the damage of pruning them, each with its interval."""

    model: str
    selection: str
    measured: str
    pruned: str
    blocks: int
    figures: Mapping[str, tuple[float, float, float]]


def _relations(known: Mapping[str, Evidence]) -> Iterator[Relation]:
    for model, evidence in known.items():
        for grid in evidence.grids:
            for measured, site in PAIRS:
                rows = sorted((row for row in evidence.redundancy if row["site"] == measured), key=lambda row: row["block"])
                damage = [row["kl"] for row in grid.of(site, COMPARED_RATIO)]
                if rows:
                    figures = (
                        [row["r2"][f"{COMPARED_RATIO:g}"]["held_out"] for row in rows],
                        [row["effective_rank"]["singular_values"]["relative"] for row in rows],
                        [row["sparsity"]["0.01rms"] for row in rows],
                    )
                    related = {name: rank_correlation(values, damage) for name, values in zip(USEFUL_SIGNS, figures, strict=True)}
                    yield Relation(model, grid.selection, measured, site, len(rows), related)


def _relation_section(related: Sequence[Relation]) -> str:
    names = list(related[0].figures)
    clear = [
        (f"{name} of `{one.measured}` in `{one.model}`", rho * USEFUL_SIGNS[name] > 0)
        for one in related for name, (rho, low, high) in one.figures.items() if not low <= 0 <= high
    ]
    total, useful = sum(len(one.figures) for one in related), [name for name, is_useful in clear if is_useful]
    misleading = [name for name, is_useful in clear if not is_useful]
    lines = [
        f"**Does redundancy tell which blocks can be pruned?** Spearman's rank correlation over {related[0].blocks} blocks, with its 95 % "
        f"interval, between a redundancy figure and the damage (KL) of pruning {COMPARED_RATIO:g} there. Useful would be a negative one "
        "for R2 and sparsity, a positive one for effective rank.",
        "",
        f"| model | redundancy of | damage at | {' | '.join(names)} |",
        f"|{'---|' * (len(names) + 3)}",
        *(
            f"| `{one.model}` | `{one.measured}` | `{one.pruned}`, `{one.selection}` | "
            f"{' | '.join(f'{rho:+z.2f} ({low:+z.2f} to {high:+z.2f})' for rho, low, high in one.figures.values())} |"
            for one in related
        ),
        "",
        f"{len(clear)} of the {total} intervals exclude 0. With the useful sign: {'; '.join(useful) or 'none'}. "
        f"With the other one, redundant blocks being the more sensitive: {'; '.join(misleading) or 'none'}.",
    ]
    return "\n".join(lines)


def _composition_section(known: Mapping[str, Evidence]) -> str:
    lines = ["**Does accuracy depend on which images share a batch?** Each schedule on the same images in every order and batch size:", ""]
    for model, evidence in known.items():
        for schedule, rows in evidence.compositions:
            lines.append(f"- `{model}`, `{schedule.selection}`, {_ratios(schedule)}. {judge(rows).sentence}")
    return "\n".join(lines)


def _ratios(schedule: Schedule) -> str:
    """Such as "fc2 0.5 in 11 of 12 blocks", site by site."""
    parts = []
    for site in ("qk", "vo", "fc1", "fc2"):
        pruned = sorted(ratio for ratio in schedule.ratios(site) if ratio)
        if pruned:
            span = f"{pruned[0]:g}" if pruned[0] == pruned[-1] else f"{pruned[0]:g} to {pruned[-1]:g}"
            parts.append(f"{site} {span} in {len(pruned)} of {len(schedule.blocks)} blocks")
    return ", ".join(parts)
