"""Recovery as a job, on a tiny model: what it refuses, what it costs, what it leaves, and that it goes on."""

import json
import shlex

import pytest
from PIL import Image
from typer.main import get_command

from analysis_cache.store import EvidenceStore
from tests.support.recoveries import same_weights
from tests.support.runs import RECOVERED, RECOVERY, tiny_workbench
from toast_core.cli.app import app
from toast_core.cost.macs import count_cost
from toast_core.data.load import load_data
from toast_core.errors import DataError, ScheduleError
from toast_core.loading import load_model
from toast_core.schedule.schedule import Schedule
from toast_core.studies.evaluation.measure import evaluate
from toast_core.studies.registry import read_run


def test_what_cannot_be_is_refused_before_anything_is_trained(tmp_path):
    with EvidenceStore.open(tmp_path / "evidence.sqlite") as store:
        workbench = tiny_workbench(tmp_path)
        with pytest.raises(ScheduleError, match="the schedule has 4 blocks but"):
            read_run({**RECOVERY, "schedule": Schedule.uniform(4).to_dict()}).work(workbench, store)
        with pytest.raises(DataError, match="fashion-mnist are the images that the dashboard measures on; start it with other images"):
            read_run(RECOVERY).work(tiny_workbench(tmp_path, train="fashion-mnist"), store)
        with pytest.raises(DataError, match="fashion-mnist are the test images"):
            read_run(RECOVERY).work(tiny_workbench(tmp_path, train="fashion-mnist", data="fashion-mnist:calibration"), store)
        with pytest.raises(DataError, match="where one step takes 64; use more images"):
            read_run({**RECOVERY, "recipe": {"batch_size": 64}}).work(workbench, store)
        with pytest.raises(DataError, match="recovery needs training images; start the dashboard with --train FOLDER"):
            read_run(RECOVERY).work(tiny_workbench(tmp_path, calibration=None), store)


class Killed(Exception):
    """Stands for what ends a job's process."""


def test_it_goes_on_keeps_its_figures_and_leaves_the_model(tmp_path, capsys):
    run, workbench, seen = read_run(RECOVERY), tiny_workbench(tmp_path), []

    def broken(done: int, total: int) -> None:
        if done > 36:
            raise Killed

    with EvidenceStore.open(workbench.setup.store) as store:
        before = run.work(workbench, store)
        assert (before.cells, before.stored, before.images) == (2, 0, 40) and before.macs > 0
        with pytest.raises(Killed):
            run.measure(workbench, store, broken)
        assert run.work(workbench, store).stored == 1 and not store.list_analyses()[0].finished_utc
        analysis = run.measure(workbench, store, lambda done, total: seen.append((done, total)))
        assert seen[0][0] > 36 and seen[-1] == (72, 72)
        assert (run.work(workbench, store).stored, run.work(workbench, store).macs) == (2, 0)
        assert run.measure(workbench, store, lambda done, total: pytest.fail("it is done")).id == analysis.id
        report, test = (store.get(analysis.cell_keys[place]).summary for place in (0, -1))
        said = run.outcome(store, analysis)
    file, = (tmp_path / "applied").iterdir()
    written = load_model(weights=file)
    assert written.toast_info.schedule == RECOVERED
    # what it says of test images is what the file and the baseline do on them
    tests = load_data("fashion-mnist", workbench.model, 30)
    before, after = (evaluate(one, tests).outcomes for one in (workbench.model, written))
    assert test["top1"] == after.top1_estimate.to_dict() and test["baseline_top1"] == before.top1_estimate.to_dict()
    assert test["delta_top1"]["value"] == pytest.approx(100 * (after.correct.mean() - before.correct.mean()))
    assert said.startswith(f"top-1 {100 * after.correct.mean():.1f} % of 30 images (95 %: ") and "; validation top-1 " in said
    # the command line does the same, under the same key, and gives the same weights
    trains, measures = run.command(workbench.setup).splitlines()
    assert measures == "toast evaluate --weights recovered.safetensors --data fashion-mnist --images 30 --batch-size 64 --device cpu"
    _, command, *words = shlex.split(trains)
    (tmp_path / "schedule.json").write_text(RECOVERED.to_json())
    words[words.index("schedule.json")] = str(tmp_path / "schedule.json")
    words[words.index("recovered.safetensors")] = str(tmp_path / "recovered.safetensors")
    get_command(app).commands[command].main([*words, "--json"], standalone_mode=False)
    document = json.loads(capsys.readouterr().out)
    assert document["history"] == report["history"]
    assert same_weights(written, load_model(weights=tmp_path / "recovered.safetensors"))
    with EvidenceStore.open(workbench.setup.store) as store:
        assert len(store.list_analyses()) == 1


def test_training_images_of_its_own_are_taken_before_the_calibration_images(tmp_path):
    for number, name in enumerate(("ankle", "bag")):
        (tmp_path / "images" / name).mkdir(parents=True)
        for place in range(15):
            Image.new("L", (28, 28), 100 * number + place).save(tmp_path / "images" / name / f"{place}.png")
    workbench = tiny_workbench(tmp_path, train=str(tmp_path / "images"))
    run = read_run({"kind": "recovery", "schedule": RECOVERED.to_dict(), "recipe": {"epochs": 1, "batch_size": 8, "labels": False}})
    with EvidenceStore.open(tmp_path / "evidence.sqlite") as store:
        assert run.work(workbench, store).images == 30
    assert f"--train {tmp_path / 'images'}" in run.command(workbench.setup)


def test_other_test_images_cost_an_evaluation_and_no_training(tmp_path):
    workbench = tiny_workbench(tmp_path)
    with EvidenceStore.open(workbench.setup.store) as store:
        read_run(RECOVERY).measure(workbench, store, lambda done, total: None)
        more = read_run({**RECOVERY, "test_images": 20})
        epochs, macs = more.work(workbench, store).stored, more.work(workbench, store).macs
        assert epochs == 2 and macs == 40 * count_cost(workbench.shape).macs
        analysis = more.measure(workbench, store, lambda done, total: pytest.fail("it is trained"))
        assert store.get(analysis.cell_keys[-1]).summary["images"] == 20 and more.work(workbench, store).macs == 0
