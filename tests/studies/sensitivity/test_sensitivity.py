"""Sweeps: a cell on reused prefixes is the cell of a whole forward, and stopping early or being killed changes no finished figure."""

import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from analysis_cache.store import EvidenceStore
from tests.support.families import REPRESENTATIVE, images_for, relative_error, shared_model, shared_statistics
from tests.support.greys import grey_data, grey_model
from tests.support.tiers import over
from toast_core.data.load import Batch
from toast_core.errors import DeviceError, PlanError, ScheduleError
from toast_core.intervals import paired_interval
from toast_core.pruning.execution.apply import apply_plan
from toast_core.pruning.planner import make_plan
from toast_core.pruning.statistics import collect_statistics
from toast_core.schedule.schedule import SELECTIONS, Schedule
from toast_core.studies.sensitivity.cells import SITE_GROUPS, Cell, CellOutcomes, grid, summarize
from toast_core.studies.sensitivity.measure import BatchResult, Sweep, cell_outcomes, nested_outputs
from toast_core.studies.sensitivity.parts import StoreParts
from toast_core.studies.sensitivity.store import SweepRequest, analyze_sensitivity
from toast_core.studies.sensitivity.suffix import Suffix
from toast_core.studies.sensitivity.sweep import NoParts, Rule, run_sweep
from toast_core.studies.subject import Subject

FAMILIES = ("plain", "layer_scale", "qk_norm", "registers", "siglip", "swin", "swin_padded_windows", "eva02", "dinov3")


@pytest.mark.parametrize("selection", SELECTIONS)
@over("name", FAMILIES)
def test_every_cell_equals_a_whole_forward(name: str, selection: str) -> None:
    model, statistics, images = shared_model(name), shared_statistics(name), images_for(name, 4)
    settings = {"selection": selection, "token_fraction": 0.5}
    batch = Batch(images, torch.arange(4) % 7, np.arange(4))
    sweep = Sweep(model, statistics, **settings)
    cells = grid(len(sweep.suffix.blocks), ratios=(0.3, 0.6))
    result = sweep.measure(batch, cells)
    assert list(result.cells) and set(result.cells) == set(cells)
    with torch.inference_mode():
        baseline = model(images)
        for cell in cells:
            schedule = cell.schedule(len(sweep.suffix.blocks), **settings)
            logits = apply_plan(model, make_plan(model, schedule, statistics), "masked")(images)
            expected = cell_outcomes(logits, baseline, batch.labels)
            assert np.allclose(result.cells[cell].loss, expected.loss, atol=1e-5)
            assert np.allclose(result.cells[cell].kl, expected.kl, atol=1e-5)
            assert np.allclose(result.cells[cell].margin, expected.margin, atol=1e-4)


@over("name", (*FAMILIES, "distilled"), (*REPRESENTATIVE, "distilled"))
def test_the_suffix_from_every_block_gives_the_models_logits(name: str) -> None:
    model, images = shared_model(name), images_for(name, 3)
    suffix = Suffix(model)
    with torch.inference_mode():
        expected, x = model(images), suffix.start(images)
        for index, block in enumerate(suffix.blocks):
            assert relative_error(suffix.output(x, index), expected) < 1e-5
            x = suffix.enter(index + 1, block(x))


class Recording(NoParts):
    """Remembers which cells were saved, part by part."""

    def __init__(self) -> None:
        self.saved: list[tuple[int, int, set[Cell]]] = []

    def save(self, batch: int, block: int, cells: dict[Cell, CellOutcomes]) -> None:
        """Remember them."""
        self.saved.append((batch, block, set(cells)))


@pytest.mark.parametrize("most_images", [None, 2])
def test_parts_are_saved_block_by_block(most_images: int | None) -> None:
    model, cells, parts = grey_model("vit"), grid(3, ("fc2",), (0.3, 0.5)), Recording()
    run_sweep(Sweep(model, most_images=most_images), grey_data(model, 5), cells, 3, parts=parts)
    assert parts.saved == [
        (batch, block, {cell for cell in cells if cell.block == block}) for batch in range(2) for block in range(3)
    ]


def test_cells_asked_for_block_by_block_share_what_lies_before(monkeypatch: pytest.MonkeyPatch) -> None:
    model, cells, entered = grey_model("vit"), grid(3, ("fc2",), (0.5,)), []
    sweep = Sweep(model)
    real = sweep.suffix.start
    monkeypatch.setattr(sweep.suffix, "start", lambda images: entered.append(len(images)) or real(images))
    run_sweep(sweep, grey_data(model, 5), cells, 3)
    assert entered == [3, 2], "the images entered the model once a batch"


def test_out_of_memory_halves_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    sweep, sizes = Sweep(shared_model("plain")), []
    batch = Batch(images_for("plain", 4), torch.arange(4) % 7, np.arange(4))
    cells = grid(3, ("fc2",), (0.5,))
    whole, real = sweep.measure(batch, cells), sweep._measure

    def tight(part: Batch, *rest: object) -> BatchResult:
        sizes.append(len(part.index))
        if len(part.index) > 1:
            raise torch.OutOfMemoryError
        return real(part, *rest)

    monkeypatch.setattr(sweep, "_measure", tight)
    split = sweep.measure(batch, cells)
    assert sizes == [4, 2, 1, 1, 1, 1], "what did not fit once is not tried again"
    assert all(np.allclose(split.cells[cell].loss, whole.cells[cell].loss, atol=1e-5) for cell in cells)


def test_per_batch_selection_is_never_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = Sweep(shared_model("plain"), selection="per_batch")
    batch = Batch(images_for("plain", 4), torch.arange(4) % 7, np.arange(4))

    def tight(*_: object) -> BatchResult:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(sweep, "_measure", tight)
    with pytest.raises(DeviceError, match="at batch size 4, and per_batch selection looks at whole batches; use --batch-size 2"):
        sweep.measure(batch, grid(3, ("fc2",), (0.5,)))


def test_a_cut_batch_gives_the_same_cells() -> None:
    batch = Batch(images_for("plain", 5), torch.arange(5) % 7, np.arange(5))
    cells = grid(3, ("fc2", "qk"), (0.5,))
    whole = Sweep(shared_model("plain")).measure(batch, cells)
    cut = Sweep(shared_model("plain"), most_images=2).measure(batch, cells)
    assert list(cut.evaluation.index) == [0, 1, 2, 3, 4]
    assert all(np.allclose(cut.cells[cell].loss, whole.cells[cell].loss, atol=1e-5) for cell in cells)


@pytest.mark.parametrize("rising", [True, False])
def test_fixed_choices_are_nested_or_start_anew(rising: bool) -> None:
    model, statistics = shared_model("plain"), shared_statistics("plain")
    sweep = Sweep(model, statistics, selection="calibrated")
    cells = [Cell(1, "fc2", ratio) for ratio in ((0.8, 0.5, 0.2) if rising else (0.2, 0.8, 0.5))]
    blocks, x = [sweep.block_of(cell) for cell in cells], torch.randn(2, 17, 24, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        stream, hidden = blocks[0].expand(x, None)
        for block, out in zip(blocks, nested_outputs(blocks, stream, hidden), strict=True):
            assert relative_error(out, block.contract(stream, hidden, None)) < 1e-5


class TestCells:
    def test_a_grid_has_every_block_site_and_ratio(self) -> None:
        assert len(grid(12)) == 12 * len(SITE_GROUPS) * 9
        assert Cell(2, "fc1+fc2", 0.4).schedule(3) == Schedule.uniform(3).with_ratio(2, "fc1", 0.4).with_ratio(2, "fc2", 0.4)

    def test_strangers_are_refused(self) -> None:
        with pytest.raises(ScheduleError, match="unknown site 'fc3'; choose from qk, vo"):
            grid(3, ("fc3",))
        with pytest.raises(ScheduleError, match="ratio 0 prunes nothing"):
            grid(3, ratios=(0.0,))
        with pytest.raises(ScheduleError, match="unknown mode 'fast'; choose from exact, adaptive"):
            Rule("fast")

    def test_the_paired_interval_is_agresti_and_mins(self) -> None:
        before = np.array([True] * 90 + [False] * 10)
        after = np.array([True] * 80 + [False] * 10 + [True] * 4 + [False] * 6)
        gained, lost, n = 4.5, 10.5, 102.0
        difference = (gained - lost) / n
        half = 1.959963984540054 * ((gained + lost - (gained - lost) ** 2 / n) ** 0.5) / n
        assert paired_interval(before, after) == pytest.approx((100 * (difference - half), 100 * (difference + half)))
        low, high = paired_interval(before, before)
        assert low < 0 < high

    def test_the_interval_covers_at_its_rate(self) -> None:
        """Simulated images whose true difference is known: a nominal 95 % interval must not miss far more often."""
        rng, missed = np.random.default_rng(0), 0
        for _ in range(2000):
            draw = rng.random(300)
            low, high = paired_interval(draw < 0.9, (draw < 0.85) | (draw > 0.98))
            missed += not low <= 100 * (0.85 + 0.02 - 0.9) <= high
        assert missed / 2000 < 0.07

    def test_a_summary_pairs_the_same_images(self) -> None:
        outcomes = CellOutcomes(*(np.array(values) for values in ([True, False], [True, True], [0.5, 1.5], [0.1, 0.3], [1.0, -1.0])))
        longer = CellOutcomes(*(np.array(v) for v in ([True, True, False], [True] * 3, [0.25, 0.75, 9.0], [0.0] * 3, [1.0] * 3)))
        row = summarize(Cell(1, "qk", 0.5), longer, outcomes)
        assert (row["top1"], row["top1_delta"], row["images"]) == (50.0, -50.0, 2)
        assert row["loss_delta"] == pytest.approx(0.5)
        assert row["kl"] == pytest.approx(0.2)


class TestStored:
    """Through the evidence store: nothing stored is computed again, and a killed sweep ends where an undisturbed one does."""

    def subject(self, kind: str = "sensitivity") -> Subject:
        model = grey_model("vit")
        return Subject.of(model, grey_data(model), 6, kind)

    def test_a_second_run_measures_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        cells = grid(3, ("fc2", "qk"), (0.5,))
        with EvidenceStore.open(tmp_path / "s.db") as store:
            analysis, rows = analyze_sensitivity(self.subject(), store, SweepRequest(cells))
            assert [(row["block"], row["site"]) for row in rows] == [(cell.block, cell.site) for cell in cells]
            assert analysis.finished_utc
            assert store.verify().ok
            assert store.verify().cells == len(cells) + 1, "the cells and the baseline; the parts of a finished sweep are removed"
            monkeypatch.setattr(Sweep, "measure", None)
            assert analyze_sensitivity(self.subject(), store, SweepRequest(cells))[1] == rows

    @pytest.mark.parametrize("stop_after", [0, 1, 4, 7])
    def test_a_killed_sweep_goes_on_where_it_stopped(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int) -> None:
        cells = grid(3, ("fc2", "vo"), (0.3, 0.6))
        with EvidenceStore.open(tmp_path / "whole.db") as store:
            expected = analyze_sensitivity(self.subject(), store, SweepRequest(cells))[1]
        real, saved = StoreParts.save, []

        def killed(self: StoreParts, batch: int, block: int, part: dict) -> None:
            if len(saved) == stop_after:
                raise KeyboardInterrupt
            real(self, batch, block, part)
            saved.append((batch, block))

        with EvidenceStore.open(tmp_path / "killed.db") as store:
            monkeypatch.setattr(StoreParts, "save", killed)
            with pytest.raises(KeyboardInterrupt):
                analyze_sensitivity(self.subject(), store, SweepRequest(cells))
            again = []
            monkeypatch.setattr(
                StoreParts, "save", lambda self, batch, block, part: again.append((batch, block)) or real(self, batch, block, part)
            )
            assert analyze_sensitivity(self.subject(), store, SweepRequest(cells))[1] == expected
            assert not set(saved) & set(again), "a stored part was computed again"
            assert store.verify().ok

    def test_another_model_is_another_analysis(self) -> None:
        subject, changed = self.subject(), copy.deepcopy(grey_model("vit"))
        assert Subject.of(changed, subject.data, 6, "sensitivity").identity.key == subject.identity.key
        with torch.no_grad():
            next(changed.parameters()).mul_(1.5)
        assert Subject.of(changed, subject.data, 6, "sensitivity").identity.key != subject.identity.key

    def test_a_pruned_model_is_refused(self) -> None:
        model = grey_model("vit")
        pruned = apply_plan(model, make_plan(model, Schedule.uniform(3, qk=0.5)))
        with pytest.raises(PlanError, match=r"is already pruned \(compact\); analyze the baseline model"):
            Subject.of(pruned, grey_data(model), 6, "sensitivity")


class TestAdaptive:
    def test_clear_cells_stop_early_and_agree_with_exact(self) -> None:
        """Many images, cells of very different damage: those that stop early use fewer images and their intervals hold the exact value."""
        model = grey_model("vit")
        data = grey_data(model, seed=4)
        data.index = np.tile(data.index, 40)
        statistics = collect_statistics(model, [batch.images for batch in grey_data(model).batches(8)])
        cells = grid(3, ("qk", "fc2"), (0.2, 0.9))
        sweep = Sweep(model, statistics, selection="calibrated")
        exact = run_sweep(sweep, data, cells, 64)
        adaptive = run_sweep(sweep, data, cells, 64, Rule("adaptive", width=6.0, tolerance=5.0))
        assert sum(row["images"] for row in adaptive) < sum(row["images"] for row in exact)
        assert all(row["ci95"][0] <= true["top1_delta"] <= row["ci95"][1] for row, true in zip(adaptive, exact, strict=True))

    def test_looks_share_the_error(self) -> None:
        assert Rule().z(10_000) == pytest.approx(1.96, abs=1e-3)
        assert Rule("adaptive").z(64) == pytest.approx(1.96, abs=1e-3)
        assert Rule("adaptive").z(128) > Rule("adaptive").z(64)

    def test_an_undecided_cell_goes_on(self) -> None:
        same = CellOutcomes(np.ones(64, bool), np.ones(64, bool), np.zeros(64), np.zeros(64), np.ones(64))
        assert Rule("adaptive", width=10.0).decided(same, same, 1000)
        assert not Rule("adaptive", width=0.1).decided(same, same, 1000)
        wrong = dataclasses.replace(same, correct=np.zeros(64, bool))
        assert Rule("adaptive", width=0.1, tolerance=2.0).decided(same, wrong, 1000), "clearly beyond the tolerance"
        assert Rule("adaptive", width=0.1, tolerance=20.0).decided(same, same, 1000), "clearly within the tolerance"
        assert not Rule("exact").decided(same, wrong, 1000)
