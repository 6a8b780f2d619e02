"""Sketches in the evidence store, and what they predict."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from analysis_cache.store import EvidenceStore
from tests.support.greys import grey_data, grey_model
from toast_core.cost.shapes import ModelShape
from toast_core.errors import DeviceError
from toast_core.models.info import get_info
from toast_core.pruning.execution.apply import apply_plan
from toast_core.pruning.planner import make_plan
from toast_core.schedule.schedule import BlockSchedule, Schedule
from toast_core.studies.evaluation.measure import beside_baseline
from toast_core.studies.sensitivity.cells import Cell, grid
from toast_core.studies.sensitivity.measure import Sweep, cell_outcomes
from toast_core.studies.sketch.measure import Sketcher
from toast_core.studies.sketch.memory import sketch_need
from toast_core.studies.sketch.result import Sketch
from toast_core.studies.sketch.store import SketchRequest, analyze_sketch, read_sketch
from toast_core.studies.subject import Subject

CELLS = grid(3, ("vo", "fc2"), (0.2, 0.6))
REQUEST = SketchRequest(CELLS, 3, None, {"selection": "per_image", "seed": 0}, measured=0, trials=0)


def subject(batch_size: int = 6) -> Subject:
    """A tiny model on 23 grey images."""
    model = grey_model("vit")
    return Subject.of(model, grey_data(model, 23), batch_size, "sketch")


def test_rows_say_what_they_are_predicted_from(tmp_path) -> None:
    with EvidenceStore.open(tmp_path / "e.db") as store:
        analysis, sketch = analyze_sketch(subject(), store, REQUEST)
        again = read_sketch(store, analysis, "kl")
    assert analysis.finished_utc and np.array_equal(again.moved, sketch.moved) and again.cells == tuple(CELLS)
    rows = sketch.rows()
    assert [(row["block"], row["site"], row["ratio"]) for row in rows] == [(cell.block, cell.site, cell.ratio) for cell in CELLS]
    for number, row in enumerate(rows):
        damage = 0.5 * np.square(sketch.moved[number].astype(np.float64)).mean(axis=0)
        assert row["kl"] == pytest.approx(damage.mean()) and row["kl95"][0] <= row["kl"] <= row["kl95"][1]
        assert (row["images"], row["draws"], row["calibrated_by"]) == (23, 3, 0)


def test_cells_that_were_run_are_kept_with_the_sketch(tmp_path) -> None:
    asked = replace(REQUEST, measured=2, trials=3)
    with EvidenceStore.open(tmp_path / "e.db") as store:
        analysis, sketch = analyze_sketch(subject(), store, asked)
        again = read_sketch(store, analysis, "kl")
        bare, _ = analyze_sketch(subject(), store, REQUEST)
    assert bare.id != analysis.id and again.rows() == sketch.rows()
    assert {row["calibrated_by"] for row in sketch.rows()} == {2} and len(again.measured) == 4
    model = grey_model("vit")
    sweep = Sweep(model, selection="per_image", seed=0)
    batch = next(iter(grey_data(model, 23).batches(23)))
    assert len(again.trials) == 3 and again.trials == sketch.trials
    for trial in again.trials:
        pruned = apply_plan(model, make_plan(model, trial.schedule), "masked")
        damage = beside_baseline(model, pruned, list(grey_data(model, 23).batches(6))).damage()
        assert (trial.images, trial.damage) == (23, pytest.approx(damage.mean(), rel=1e-4))
    for cell, damage in again.measured.items():
        assert damage == pytest.approx(sweep.measure(batch, [cell]).cells[cell].damage(), rel=1e-3, abs=1e-6)


def test_a_second_run_measures_nothing(tmp_path, monkeypatch) -> None:
    with EvidenceStore.open(tmp_path / "e.db") as store:
        first, sketch = analyze_sketch(subject(), store, REQUEST)
        cells = store.verify().cells
        monkeypatch.setattr(Sketcher, "sketch", None)
        second, again = analyze_sketch(subject(), store, REQUEST)
        assert second.id == first.id and np.array_equal(again.moved, sketch.moved) and store.verify().cells == cells


@pytest.mark.parametrize("stop_after", [0, 2, 3])
def test_a_killed_one_goes_on_where_it_stopped(tmp_path, monkeypatch, stop_after: int) -> None:
    with EvidenceStore.open(tmp_path / "whole.db") as store:
        expected = analyze_sketch(subject(), store, REQUEST)[1].moved
    own, done = Sketcher.sketch, []

    def killed(self, batch) -> np.ndarray:
        if len(done) == stop_after:
            raise KeyboardInterrupt
        done.append(len(batch.index))
        return own(self, batch)

    with EvidenceStore.open(tmp_path / "killed.db") as store:
        monkeypatch.setattr(Sketcher, "sketch", killed)
        with pytest.raises(KeyboardInterrupt):
            analyze_sketch(subject(), store, REQUEST)
        more = []
        monkeypatch.setattr(Sketcher, "sketch", lambda self, batch: more.append(len(batch.index)) or own(self, batch))
        found = analyze_sketch(subject(), store, REQUEST)[1].moved
        assert np.array_equal(found, expected) and done + more == [6, 6, 6, 5]
        assert store.verify().cells == 6, "a part was left behind"


def test_other_draws_or_cells_are_another_analysis(tmp_path) -> None:
    with EvidenceStore.open(tmp_path / "e.db") as store:
        ids = {
            analyze_sketch(subject(), store, request)[0].id
            for request in (REQUEST, SketchRequest(CELLS, 2, None, REQUEST.settings), SketchRequest(CELLS[:4], 3, None, REQUEST.settings))
        }
    assert len(ids) == 3


def test_small_schedules_are_predicted_with_what_blocks_do_to_each_other(tmp_path) -> None:
    """Of a schedule so small that second order holds, the prediction is the measured divergence; the sum of single blocks is not."""
    model = grey_model("vit")
    schedule = Schedule(tuple(BlockSchedule(fc2=0.02) for _ in range(3)), selection="per_image", seed=0)
    cells = [Cell(block, "fc2", 0.02) for block in range(3)]
    data = grey_data(model, 23)
    with EvidenceStore.open(tmp_path / "e.db") as store:
        _, sketch = analyze_sketch(subject(), store, SketchRequest(cells, 400, None, {"selection": "per_image", "seed": 0}))
    batch = next(iter(data.batches(23)))
    pruned = apply_plan(model, make_plan(model, schedule), "masked")
    with torch.no_grad():
        measured = cell_outcomes(pruned(batch.images), model(batch.images), batch.labels).kl.mean()
    together, apart = sketch.damage(cells).mean(), sum(sketch.damage([cell]).mean() for cell in cells)
    assert together == pytest.approx(measured, rel=0.2)
    assert abs(together - measured) < abs(apart - measured)


class TestMemory:
    """How many images fit."""

    def shape(self) -> ModelShape:
        return get_info(grey_model("vit")).shape

    def test_more_draws_hold_fewer_images(self) -> None:
        held = [sketch_need(self.shape(), draws).images_within(2.0, 10**9) for draws in (1, 4, 16)]
        assert held == sorted(held, reverse=True) and held[0] > held[-1]
        assert sketch_need(self.shape(), 4).images_within(2.0, 8) == 8

    def test_too_small_a_budget_says_what_is_needed(self) -> None:
        with pytest.raises(DeviceError, match=r"too small for a sketch of .* with 4 draws; give --memory-gb \d"):
            sketch_need(self.shape(), 4).images_within(0.1, 8)
        with pytest.raises(DeviceError, match=r"with 4 draws at batch size 100000000, and per_batch selection looks at whole batches"):
            sketch_need(self.shape(), 4).images_within(2.0, 10**8, whole_batches=True)


def test_a_sketch_adds_what_cells_move() -> None:
    moved = np.array([[[1.0, 2.0]], [[-1.0, 1.0]]], np.float32)
    sketch = Sketch((Cell(0, "vo", 0.5), Cell(1, "vo", 0.5)), moved, "kl")
    assert sketch.damage(sketch.cells).tolist() == [0.0, 4.5]
    assert sketch.damage(sketch.cells[:1]).tolist() == [0.5, 2.0]
