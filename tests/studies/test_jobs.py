"""The kinds of runs on the demo with random weights: what they refuse, what they cost, and that they write what the command line writes."""

import dataclasses
import json
import logging
import shlex

import numpy as np
import pytest
import torch
from typer.main import get_command

from analysis_cache.store import EvidenceStore
from toast_core.cli.app import app
from toast_core.cost.macs import count_cost
from toast_core.data.load import Batch
from toast_core.errors import DataError, DeviceError
from toast_core.jobs.book import JobBook
from toast_core.jobs.process import left_seconds
from toast_core.jobs.quote import Quoter, job_threads
from toast_core.pruning.execution.apply import apply_plan
from toast_core.pruning.planner import make_plan
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup
from toast_core.studies.evaluation import store as evaluation
from toast_core.studies.evaluation.measure import evaluate
from toast_core.studies.evaluation.result import Outcomes
from toast_core.studies.sensitivity.cells import Cell
from toast_core.studies.sensitivity.job import EvaluationRun, RedundancyRun, SensitivityRun, read_run, sweep_macs
from toast_core.studies.subject import Subject
from toast_core.workbench import Workbench

SWEEP = {"kind": "sensitivity", "sites": ["fc2"], "ratios": [0.5], "images": 16, "batch_size": 8}
PRUNED = Schedule.uniform(12, fc2=0.5, selection="calibrated")
EVALUATION = {"kind": "evaluation", "schedule": PRUNED.to_dict(), "images": 16, "batch_size": 8}


@pytest.fixture
def workbench(model, tmp_path) -> Workbench:
    store = str(tmp_path / "evidence.sqlite")
    places = {"data": "fashion-mnist", "calibration": "fashion-mnist:calibration", "store": store}
    setup = Setup("demo_vit", "random", **places, calibration_images=20, device="cpu")
    return Workbench(model, setup)


@pytest.mark.parametrize("run", [
    SensitivityRun(("qk", "fc1+fc2"), (0.25, 0.5), 100, "adaptive", 0.5, 3.0, "calibrated"), SensitivityRun(), RedundancyRun(50, 32),
    EvaluationRun(PRUNED, 100, "compact"),
])
def test_the_command_line_is_understood_and_says_the_same(run, workbench):
    toast, command, *words = shlex.split(run.command(workbench.setup))
    given = get_command(app).commands[command].make_context(command, words).params
    assert toast == "toast" and given["images"] == run.images and given["batch_size"] == run.batch_size
    assert given["weights"] == "random" and given["data"] == "fashion-mnist"
    if isinstance(run, SensitivityRun):
        assert (given["mode"], given["width"], given["tolerance"]) == (run.mode, run.width, run.tolerance)
        assert tuple(given["sites"].split(",")) == run.sites and tuple(map(float, given["ratios"].split(","))) == run.ratios
        assert given["selection"] == run.selection
    if isinstance(run, EvaluationRun):
        assert given["execution"] == run.execution
    else:
        assert given["store"] == workbench.setup.store and given["metrics"] == run.kind


def test_a_sweep_writes_the_cells_that_its_command_line_writes(workbench, capsys):
    run = read_run({**SWEEP, "selection": "calibrated"})
    seen = []
    with EvidenceStore.open(workbench.setup.store) as store:
        assert run.work(workbench, store).stored == 0
        analysis = run.measure(workbench, store, lambda done, total: seen.append((done, total)))
        assert run.work(workbench, store).stored == 12 and run.work(workbench, store).macs == 0
        assert run.outcome(store, analysis) == "12 cells measured"
    assert seen == sorted(seen) and seen[-1] == (192, 192) and len(seen) == 24
    _, command, *words = shlex.split(run.command(workbench.setup))
    get_command(app).commands[command].main([*words, "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["id"] == analysis.short_id
    with EvidenceStore.open(workbench.setup.store) as store:
        assert len(store.list_analyses()) == 1


def test_calibrated_selection_without_images_is_one_line(model, workbench):
    bare = Workbench(model, dataclasses.replace(workbench.setup, calibration=None))
    with EvidenceStore.open(workbench.setup.store) as store, pytest.raises(DataError, match="pass --calibration DATA"):
        read_run({**SWEEP, "selection": "calibrated"}).work(bare, store)


def test_macs_of_a_sweep_are_the_baseline_and_what_each_cell_runs_anew(workbench):
    cost = count_cost(workbench.shape)
    last, before = cost.blocks[11], cost.blocks[10]
    assert sweep_macs(workbench.shape, []) == 0
    assert sweep_macs(workbench.shape, [Cell(11, "fc2", 0.5)]) == cost.macs + last.ffn_macs
    assert sweep_macs(workbench.shape, [Cell(10, "qk+vo", 0.5)]) == cost.macs + before.macs + last.macs


class TestEvaluation:
    """Measured once, kept per image, and gone on with where it stopped."""

    def test_it_is_what_evaluate_says_and_is_never_measured_twice(self, workbench, monkeypatch):
        run = read_run(EVALUATION)
        with EvidenceStore.open(workbench.setup.store) as store:
            analysis = run.measure(workbench, store, lambda done, total: None)
            stored = store.get(analysis.cell_keys[0])
            statistics = workbench.statistics(PRUNED.class_weight, 8)
            data = workbench.images(16)
            expected = evaluate(apply_plan(workbench.model, make_plan(workbench.model, PRUNED, statistics), "masked"), data, 8).outcomes
            assert np.array_equal(stored.arrays["predicted"], expected.predicted) and np.array_equal(stored.arrays["index"], expected.index)
            assert stored.summary["top1"] == json.loads(json.dumps(expected.top1_estimate.to_dict()))
            assert run.outcome(store, analysis).startswith(f"top-1 {expected.top1_estimate.value:.1f} %")
            assert run.work(workbench, store).macs == 0
            monkeypatch.setattr(evaluation, "_outcomes", None)
            assert run.measure(workbench, store, lambda done, total: None).cell_keys == analysis.cell_keys

    def test_another_calibration_is_another_cell_and_the_baseline_is_one_whatever_its_selection(self, workbench):
        subject = Subject.on(workbench, "evaluation", 16, 8)
        few = evaluation.evaluation_identity(subject, PRUNED, "masked", workbench.statistics(2.0, 8))
        workbench = Workbench(workbench.model, dataclasses.replace(workbench.setup, calibration_images=30))
        assert few.key != evaluation.evaluation_identity(subject, PRUNED, "masked", workbench.statistics(2.0, 8)).key
        baselines = {
            evaluation.evaluation_identity(subject, Schedule.uniform(12, selection=selection), "masked", None).key
            for selection in ("calibrated", "per_batch")
        }
        assert len(baselines) == 1

    def test_an_interrupted_one_goes_on_and_leaves_nothing_behind(self, workbench, monkeypatch):
        run, measured = read_run({**EVALUATION, "schedule": Schedule.uniform(12).to_dict()}), []

        def stop(done: int, total: int) -> None:
            raise KeyboardInterrupt

        plain = evaluation._outcomes

        def counted(model: torch.nn.Module, batch: Batch, halves: bool) -> Outcomes:
            measured.append(len(batch.index))
            return plain(model, batch, halves)

        monkeypatch.setattr(evaluation, "_outcomes", counted)
        with EvidenceStore.open(workbench.setup.store) as store:
            with pytest.raises(KeyboardInterrupt):
                run.measure(workbench, store, stop)
            analysis = run.measure(workbench, store, lambda done, total: None)
            assert measured == [8, 8]
            whole = evaluate(workbench.model, workbench.images(16), 8).outcomes
            assert np.array_equal(store.get(analysis.cell_keys[0]).arrays["predicted"], whole.predicted)
            assert len(list(store.iter_cells(kind="evaluation"))) == 1

    def test_out_of_memory_becomes_a_smaller_batch_and_a_note(self, workbench, monkeypatch, caplog):
        def cramped(images: torch.Tensor) -> torch.Tensor:
            if len(images) > 3:
                raise torch.OutOfMemoryError
            return torch.zeros(len(images), 10)

        monkeypatch.setattr(workbench.model, "forward", cramped)
        run = read_run({**EVALUATION, "schedule": Schedule.uniform(12).to_dict()})
        with EvidenceStore.open(workbench.setup.store) as store, caplog.at_level(logging.WARNING):
            analysis = run.measure(workbench, store, lambda done, total: None)
            assert store.get(analysis.cell_keys[0]).summary["images"] == 16
        assert "out of memory with 8 images at once; going on with 4" in caplog.messages

    def test_where_results_depend_on_the_batch_it_is_not_cut(self, workbench, monkeypatch):
        def cramped(images: torch.Tensor) -> torch.Tensor:
            raise torch.OutOfMemoryError

        subject = Subject.on(workbench, "evaluation", 16, 8)
        batch = next(subject.data.batches(8))
        monkeypatch.setattr(workbench.model, "forward", cramped)
        with pytest.raises(DeviceError, match="ran out of memory at 8 images; choose another selection or fewer images a batch"):
            evaluation._outcomes(workbench.model, batch, halves=False)


class TestQuote:
    """What a run costs, before it starts."""

    def test_seconds_follow_the_work_and_what_is_stored_costs_nothing(self, workbench, tmp_path):
        quoter = Quoter(workbench, JobBook(tmp_path / "jobs"), start_s=3.0)
        small, large = (quoter.quote(read_run({**SWEEP, "images": images})) for images in (16, 32))
        assert (small.cells, small.stored, small.images) == (12, 0, 16)
        assert large.seconds - 3 == pytest.approx(2 * (small.seconds - 3)) and small.seconds > 3
        with EvidenceStore.open(workbench.setup.store) as store:
            read_run(SWEEP).measure(workbench, store, lambda done, total: None)
        assert quoter.quote(read_run(SWEEP)) == dataclasses.replace(small, stored=12, macs=0, seconds=0.0)

    def test_finished_jobs_of_the_kind_and_model_set_the_speed(self, workbench, tmp_path):
        book = JobBook(tmp_path / "jobs")
        quoter = Quoter(workbench, book, start_s=3.0)
        offer = quoter.offer(read_run(SWEEP))
        number = book.add(**vars(offer)).number
        book.change(number, ("queued",), state="done", measured_s=1000.0)
        assert quoter.quote(read_run(SWEEP)).seconds == pytest.approx(1003)
        assert quoter.quote(read_run({"kind": "redundancy", "images": 16})).seconds < 1000

    def test_a_job_leaves_a_core_to_the_desk(self):
        assert job_threads(1) == 1
        assert job_threads(10_000) < 10_000


@pytest.mark.parametrize(("first", "last", "total", "left"), [
    ((0.0, 0), (10.0, 50), 100, 10.0), ((5.0, 20), (5.0, 20), 100, None), ((0.0, 20), (4.0, 20), 100, None), ((0.0, 0), (1.0, 8), 8, 0.0),
])
def test_time_left(first, last, total, left):
    assert left_seconds(first, last, total) == left
