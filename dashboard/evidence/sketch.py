"""The stored sketch that the equaliser colours its bars with, finished or as far as it has come. Imports no torch."""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import streamlit as st

from analysis_cache.analysis import Analysis
from analysis_cache.errors import StoreError
from analysis_cache.replay import Replay
from toast_core.schedule.sites import SITES
from toast_core.studies.sketch.calibration import NOISE
from toast_core.studies.sketch.parts import Place, SketchKeys, is_compensated
from toast_core.studies.sketch.result import Sketch
from toast_core.studies.tasks.base import Task
from toast_core.studies.tasks.registry import TASKS, task_of_row


@dataclass(frozen=True)
class DamagePoint:
    """The predicted damage of one ratio of one site of one block, with its 95 % interval; `high` is None where one image tells none."""

    ratio: float
    damage: float
    low: float
    high: float | None

    @property
    def is_told(self) -> bool:
        """Whether it can be told from zero."""
        return self.low > 0 and self.damage > NOISE


@dataclass(frozen=True)
class DamageMap:
    """Predicted damage of single sites of single blocks.

    points        by site and block, ascending by ratio; the unpruned block at ratio 0 is not listed
    task          whose damage it is: KL in nats, or a distance of features
    images        that it is predicted from so far, of `wanted`
    draws         random directions an image
    calibrated_by how many cells of a site were measured to calibrate the others, the fewest and the most
    selection     how it chose channels
    compensated   whether what is kept was refitted to make up for what is dropped
    finished      whether more will come
    data_digest   of the image set
    filled        sites that are no refit's, and come from a map without
    """

    points: Mapping[tuple[str, int], tuple[DamagePoint, ...]]
    task: Task
    images: int
    wanted: int
    draws: int
    calibrated_by: tuple[int, int]
    selection: str
    compensated: bool
    finished: bool
    data_digest: str
    filled: tuple[str, ...] = ()

    def basis(self, images_of: str) -> str:
        """What it is predicted from, in words; `images_of` names the image set."""
        fewest, most = self.calibrated_by
        seen = f"{self.images:,}" if self.images >= self.wanted else f"{self.images:,} of {self.wanted:,}"
        drawn = f"{self.draws} direction{'s' if self.draws > 1 else ''} each"
        cells = f"{most}" if fewest == most else f"{fewest} to {most}"
        known = f"calibrated by {cells} measured cells a site" if most else "not calibrated"
        return f"predicted from {seen} images of {images_of}, {drawn}; {known}"


def filled(refitted: DamageMap, plain: DamageMap) -> DamageMap:
    """A map of refitted cells with what it has not, sites that nothing refits, from one without."""
    missing = {place: line for place, line in plain.points.items() if place not in refitted.points}
    sites = tuple(site for site in SITES if any(place[0] == site for place in missing))
    return replace(refitted, points={**refitted.points, **missing}, filled=sites)


def read_map(rows: Iterable[Mapping[str, Any]], request: Mapping[str, Any], finished: bool) -> DamageMap | None:
    """A map from the rows of a sketch (`Sketch.rows`) and its analysis' request; None where no row is of a single site."""
    single = sorted((row for row in rows if row["site"] in SITES), key=lambda row: (row["site"], row["block"], row["ratio"]))
    if not single:
        return None
    task, points = task_of_row(single[0]), dict[tuple[str, int], list[DamagePoint]]()
    key = task.damage.key
    for row in single:
        points.setdefault((row["site"], row["block"]), []).append(DamagePoint(row["ratio"], row[key], *row[f"{key}95"]))
    images, calibrated = single[0]["images"], [row["calibrated_by"] for row in single]
    return DamageMap(
        {place: tuple(line) for place, line in points.items()}, task, images, images if finished else int(request["images"]),
        single[0]["draws"], (min(calibrated), max(calibrated)), request["settings"]["selection"],
        is_compensated(request), finished, str(request["data_digest"]),
    )


class SketchSoFar:
    """Rows of an unfinished sketch, from the parts that are in the store.

    Parts are read once and held, so that asking again reads what is new. Safe to share between threads.
    """

    def __init__(self, replay: Replay, analysis: Analysis) -> None:
        self.replay, self.request = replay, analysis.request
        self._parts: dict[Place, np.ndarray] = {}
        self._task: Task | None = None  # whose parts they are, once there is one
        self._lock = threading.Lock()

    def rows(self) -> list[dict[str, Any]]:
        """Rows of every cell, see `Sketch.rows`; none before the first part is there.

        Raises:
            StoreError: the source cannot be read any more.
        """
        with self._lock:
            for task in [self._task] if self._task else TASKS.values():
                keys = SketchKeys.of_request(self.request, task.details)
                self._read(keys)
                if self._parts:
                    self._task = task
                    moved = np.concatenate([self._parts[place] for place in keys.places() if place in self._parts], axis=2)
                    return Sketch(keys.cells, moved, task.damage.key).rows()
        return []

    def _read(self, keys: SketchKeys) -> None:
        wanted = {place: keys.identity_of(place).key for place in keys.places() if place not in self._parts}
        there = {head.key for head in self.replay.source.heads(list(wanted.values()))}
        for place, key in wanted.items():
            if key in there:
                try:
                    self._parts[place] = self.replay.source.get(key).arrays["moved"]
                except StoreError:
                    return  # the sketch has ended and removed it since we looked


@st.cache_resource(show_spinner=False, hash_funcs={Replay: lambda replay: replay.name})
def sketch_so_far(replay: Replay, analysis_id: str) -> SketchSoFar:
    """The rows of one sketch while it runs, shared by all sessions."""
    return SketchSoFar(replay, replay.analysis(analysis_id))
