"""Which cells calibrate the others of their site, and what the others are worth then."""

import numpy as np
import pytest

from toast_core.studies.sensitivity.cells import grid
from toast_core.studies.sketch.calibration import NOISE, calibrated, telling
from toast_core.studies.sketch.regression import regress
from toast_core.studies.sketch.result import Sketch

CELLS = grid(6, ("qk", "fc2"))
IMAGES = 40


def predictions(seed: int) -> np.ndarray:
    """(cells, images): damages that grow with the ratio, larger in some blocks than in others."""
    draw = np.random.default_rng(seed)
    size = np.array([np.exp(6 * cell.ratio - 8 + 0.4 * cell.block) for cell in CELLS])
    return size[:, None] * draw.chisquare(2, (len(CELLS), IMAGES)) / 2


def test_cells_to_run_are_spread_over_each_sites_predictions() -> None:
    predicted = predictions(0).mean(axis=1)
    chosen = telling(CELLS, predicted, 4)
    for site in ("qk", "fc2"):
        own = sorted(predicted[number] for number, cell in enumerate(CELLS) if cell.site == site)
        places = sorted(own.index(predicted[CELLS.index(cell)]) for cell in chosen if cell.site == site)
        assert len(places) == 4 and [4 * place // len(own) for place in places] == [0, 1, 2, 3]


def test_what_is_lost_in_single_precision_is_not_run_and_few_cells_are_all_run() -> None:
    assert telling(CELLS, np.full(len(CELLS), NOISE / 2), 4) == []
    assert sorted(telling(CELLS[:3], np.ones(3), 6)) == CELLS[:3]


@pytest.mark.parametrize("bend", [0.0, 1.5])
def test_a_site_is_set_right_by_its_own_cells(bend: float) -> None:
    predicted = predictions(1)
    factor = np.array([np.exp((0.7 if cell.site == "qk" else -1.0) + bend * (cell.ratio - 0.5)) for cell in CELLS])
    exact = predicted * factor[:, None]
    chosen = telling(CELLS, predicted.mean(axis=1), 6)
    measured = {cell: (predicted[CELLS.index(cell)][:10], exact[CELLS.index(cell)][:10]) for cell in chosen}
    found = calibrated(CELLS, predicted, measured)
    miss = [np.log(found[cell].value / exact[number].mean()) for number, cell in enumerate(CELLS)]
    assert np.abs(miss).max() < 0.35 < np.abs(np.log(factor)).max()


def test_the_band_holds_what_it_says() -> None:
    inside = []
    for seed in range(30):
        predicted, draw = predictions(seed), np.random.default_rng([seed, 1])
        exact = predicted * np.exp(draw.normal(0.3, 0.4, len(CELLS)))[:, None]
        chosen = telling(CELLS, predicted.mean(axis=1), 6)
        found = calibrated(CELLS, predicted, {cell: (predicted[CELLS.index(cell)], exact[CELLS.index(cell)]) for cell in chosen})
        for number, cell in enumerate(CELLS):
            low, high = found[cell].ci95
            inside += [low <= exact[number].mean() <= high] * (cell not in chosen)
    assert 0.93 < np.mean(inside) < 0.999


def test_a_cell_that_does_nothing_is_predicted_to_do_nothing() -> None:
    predicted = predictions(2)
    predicted[0] = 0
    assert calibrated(CELLS, predicted, {})[CELLS[0]].ci95 == (0.0, 0.0)


def test_many_measurements_outweigh_the_prior() -> None:
    draw = np.random.default_rng(0)
    features = np.c_[np.ones(400), draw.normal(size=400)]
    damages = np.exp(features @ np.array([0.5, 0.7]) + draw.normal(0, 0.1, 400))
    learned = regress(features, damages, np.array([0.0, 1.0]), np.array([1.0, 0.3]))
    assert learned.coefficients == pytest.approx([0.5, 0.7], abs=0.05)
    assert np.sqrt(learned.variance) == pytest.approx(0.1, abs=0.05)
    told = learned.predict(np.array([1.0, 0.5]))
    assert told.ci95[0] < np.exp(0.85) < told.ci95[1] < 1.5 * np.exp(0.85)


def test_rows_say_how_many_cells_of_their_site_were_run() -> None:
    moved = np.sqrt(2 * predictions(3))[:, None, :].astype(np.float32)
    run = {CELLS[number]: 3 * np.square(moved[number, 0]) / 2 for number in (1, 4, 7)}
    rows = Sketch(tuple(CELLS), moved, "kl", run).rows()
    assert {(row["site"], row["calibrated_by"]) for row in rows} == {("qk", 3), ("fc2", 0)}
    bare = Sketch(tuple(CELLS), moved, "kl").rows()
    for row, before in zip(rows, bare, strict=True):
        assert (row == before) if row["site"] == "fc2" else (row["kl"] > 1.5 * before["kl"])
