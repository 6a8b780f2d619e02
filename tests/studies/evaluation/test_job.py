"""An evaluation as a job, on a tiny model: measured once, stored per image, and gone on with where it stopped."""

import dataclasses
import json
import logging
import shlex

import numpy as np
import pytest
import torch
from typer.main import get_command

from analysis_cache.store import EvidenceStore
from tests.support.cells import cells_in
from tests.support.runs import EVALUATION, FC2
from toast_core.cli.app import app
from toast_core.data.load import Batch
from toast_core.errors import DeviceError
from toast_core.pruning.execution.apply import apply_plan
from toast_core.pruning.planner import make_plan
from toast_core.schedule.schedule import Schedule
from toast_core.studies.evaluation import measure as measuring
from toast_core.studies.evaluation import store as evaluation
from toast_core.studies.evaluation.job import EvaluationRun
from toast_core.studies.evaluation.measure import evaluate
from toast_core.studies.evaluation.result import Outcomes
from toast_core.studies.registry import read_run
from toast_core.studies.subject import Subject
from toast_core.workbench import Workbench


def test_the_command_line_is_understood_and_says_the_same(workbench):
    run = EvaluationRun(FC2, 100, "compact")
    toast, command, *words = shlex.split(run.command(workbench.setup))
    given = get_command(app).commands[command].make_context(command, words).params
    assert toast == "toast" and given["images"] == run.images and given["batch_size"] == run.batch_size
    assert given["weights"] == "random" and given["data"] == "fashion-mnist"
    assert given["execution"] == run.execution


def test_it_is_what_evaluate_says_and_is_never_measured_twice(workbench, monkeypatch):
    run = read_run(EVALUATION)
    with EvidenceStore.open(workbench.setup.store) as store:
        analysis = run.measure(workbench, store, lambda done, total: None)
        stored = store.get(analysis.cell_keys[0])
        statistics = workbench.statistics(FC2.class_weight, 8)
        data = workbench.images(16)
        expected = evaluate(apply_plan(workbench.model, make_plan(workbench.model, FC2, statistics), "masked"), data, 8).outcomes
        assert np.array_equal(stored.arrays["predicted"], expected.predicted) and np.array_equal(stored.arrays["index"], expected.index)
        assert stored.summary["top1"] == json.loads(json.dumps(expected.top1_estimate.to_dict()))
        assert run.outcome(store, analysis).startswith(f"top-1 {expected.top1_estimate.value:.1f} %")
        assert run.work(workbench, store).macs == 0
        monkeypatch.setattr(measuring, "run_batch", None)
        assert run.measure(workbench, store, lambda done, total: None).cell_keys == analysis.cell_keys


def test_another_calibration_is_another_cell_and_the_baseline_is_one_whatever_its_selection(workbench):
    subject = Subject.on(workbench, "evaluation", 16, 8)
    few = evaluation.evaluation_identity(subject, FC2, "masked", workbench.statistics(2.0, 8))
    workbench = Workbench(workbench.model, dataclasses.replace(workbench.setup, calibration_images=30))
    assert few.key != evaluation.evaluation_identity(subject, FC2, "masked", workbench.statistics(2.0, 8)).key
    baselines = {
        evaluation.evaluation_identity(subject, Schedule.uniform(3, selection=selection), "masked", None).key
        for selection in ("calibrated", "per_batch")
    }
    assert len(baselines) == 1


def test_an_interrupted_one_goes_on_and_leaves_nothing_behind(workbench, monkeypatch):
    run, measured = read_run({**EVALUATION, "schedule": Schedule.uniform(3).to_dict()}), []

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    plain = measuring.run_batch

    def counted(model: torch.nn.Module, batch: Batch) -> Outcomes:
        measured.append(len(batch.index))
        return plain(model, batch)

    monkeypatch.setattr(measuring, "run_batch", counted)
    with EvidenceStore.open(workbench.setup.store) as store:
        with pytest.raises(KeyboardInterrupt):
            run.measure(workbench, store, stop)
        analysis = run.measure(workbench, store, lambda done, total: None)
        assert measured == [8, 8]
        whole = evaluate(workbench.model, workbench.images(16), 8).outcomes
        assert np.array_equal(store.get(analysis.cell_keys[0]).arrays["predicted"], whole.predicted)
        assert len(cells_in(store, kind="evaluation")) == 1


def test_out_of_memory_becomes_a_smaller_batch_and_a_note(workbench, monkeypatch, caplog):
    def cramped(images: torch.Tensor) -> torch.Tensor:
        if len(images) > 3:
            raise torch.OutOfMemoryError
        return torch.zeros(len(images), 10)

    monkeypatch.setattr(workbench.model, "forward", cramped)
    run = read_run({**EVALUATION, "schedule": Schedule.uniform(3).to_dict()})
    with EvidenceStore.open(workbench.setup.store) as store, caplog.at_level(logging.WARNING):
        analysis = run.measure(workbench, store, lambda done, total: None)
        assert store.get(analysis.cell_keys[0]).summary["images"] == 16
    assert caplog.messages == ["out of memory at 8 images; going on with 4 at once", "out of memory at 4 images; going on with 2 at once"]


def test_where_results_depend_on_the_batch_it_is_not_cut(workbench, monkeypatch):
    def cramped(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(torch.nn.Module, "__call__", cramped)
    run = read_run({**EVALUATION, "schedule": dataclasses.replace(FC2, selection="per_batch").to_dict()})
    says = "the device ran out of memory at batch size 8, and per_batch selection looks at whole batches; use --batch-size 4"
    with EvidenceStore.open(workbench.setup.store) as store, pytest.raises(DeviceError, match=says):
        run.measure(workbench, store, lambda done, total: None)
