"""A sweep as a job, on a tiny model: what it costs, and that it writes what its command line writes."""

import dataclasses
import json
import shlex

import pytest
from typer.main import get_command

from analysis_cache.store import EvidenceStore
from tests.support.runs import SENSITIVITY
from toast_core.cli.app import app
from toast_core.cost.macs import count_cost
from toast_core.errors import DataError
from toast_core.studies.registry import read_run
from toast_core.studies.sensitivity.cells import Cell
from toast_core.studies.sensitivity.job import SensitivityRun, sweep_macs
from toast_core.workbench import Workbench


@pytest.mark.parametrize("run", [
    SensitivityRun(("qk", "fc1+fc2"), (0.25, 0.5), 100, "adaptive", 0.5, 3.0, "calibrated"), SensitivityRun(),
])
def test_the_command_line_is_understood_and_says_the_same(run, workbench):
    toast, command, *words = shlex.split(run.command(workbench.setup))
    given = get_command(app).commands[command].make_context(command, words).params
    assert toast == "toast" and given["images"] == run.images and given["batch_size"] == run.batch_size
    assert given["weights"] == "random" and given["data"] == "fashion-mnist"
    assert (given["mode"], given["width"], given["tolerance"]) == (run.mode, run.width, run.tolerance)
    assert tuple(given["sites"].split(",")) == run.sites and tuple(map(float, given["ratios"].split(","))) == run.ratios
    assert given["selection"] == run.selection
    assert given["store"] == workbench.setup.store and given["metrics"] == run.kind


def test_a_sweep_writes_the_cells_that_its_command_line_writes(workbench, capsys):
    run = read_run({**SENSITIVITY, "selection": "calibrated"})
    seen = []
    with EvidenceStore.open(workbench.setup.store) as store:
        assert run.work(workbench, store).stored == 0
        analysis = run.measure(workbench, store, lambda done, total: seen.append((done, total)))
        assert run.work(workbench, store).stored == 3 and run.work(workbench, store).macs == 0
        assert run.outcome(store, analysis) == "3 cells measured"
    assert seen == sorted(seen) and seen[-1] == (48, 48) and len(seen) == 6
    _, command, *words = shlex.split(run.command(workbench.setup))
    get_command(app).commands[command].main([*words, "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["id"] == analysis.short_id
    with EvidenceStore.open(workbench.setup.store) as store:
        assert len(store.list_analyses()) == 1


def test_calibrated_selection_without_images_is_one_line(workbench):
    bare = Workbench(workbench.model, dataclasses.replace(workbench.setup, calibration=None))
    with EvidenceStore.open(workbench.setup.store) as store, pytest.raises(DataError, match="pass --calibration DATA"):
        read_run({**SENSITIVITY, "selection": "calibrated"}).work(bare, store)


def test_macs_of_a_sweep_are_the_baseline_and_what_each_cell_runs_anew(workbench):
    cost = count_cost(workbench.shape)
    last, before = cost.blocks[2], cost.blocks[1]
    assert sweep_macs(workbench.shape, []) == 0
    assert sweep_macs(workbench.shape, [Cell(2, "fc2", 0.5)]) == cost.macs + last.ffn_macs
    assert sweep_macs(workbench.shape, [Cell(1, "qk+vo", 0.5)]) == cost.macs + before.macs + last.macs
