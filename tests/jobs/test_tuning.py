"""Tuning as a job, on the demo with random weights: what it refuses, what it costs, what it leaves in the store."""

import json
import shlex

import pytest
import torch
from typer.main import get_command

from analysis_cache.store import EvidenceStore
from toast_core.cli import app
from toast_core.errors import DataError, ScheduleError, ToastError
from toast_core.jobs.basis import Basis, Ground
from toast_core.jobs.kinds import read_run, run_to_dict
from toast_core.models.load import load_baseline
from toast_core.schedule.cost import count_cost
from toast_core.schedule.schedule import Schedule

RUN = {
    "kind": "tuning", "unit": "macs", "limit": 60_000_000, "sites": ["fc2"], "ratios": [0.5, 0.9], "locks": [[0, "fc2", 0.0]],
    "ranges": [[1, "fc2", 0.0, 0.4]], "images": 24, "batch_size": 8,
    "compensation": {"ffn": "fold", "attention": "select", "calibration": "one_shot"},
}


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return load_baseline("demo_vit", "random")


def ground_for(model, folder, calibration="fashion-mnist:calibration") -> Ground:
    store = str(folder / "evidence.sqlite")
    sizes = {"num_classes": None, "img_size": None, "calibration_images": 20, "device": "cpu"}
    return Ground(model, Basis.of("demo_vit", "random", "fashion-mnist", calibration, store, **sizes))


@pytest.mark.parametrize(("values", "says"), [
    ({**RUN, "unit": "watts"}, "unknown unit 'watts' of a budget; choose from macs, params"),
    ({**RUN, "limit": 0.5}, "limit is 0.5; send a whole number of macs"),
    ({**RUN, "limit": 0}, "limit is 0; send a whole number of macs"),
    ({**RUN, "locks": [[0, "fc2"]]}, "locks is [[0, 'fc2']]; send a list of [block, site, ratio] entries"),
    ({**RUN, "locks": [[0, "fc9", 0.5]]}, "send a list of [block, site, ratio] entries"),
    ({**RUN, "locks": [[0, "fc2", 50]]}, "write 0.5 for 50 %"),
    ({**RUN, "ranges": [[0, "fc2", 0.5]]}, "send a list of [block, site, low, high] entries"),
    ({**RUN, "sites": ["fc1+fc2"]}, "unknown site 'fc1+fc2'; choose from qk, vo, fc1, fc2"),
    ({**RUN, "ratios": []}, "ratios is []; send a list of at least one, each once"),
    ({**RUN, "images": None}, "images is None; send how many calibration images to use"),
    ({**RUN, "compensation": {"ffn": "magic"}}, "unknown ffn compensation 'magic'; choose from none, bias, fold"),
    ({**RUN, "compensation": {"speed": 1}}, "unknown field 'speed' of a compensation; choose from ffn, attention, calibration"),
])
def test_what_is_no_run_is_one_line(values, says):
    with pytest.raises(ToastError) as caught:
        read_run(values)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_a_run_survives_json():
    run = read_run(RUN)
    assert read_run(json.loads(json.dumps(run_to_dict(run)))) == run


def test_what_cannot_be_is_refused_before_anything_is_measured(model, tmp_path):
    with EvidenceStore.open(tmp_path / "evidence.sqlite") as store:
        for change, says in (
            ({"limit": 1000}, "is below"), ({"locks": [[99, "fc2", 0.5]]}, "block 99 does not exist"),
            ({"locks": [[1, "fc2", 0.5]]}, "outside its range"), ({"ranges": [[1, "qk", 0.0, 0.5]]}, "qk is not tuned"),
        ):
            with pytest.raises(ScheduleError, match=says):
                read_run({**RUN, **change}).work(ground_for(model, tmp_path), store)
        with pytest.raises(DataError, match="tuning needs calibration images; start the dashboard with --calibration"):
            read_run(RUN).work(ground_for(model, tmp_path, None), store)


def test_it_keeps_its_answer_and_says_what_came_out(model, tmp_path, capsys):
    run, ground, seen = read_run(RUN), ground_for(model, tmp_path), []
    with EvidenceStore.open(ground.basis.store) as store:
        before = run.work(ground, store)
        assert (before.cells, before.stored, before.images) == (24, 0, 24)
        analysis = run.measure(ground, store, lambda done, total: seen.append((done, total)))
        after = run.work(ground, store)
        assert after.stored == 24 and after.macs < before.macs
        report = store.get(analysis.cell_keys[0]).summary
        metrics = [one.request["metric"] for one in store.list_analyses()]
    assert sorted(metrics) == ["tuning", "tuning_curves"]
    schedule = Schedule.from_dict(report["schedule"])
    assert count_cost(ground.shape, schedule).macs <= 60_000_000
    assert schedule.blocks[0].fc2 == 0 and schedule.blocks[1].fc2 <= 0.4
    assert seen == sorted(seen) and seen[-1] == (100, 100)
    with EvidenceStore.open(ground.basis.store) as store:
        assert "% fewer MACs" in run.outcome(store, analysis) and "keep the baseline's answer" in run.outcome(store, analysis)
    # the command line finds the same cells, and gives the same schedule
    _, command, *words = shlex.split(run.command(ground.basis))
    words[words.index("schedule.json")] = str(tmp_path / "schedule.json")
    get_command(app).commands[command].main([*words, "--json"], standalone_mode=False)
    document = json.loads(capsys.readouterr().out)
    assert document["schedule_digest"] == report["schedule_digest"]
    with EvidenceStore.open(ground.basis.store) as store:
        assert len(store.list_analyses()) == 2
