"""Which stored analyses there are of the dashboard's model: those of its store, then those that are shipped. Imports no torch."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from analysis_cache.analysis import Analysis
from analysis_cache.database import default_store, file_of
from analysis_cache.errors import StoreError
from analysis_cache.replay import Replay, shipped_bundles
from analysis_cache.staleness import analysis_stale_reason
from dashboard.evidence.commands import setting
from dashboard.evidence.sketch import sketch_so_far
from dashboard.evidence.sweep import SweepSoFar, planned_cells
from dashboard.evidence.weights import weights_concern
from toast_core.engine.protocol import Description
from toast_core.setup import Setup

_SHORT = 8
_OF_CALIBRATION = ("sketch", "tuning", "tuning_curves")  # analyses of calibration images, where there are any


@dataclass(frozen=True)
class Evidence:
    """One stored analysis as the pages show it.

    source        "your store" or "shipped"
    listed        how many cells it is about
    stored        how many of them are measured
    concerns      why its figures may not be this dashboard's: changed since, other weights, other images; nothing where they are
    """

    replay: Replay
    analysis: Analysis
    source: str
    listed: int
    stored: int
    concerns: tuple[str, ...]

    @property
    def short_id(self) -> str:
        """The beginning of the analysis' id that people see and type."""
        return self.analysis.short_id

    @property
    def metric(self) -> str:
        """What was measured. Some metrics have a page (see dashboard.navigation), the others are listed only."""
        return str(self.analysis.request.get("metric"))

    @property
    def images(self) -> int:
        """How many images it is about."""
        return int(self.analysis.request.get("images", 0))

    @property
    def selection(self) -> str:
        """How a sweep chose channels, see Schedule."""
        return str(setting(self.analysis.request, "selection"))

    @property
    def mode(self) -> str:
        """Whether a sweep used all images (exact) or stopped a cell once it was decided (adaptive), and how channels are chosen."""
        if self.metric == "sensitivity":
            return f"{self.analysis.request.get('mode')}, {self.selection.replace('_', ' ')}"
        if self.metric == "sketch":
            return f"{self.analysis.request.get('draws')} directions, {self.selection.replace('_', ' ')}"
        if self.metric == "redundancy":
            return "all tokens"
        scheduled = self.analysis.request.get("schedule")
        return str(scheduled.get("selection", "")).replace("_", " ") if isinstance(scheduled, dict) else ""

    @property
    def finished(self) -> bool:
        """Whether all its cells were measured."""
        return self.analysis.finished_utc is not None

    @property
    def title(self) -> str:
        """The analysis in one line of a list to choose from: images, mode, source, day, id."""
        parts = (f"{self.images:,} images", self.mode, self.source, f"from {self.analysis.created_utc[:10]}", self.short_id[:_SHORT])
        return ", ".join(parts) + ("" if self.finished else ", not finished")

    def rows(self) -> list[dict[str, Any]]:
        """The finished cells, see Replay.rows; of a sweep or sketch that is not finished also what is known so far of the others.

        Raises:
            StoreError: the source cannot be read any more.
        """
        rows = self.replay.rows(self.analysis.id)
        if self.metric == "sketch":
            rows = [row for cell in rows for row in cell["rows"]]
            return rows if self.finished or rows else sketch_so_far(self.replay, self.analysis.id).rows()
        if self.finished or self.metric != "sensitivity":
            return rows
        known = {_place(row) for row in rows}
        return rows + [row for row in _sweep_so_far(self.replay, self.analysis.id).rows() if _place(row) not in known]


@dataclass(frozen=True)
class Found:
    """The analyses of a model, best first, and which sources could not be read and why."""

    evidence: tuple[Evidence, ...]
    problems: tuple[str, ...]

    def of(self, metric: str) -> tuple[Evidence, ...]:
        """The analyses of one metric, in the same order."""
        return tuple(one for one in self.evidence if one.metric == metric)


def find_evidence(setup: Setup, model: str, data_digest: str | None = None, calibration_digest: str | None = None) -> Found:
    """Look through the dashboard's store and the shipped bundles.

    First come finished analyses without concerns; among equals those of more images, then newer ones. An analysis that several
    sources have is taken from the one that has more of its cells.

    Args:
        data_digest: of the image set that the dashboard measures on, where that is known.
        calibration_digest: of its calibration images, which some analyses are about.
    """
    found: dict[str, Evidence] = {}
    problems: list[str] = []
    for source, place in _sources(setup):
        try:
            replay = _replay(place, _stamp(place))
            for analysis in replay.analyses():
                if analysis.request.get("model") == model and isinstance(analysis.request.get("metric"), str):
                    one = _evidence(replay, analysis, source, setup, (data_digest, calibration_digest))
                    if analysis.id not in found or found[analysis.id].stored < one.stored:
                        found[analysis.id] = one
        except StoreError as error:
            problems.append(str(error))
    ranked = sorted(found.values(), key=lambda one: one.analysis.created_utc, reverse=True)
    ranked.sort(key=lambda one: (not one.finished, bool(one.concerns), -one.images))
    return Found(tuple(ranked), tuple(problems))


def find_by_card(setup: Setup, model: str, engine: Description) -> Found:
    """`find_evidence` for the images on the engine's card; while the engine is not ready, which images those are is not known."""
    return find_evidence(setup, model, *(card.digest if card else None for card in (engine.data, engine.calibration)))


def own_rows(setup: Setup, short_id: str) -> list[dict[str, Any]] | None:
    """The finished cells of one analysis of the dashboard's own store, see Replay.rows; None where it has no such analysis.

    Read anew, and nothing else is looked at, so that a page can ask each second what a run has measured, for the first time or again.

    Raises:
        StoreError: the store cannot be read, or its cells cannot.
    """
    place = next((place for source, place in _sources(setup) if source == "your store"), None)
    if place is None:
        return None
    replay = _replay(place, _stamp(place))
    known = next((analysis.id for analysis in replay.analyses() if analysis.short_id == short_id), None)
    return replay.rows(known, again=True) if known else None


def _evidence(replay: Replay, analysis: Analysis, source: str, setup: Setup, digests: tuple[str | None, str | None]) -> Evidence:
    heads = replay.heads(analysis.id)
    metric = analysis.request["metric"]
    stored = sum(head.identity.kind == metric for head in heads)
    request = analysis.request
    listed = len(analysis.cell_keys) if metric == "sketch" else len(planned_cells(analysis)) or len(analysis.cell_keys)
    concerns = (analysis_stale_reason(analysis, heads), weights_concern(setup, request), _data_concern(digests, request))
    return Evidence(replay, analysis, source, listed, stored, tuple(concern for concern in concerns if concern))


def _sources(setup: Setup) -> Iterator[tuple[str, str]]:
    own = setup.store or default_store()
    path = file_of(own)
    if path is None or path.exists():
        yield "your store", own
    for bundle in shipped_bundles():
        yield "shipped", str(bundle)


def _stamp(place: str) -> int:
    """Another file under the same name has to be opened anew."""
    try:
        return Path(file_of(place) or place).stat().st_ino
    except (OSError, StoreError):
        return 0


@st.cache_resource(show_spinner=False)
def _replay(place: str, stamp: int) -> Replay:
    """Open a source once for all sessions."""
    return Replay.open(place)


@st.cache_resource(show_spinner=False, hash_funcs={Replay: lambda replay: replay.name})
def _sweep_so_far(replay: Replay, analysis_id: str) -> SweepSoFar:
    return SweepSoFar(replay, replay.analysis(analysis_id))


def _place(row: dict[str, Any]) -> tuple:
    return row["block"], row["site"], row["ratio"]


def _data_concern(digests: tuple[str | None, str | None], request: dict[str, Any]) -> str | None:
    data_digest, calibration_digest = digests
    own = {data_digest, calibration_digest} if request["metric"] in _OF_CALIBRATION else {data_digest}
    if data_digest is None or request.get("data_digest") in own:
        return None
    return f"measured on other images: sha256 {str(request.get('data_digest'))[:_SHORT]}, this dashboard's {data_digest[:_SHORT]}"
