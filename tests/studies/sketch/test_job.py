"""A sketch as a job, on a tiny model: which images, what it costs, that it writes what its command writes, and that others get turns."""

import json
import shlex
from dataclasses import replace

import pytest
import torch
from typer.main import get_command

from analysis_cache.store import EvidenceStore
from tests.support.folders import make_folder
from tests.support.runs import SKETCH, say_nothing, tiny_workbench
from toast_core.cli.app import app
from toast_core.cost.macs import count_cost
from toast_core.errors import DataError
from toast_core.schedule.sites import SITES
from toast_core.setup import Setup
from toast_core.studies.registry import read_run
from toast_core.studies.sensitivity.cells import DEFAULT_RATIOS, Cell
from toast_core.studies.sketch.calibration import MEASURED
from toast_core.studies.sketch.job import SketchRun, first_sketch, sketch_macs
from toast_core.studies.sketch.store import read_sketch
from toast_core.studies.sketch.trials import TRIALS
from toast_core.workbench import Workbench


@pytest.mark.parametrize(("selection", "calibration"), [("calibrated", True), ("per_image", True), ("per_image", False)])
def test_a_job_writes_the_cells_that_its_command_line_writes(workbench, capsys, selection, calibration):
    if not calibration:
        workbench = Workbench(workbench.model, replace(workbench.setup, calibration=None))
    run, seen = read_run({**SKETCH, "selection": selection}), []
    with EvidenceStore.open(workbench.setup.store) as store:
        assert run.work(workbench, store).stored == 0
        analysis = run.measure(workbench, store, lambda done, total: seen.append((done, total)))
        left = run.work(workbench, store)
        assert (left.stored, left.cells, left.macs) == (12, 12, 0) and run.outcome(store, analysis) == "12 cells predicted"
    assert seen == [(8, 20), (16, 20), (20, 20)]
    _, command, *words = shlex.split(run.command(workbench.setup))
    get_command(app).commands[command].main([*words, "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["id"] == analysis.short_id
    with EvidenceStore.open(workbench.setup.store) as store:
        assert [one.id for one in store.list_analyses()] == [analysis.id]


def test_it_looks_at_the_calibration_images_where_there_are_any(tmp_path):
    data, other = (str(make_folder(tmp_path / name, {"a": 5, "b": 5})) for name in ("val", "fit"))
    both = tiny_workbench(tmp_path, data=data, calibration=other)
    run = SketchRun(images=6, batch_size=4)
    assert run.subject(both).data.source.name != both.images(6, labelled=False).source.name
    alone = Workbench(both.model, replace(both.setup, calibration=None))
    assert run.subject(alone).data.source.digest == both.images(6, labelled=False).source.digest
    nothing = Workbench(both.model, replace(both.setup, calibration=None, data=None))
    with pytest.raises(DataError, match=r"no images to measure .*; pass --data DATA"):
        run.subject(nothing)


def test_a_file_of_labels_is_not_about_calibration_images():
    setup = Setup("demo_vit", data="val", labels="labels.txt")
    assert setup.sketched == setup
    assert replace(setup, calibration="fit").sketched == replace(setup, calibration="fit", data="fit", labels=None)


@pytest.mark.parametrize(("setup", "selection"), [
    (Setup("demo_vit").completed(), "calibrated"), (Setup("x", data="val"), "per_image"), (Setup("x", calibration="fit"), "calibrated"),
    (Setup("x"), None), (Setup("x", "none", data="val"), None),
])
def test_what_the_engine_sketches_by_itself(setup, selection):
    run = first_sketch(setup)
    if selection is None:
        assert run is None
    else:
        assert run == SketchRun(SITES, DEFAULT_RATIOS, 64, 2, selection, batch_size=setup.batch_size)


def test_unreadable_images_leave_no_gap(tmp_path, monkeypatch):
    folder = make_folder(tmp_path / "val", {"a": 10, "b": 10})
    for broken in sorted(folder.rglob("*.*"))[3:5]:
        broken.write_bytes(b"no image")
    workbench = tiny_workbench(tmp_path, data=str(folder), calibration=None)
    with EvidenceStore.open(workbench.setup.store) as store:
        analysis = SketchRun(("fc2",), (0.5,), 20, batch_size=16).measure(workbench, store, say_nothing)
        assert read_sketch(store, analysis, "kl").moved.shape[2] == 18


@pytest.mark.parametrize("selection", ["per_image", "per_batch"])
def test_only_the_first_batch_is_cut_and_none_whose_channels_depend_on_it(workbench, selection):
    seen = []
    with EvidenceStore.open(workbench.setup.store) as store:
        run = SketchRun(("fc2",), (0.5,), 30, selection=selection, batch_size=12)
        run.measure(workbench, store, lambda done, total: seen.append(done))
        assert store.verify().cells == 3 + 1, "a part was left behind, beside the blocks' cells and the trials'"
    assert seen == ([8, 12, 24, 30] if selection == "per_image" else [12, 24, 30])


def test_others_may_run_the_model_in_a_pause(workbench):
    """What is sketched does not depend on it, and no hook of the sketch sees what they run."""
    run, batch = SketchRun(("qk", "fc1", "fc2"), (0.3, 0.6), 8, batch_size=8), next(workbench.images(4).batches(4))
    found, pauses = [], []

    def pause() -> None:
        pauses.append(1)
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in workbench.model.modules())
        with torch.inference_mode():
            workbench.model(batch.images)

    for folder in ("alone", "beside"):
        with EvidenceStore.open(f"{workbench.setup.store}-{folder}") as store:
            analysis = run.measure(workbench, store, say_nothing, *([pause] if folder == "beside" else []))
            found.append(read_sketch(store, analysis, "kl").moved)
    assert (found[0] == found[1]).all()
    assert len(pauses) == 3 + 3 + 3 * 6 + 3 * MEASURED + TRIALS  # blocks forwards, backwards, and their cells; what calibrates them
    assert all(parameter.grad is None for parameter in workbench.model.parameters())


def test_a_quote_counts_what_calibrates(workbench):
    with EvidenceStore.open(workbench.setup.store) as store:
        bare, more, most = (
            SketchRun(("fc2",), (0.5,), 8, measured=measured, trials=trials, batch_size=8).work(workbench, store).macs
            for measured, trials in ((0, 0), (2, 0), (2, 3))
        )
    assert most - more == (3 + 1) * 8 * count_cost(workbench.shape).macs and bare < more < bare + 2 * 8 * count_cost(workbench.shape).macs


def test_macs_of_a_sketch(workbench):
    cost = count_cost(workbench.shape)
    assert sketch_macs(workbench.shape, [Cell(1, "fc2", ratio) for ratio in DEFAULT_RATIOS], 3) == 8 * cost.macs
    qk = sketch_macs(workbench.shape, [Cell(1, "qk", ratio) for ratio in DEFAULT_RATIOS], 3)
    assert qk == 8 * cost.macs + 5 * cost.blocks[1].attention_macs
    assert sketch_macs(workbench.shape, [Cell(1, "fc1", 0.5)], 3) == 8 * cost.macs + cost.blocks[1].ffn_macs
