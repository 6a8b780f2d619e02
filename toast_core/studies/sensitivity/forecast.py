"""Adaptive sweeps that predict: a few cells of every site are measured, and of the others those that the prediction cannot decide.

A `Forecast` decides cells in place of its `Rule`. A row that rests on a prediction has `predicted`, true; `images` are then those that the
cell itself was measured on, which may be none, `sketched` those of the sketch, and `calibrated_by` is how many measured cells of the site
the prediction was set right by.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from analysis_cache.canonical import sha256_hex
from analysis_cache.key import Scalar
from toast_core.intervals import Z95
from toast_core.studies.sensitivity.cells import Cell
from toast_core.studies.sensitivity.prediction import Headline, headline, joined, measured_damage
from toast_core.studies.sensitivity.sweep import Known, Rule
from toast_core.studies.sketch.calibration import MEASURED, NOISE, log_damages, telling
from toast_core.studies.sketch.regression import LogDamage
from toast_core.studies.sketch.result import DRAWS, IMAGES
from toast_core.studies.tasks.base import CellOutcomes

BASELINE_IMAGES = 512  # that margins are known of before anything else is
FORECAST = f"{IMAGES} images, {DRAWS} directions, {MEASURED} cells, margins of {BASELINE_IMAGES}"
_ALONE = 0.975  # a prediction alone is to be surer than one that the cell's own images bear out
_BESIDE = 0.95
_Z_ALONE = NormalDist().inv_cdf(0.5 + _ALONE / 2)
_FREEDOM = 3  # beside one a measured cell


def predicted_cells(cells: Sequence[Cell], rule: Rule, selection: str) -> list[Cell]:
    """The cells of a sweep that a prediction may decide: those of sites with more cells than it takes to set a prediction right.

    None of an exact sweep, and none under per_batch selection, where what a cell does depends on the other images of its batch.
    """
    if rule.mode == "exact" or selection == "per_batch":
        return []
    count = Counter(cell.site for cell in cells)
    return [cell for cell in cells if count[cell.site] > MEASURED]


def forecast_details(cells: Sequence[Cell], cell: Cell) -> dict[str, Scalar]:
    """What a cell's row depends on where it may be predicted: how, and beside which other `cells` of its site."""
    beside = sha256_hex(json.dumps([[one.block, one.ratio] for one in cells if one.site == cell.site]))[:16]
    return {"predicted": FORECAST, "beside": beside}


@dataclass(eq=False)
class Forecast:
    """What decides the cells of a sweep by prediction and by what is measured.

    rule       when a cell is decided; `Rule.rows` decides the cells that are not predicted
    cells      those that may be predicted
    predicted  (cells, images), the sketch's damage of the first images
    baseline   of the first images, BASELINE_IMAGES of them or all
    """

    rule: Rule
    cells: Sequence[Cell]
    predicted: np.ndarray
    baseline: CellOutcomes

    @property
    def mode(self) -> str:
        """The rule's."""
        return self.rule.mode

    def z(self, images: int) -> float:
        """The rule's normal quantile of one look."""
        return self.rule.z(images)

    def first(self, cells: Sequence[Cell]) -> list[Cell]:
        """The cells that set the predictions of the others right, and those that are not predicted."""
        told = set(telling(self.cells, self.predicted.mean(axis=1), MEASURED))
        return [cell for cell in cells if cell in told or cell not in self._places]

    def rows(self, active: Sequence[Cell], known: Known, images: int) -> dict[Cell, dict]:
        """The rows of those active cells that are decided: by their own images, by these and the prediction, or by the prediction alone."""
        found = self.rule.rows(active, known, images)
        for site in dict.fromkeys(cell.site for cell in self.cells):
            left = [cell for cell in active if cell.site == site and cell in self._places and cell not in found]
            if left:
                found |= self._rows_of_site(site, left, known, images)
        return found

    @property
    def _places(self) -> dict[Cell, int]:
        return {cell: place for place, cell in enumerate(self.cells)}

    def _rows_of_site(self, site: str, left: list[Cell], known: Known, images: int) -> dict[Cell, dict]:
        places = self._places
        own = [cell for cell in self.cells if cell.site == site]
        predicted = self.predicted[[places[cell] for cell in own]]
        told = {cell for cell in telling(own, predicted.mean(axis=1), MEASURED) if cell in known.cells}
        seen = self.predicted.shape[1]
        pairs = {cell: (self.predicted[places[cell]], known.cells[cell].first(seen).damage()) for cell in told}
        usable = sum(bool(before.mean() > 0 and after.mean() > NOISE) for before, after in pairs.values())
        damages = log_damages(own, predicted, pairs) if usable >= MEASURED / 2 else {}
        measured = {cell: known.cells[cell] for cell in own if cell in known.cells}
        longer = max(self.baseline, known.baseline, key=len)
        follows = headline(images, longer, known.baseline, measured)
        found = {}
        for cell in left:
            before = damages.get(cell) if predicted[own.index(cell)].mean() > NOISE else None
            outcomes = known.cells.get(cell)
            if outcomes is None:
                figures = self._alone(follows, before, longer)
            else:
                figures = self._beside(follows, None if cell in told else before, outcomes, known, images, _FREEDOM + len(told))
            if figures is not None:
                place = {"block": cell.block, "site": cell.site, "ratio": cell.ratio}
                found[cell] = place | figures | {"predicted": True, "calibrated_by": len(told), "sketched": seen}
        return found

    def _alone(self, follows: Headline, damage: LogDamage | None, baseline: CellOutcomes) -> dict[str, Any] | None:
        """The figures of a cell of which nothing is measured; None where that does not decide it."""
        change = damage and follows.change(damage, _ALONE, _Z_ALONE)
        if not damage or not change or not self.rule.settles(*change.ci95):
            return None
        return baseline.foretold(change, float(np.exp(damage.middle))) | {"images": 0}

    def _beside(
        self, follows: Headline, before: LogDamage | None, outcomes: CellOutcomes, known: Known, images: int, freedom: int
    ) -> dict[str, Any] | None:
        """The figures of a cell by its prediction and its own images, which do not decide it; None where both do not."""
        damage = measured_damage(outcomes.damage(), before, freedom)
        if damage is None or follows.margins is None or len(outcomes) == images:
            return None
        change, baseline, z = follows.change(damage, _BESIDE, Z95), known.baseline.first(len(outcomes)), self.z(images)
        if change is not None and change.ci95[0] > follows.all_lost:
            change = joined(change, outcomes.interval(baseline, z), z)
        if change is None or not self.rule.settles(*change.ci95):
            return None
        return outcomes.row(baseline, z) | baseline.foretold(change, float(np.exp(damage.middle)))
