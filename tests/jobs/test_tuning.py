"""Tuning as a job, on a tiny model: what it refuses, what it costs, what it leaves in the store."""

import json
import shlex

import pytest
from typer.main import get_command

from analysis_cache.store import EvidenceStore
from toast_core.cli import app
from toast_core.errors import DataError, ScheduleError
from toast_core.jobs.basis import Basis, Ground
from toast_core.jobs.kinds import read_run
from toast_core.schedule.cost import count_cost
from toast_core.schedule.schedule import Schedule

RUN = {
    "kind": "tuning", "unit": "macs", "limit": 350_000, "sites": ["fc2"], "ratios": [0.5, 0.9], "locks": [[0, "fc2", 0.0]],
    "ranges": [[1, "fc2", 0.0, 0.4]], "images": 24, "batch_size": 8,
    "compensation": {"ffn": "fold", "attention": "select", "calibration": "one_shot"},
}


def ground_for(model, folder, calibration="fashion-mnist:calibration") -> Ground:
    store = str(folder / "evidence.sqlite")
    sizes = {"num_classes": None, "img_size": None, "calibration_images": 20, "device": "cpu"}
    return Ground(model, Basis.of("demo_tiny", "random", "fashion-mnist", calibration, store, **sizes))


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
        assert (before.cells, before.stored, before.images) == (6, 0, 24)
        analysis = run.measure(ground, store, lambda done, total: seen.append((done, total)))
        after = run.work(ground, store)
        assert after.stored == 6 and after.macs < before.macs
        report = store.get(analysis.cell_keys[0]).summary
        metrics = [one.request["metric"] for one in store.list_analyses()]
    assert sorted(metrics) == ["tuning", "tuning_curves"]
    schedule = Schedule.from_dict(report["schedule"])
    assert count_cost(ground.shape, schedule).macs <= 350_000
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
