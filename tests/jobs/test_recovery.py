"""Recovery as a job, on a tiny model: what it refuses, what it costs, what it leaves, and that it goes on."""

import json
import shlex

import pytest
from PIL import Image
from typer.main import get_command

from analysis_cache.store import EvidenceStore
from tests.recovery.tiny import same_weights
from toast_core.analysis.evaluate import evaluate
from toast_core.cli import app
from toast_core.data.load import load_data
from toast_core.errors import DataError, ScheduleError
from toast_core.jobs.basis import Basis, Ground
from toast_core.jobs.kinds import read_run
from toast_core.pruning.saved import load_model
from toast_core.schedule.cost import count_cost
from toast_core.schedule.schedule import Schedule

SCHEDULE = Schedule.uniform(3, vo=0.5, fc2=0.7, selection="calibrated")
RUN = {
    "kind": "recovery", "schedule": SCHEDULE.to_dict(), "images": 40, "recipe": {"epochs": 2, "batch_size": 12, "labels": True},
    "test_images": 30,
}


def ground_for(model, folder, calibration="fashion-mnist:calibration", train=None, data="fashion-mnist") -> Ground:
    sizes = {"num_classes": None, "img_size": None, "calibration_images": 20, "device": "cpu", "applied": str(folder / "applied")}
    return Ground(model, Basis.of("demo_tiny", "random", data, calibration, str(folder / "evidence.sqlite"), train, **sizes))


def test_what_cannot_be_is_refused_before_anything_is_trained(model, tmp_path):
    with EvidenceStore.open(tmp_path / "evidence.sqlite") as store:
        ground = ground_for(model, tmp_path)
        with pytest.raises(ScheduleError, match="the schedule has 4 blocks but"):
            read_run({**RUN, "schedule": Schedule.uniform(4).to_dict()}).work(ground, store)
        with pytest.raises(DataError, match="fashion-mnist are the images that the dashboard measures on; start it with other images"):
            read_run(RUN).work(ground_for(model, tmp_path, train="fashion-mnist"), store)
        with pytest.raises(DataError, match="fashion-mnist are the test images"):
            read_run(RUN).work(ground_for(model, tmp_path, train="fashion-mnist", data="fashion-mnist:calibration"), store)
        with pytest.raises(DataError, match="where one step takes 64; use more images"):
            read_run({**RUN, "recipe": {"batch_size": 64}}).work(ground, store)
        with pytest.raises(DataError, match="recovery needs training images; start the dashboard with --train FOLDER"):
            read_run(RUN).work(ground_for(model, tmp_path, None), store)


class Killed(Exception):
    """Stands for what ends a job's process."""


def test_it_goes_on_keeps_its_figures_and_leaves_the_model(model, tmp_path, capsys):
    run, ground, seen = read_run(RUN), ground_for(model, tmp_path), []

    def broken(done: int, total: int) -> None:
        if done > 36:
            raise Killed

    with EvidenceStore.open(ground.basis.store) as store:
        before = run.work(ground, store)
        assert (before.cells, before.stored, before.images) == (2, 0, 40) and before.macs > 0
        with pytest.raises(Killed):
            run.measure(ground, store, broken)
        assert run.work(ground, store).stored == 1 and not store.list_analyses()[0].finished_utc
        analysis = run.measure(ground, store, lambda done, total: seen.append((done, total)))
        assert seen[0][0] > 36 and seen[-1] == (72, 72)
        assert (run.work(ground, store).stored, run.work(ground, store).macs) == (2, 0)
        assert run.measure(ground, store, lambda done, total: pytest.fail("it is done")).id == analysis.id
        report, test = (store.get(analysis.cell_keys[place]).summary for place in (0, -1))
        said = run.outcome(store, analysis)
    file, = (tmp_path / "applied").iterdir()
    written = load_model(weights=file)
    assert written.toast_info.schedule == SCHEDULE
    # what it says of test images is what the file and the baseline do on them
    tests = load_data("fashion-mnist", model, 30)
    before, after = (evaluate(one, tests).outcomes for one in (model, written))
    assert test["top1"] == after.top1_estimate.to_dict() and test["baseline_top1"] == before.top1_estimate.to_dict()
    assert test["delta_top1"]["value"] == pytest.approx(100 * (after.correct.mean() - before.correct.mean()))
    assert said.startswith(f"top-1 {100 * after.correct.mean():.1f} % of 30 images (95 %: ") and "; validation top-1 " in said
    # the command line does the same, under the same key, and gives the same weights
    trains, measures = run.command(ground.basis).splitlines()
    assert measures == "toast evaluate --weights recovered.safetensors --data fashion-mnist --images 30 --device cpu"
    _, command, *words = shlex.split(trains)
    (tmp_path / "schedule.json").write_text(SCHEDULE.to_json())
    words[words.index("schedule.json")] = str(tmp_path / "schedule.json")
    words[words.index("recovered.safetensors")] = str(tmp_path / "recovered.safetensors")
    get_command(app).commands[command].main([*words, "--json"], standalone_mode=False)
    document = json.loads(capsys.readouterr().out)
    assert document["history"] == report["history"]
    assert same_weights(written, load_model(weights=tmp_path / "recovered.safetensors"))
    with EvidenceStore.open(ground.basis.store) as store:
        assert len(store.list_analyses()) == 1


def test_training_images_of_its_own_are_taken_before_the_calibration_images(model, tmp_path):
    for number, name in enumerate(("ankle", "bag")):
        (tmp_path / "images" / name).mkdir(parents=True)
        for place in range(15):
            Image.new("L", (28, 28), 100 * number + place).save(tmp_path / "images" / name / f"{place}.png")
    ground = ground_for(model, tmp_path, train=str(tmp_path / "images"))
    run = read_run({"kind": "recovery", "schedule": SCHEDULE.to_dict(), "recipe": {"epochs": 1, "batch_size": 8, "labels": False}})
    with EvidenceStore.open(tmp_path / "evidence.sqlite") as store:
        assert run.work(ground, store).images == 30
    assert f"--train {tmp_path / 'images'}" in run.command(ground.basis)


def test_other_test_images_cost_an_evaluation_and_no_training(model, tmp_path):
    ground = ground_for(model, tmp_path)
    with EvidenceStore.open(ground.basis.store) as store:
        read_run(RUN).measure(ground, store, lambda done, total: None)
        more = read_run({**RUN, "test_images": 20})
        epochs, macs = more.work(ground, store).stored, more.work(ground, store).macs
        assert epochs == 2 and macs == 40 * count_cost(ground.shape).macs
        analysis = more.measure(ground, store, lambda done, total: pytest.fail("it is trained"))
        assert store.get(analysis.cell_keys[-1]).summary["images"] == 20 and more.work(ground, store).macs == 0
