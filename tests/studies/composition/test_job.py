"""Batch composition as a job: what is refused, what it costs, and that it writes what its command line writes."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from typer.main import get_command

from analysis_cache.store import EvidenceStore
from tests.support.runs import COMPOSITION, WHOLE, say_nothing
from toast_core.cli.app import app
from toast_core.errors import ToastError
from toast_core.jobs.book import JobBook
from toast_core.jobs.quote import Quoter
from toast_core.pruning.execution.apply import apply_plan
from toast_core.schedule.compensation import Compensation
from toast_core.schedule.schedule import Schedule
from toast_core.studies.composition.result import CompositionRow, conditions
from toast_core.studies.composition.verdict import judge
from toast_core.studies.evaluation.measure import evaluate
from toast_core.studies.registry import read_run


def test_a_schedule_of_another_length_is_refused_before_anything_is_measured(workbench):
    values = {**COMPOSITION, "schedule": Schedule.uniform(4, fc2=0.5).to_dict()}
    with EvidenceStore.open(workbench.setup.store) as store, pytest.raises(ToastError, match="the schedule has 4 blocks but"):
        read_run(values).work(workbench, store)


def test_composition_is_judged_and_counts_its_conditions(workbench, capsys, tmp_path, monkeypatch):
    run = read_run(COMPOSITION)
    with EvidenceStore.open(workbench.setup.store) as store:
        cells = len(conditions(0, 0))
        assert run.work(workbench, store).cells == cells and run.work(workbench, store).macs > 0
        analysis = run.measure(workbench, store, say_nothing)
        rows = [CompositionRow.from_dict(head.summary) for head in store.heads(analysis.cell_keys)]
        assert judge(rows).safe is True and run.outcome(store, analysis) == "safe to deploy"
        assert run.work(workbench, store).stored == cells and run.work(workbench, store).macs == 0
    monkeypatch.chdir(tmp_path)
    Path("schedule.json").write_text(WHOLE.to_json())
    _, command, *words = shlex.split(run.command(workbench.setup))
    get_command(app).commands[command].main([*words, "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["id"] == analysis.short_id


def test_it_is_quoted(workbench, tmp_path):
    assert Quoter(workbench, JobBook(tmp_path / "jobs"), start_s=3.0).quote(read_run(COMPOSITION)).seconds > 3


def test_a_compensated_schedule_is_judged_by_its_fitted_weights(workbench):
    """Its masked outcomes are those of the plan that the workbench makes, whatever the batch, and the quote needs no fit."""
    wants = Compensation("fold", "project", "one_shot")
    schedule = Schedule.uniform(len(WHOLE.blocks), fc2=0.5, vo=0.25, selection="calibrated", compensation=wants)
    run = read_run({**COMPOSITION, "schedule": schedule.to_dict()})
    with EvidenceStore.open(workbench.setup.store) as store:
        assert run.work(workbench, store).macs > 0
        analysis = run.measure(workbench, store, say_nothing)
        rows = [CompositionRow.from_dict(head.summary) for head in store.heads(analysis.cell_keys)]
        stored = store.get(analysis.cell_keys[0]).arrays["loss"]
    fitted = apply_plan(workbench.model, workbench.plan(schedule, run.batch_size), "masked")
    found = evaluate(fitted, workbench.images(run.images), 1).answers
    assert np.allclose(np.sort(stored.astype(np.float32)), np.sort(found.loss), atol=2e-3)
    assert judge(rows).safe is True
