"""Tuning as a job, on a tiny model: what it refuses, what it costs, what it leaves in the store."""

import json
import shlex

import pytest
from typer.main import get_command

from analysis_cache.store import EvidenceStore
from tests.support.runs import TUNING, tiny_workbench
from toast_core.cli.app import app, main
from toast_core.cost.macs import count_cost
from toast_core.errors import DataError, ScheduleError
from toast_core.schedule.schedule import Schedule
from toast_core.studies.registry import read_run


def test_what_cannot_be_is_refused_before_anything_is_measured(tmp_path):
    with EvidenceStore.open(tmp_path / "evidence.sqlite") as store:
        for change, says in (
            ({"limit": 1000}, "is below"), ({"locks": [[99, "fc2", 0.5]]}, "block 99 does not exist"),
            ({"locks": [[1, "fc2", 0.5]]}, "outside its range"), ({"ranges": [[1, "qk", 0.0, 0.5]]}, "qk is not tuned"),
        ):
            with pytest.raises(ScheduleError, match=says):
                read_run({**TUNING, **change}).work(tiny_workbench(tmp_path), store)
        with pytest.raises(DataError, match="tuning needs calibration images; start the dashboard with --calibration"):
            read_run(TUNING).work(tiny_workbench(tmp_path, calibration=None), store)


def test_it_keeps_its_answer_and_says_what_came_out(tmp_path, capsys):
    run, workbench, seen = read_run(TUNING), tiny_workbench(tmp_path), []
    with EvidenceStore.open(workbench.setup.store) as store:
        before = run.work(workbench, store)
        assert (before.cells, before.stored, before.images) == (6, 0, 24)
        analysis = run.measure(workbench, store, lambda done, total: seen.append((done, total)))
        after = run.work(workbench, store)
        assert after.stored == 6 and after.macs < before.macs
        report = store.get(analysis.cell_keys[0]).summary
        metrics = [one.request["metric"] for one in store.list_analyses()]
    assert sorted(metrics) == ["sketch", "tuning"]
    schedule = Schedule.from_dict(report["schedule"])
    assert count_cost(workbench.shape, schedule).macs <= 350_000
    assert schedule.blocks[0].fc2 == 0 and schedule.blocks[1].fc2 <= 0.4
    assert seen == sorted(seen) and seen[-1] == (100, 100)
    with EvidenceStore.open(workbench.setup.store) as store:
        assert "% fewer MACs" in run.outcome(store, analysis) and "keep the baseline's answer" in run.outcome(store, analysis)
    # the command line finds the same cells, and gives the same schedule
    _, command, *words = shlex.split(run.command(workbench.setup))
    words[words.index("schedule.json")] = str(tmp_path / "schedule.json")
    get_command(app).commands[command].main([*words, "--json"], standalone_mode=False)
    document = json.loads(capsys.readouterr().out)
    assert document["schedule_digest"] == report["schedule_digest"]
    with EvidenceStore.open(workbench.setup.store) as store:
        assert len(store.list_analyses()) == 2


def test_it_evaluates_answer_and_baseline_on_the_sets_images_where_that_is_asked(tmp_path, capsys):
    run, workbench, seen = read_run({**TUNING, "evaluate": 8}), tiny_workbench(tmp_path), []
    with EvidenceStore.open(workbench.setup.store) as store:
        analysis = run.measure(workbench, store, lambda done, total: seen.append(done))
        schedule = store.get(analysis.cell_keys[0]).summary["schedule"]
        found = [one for one in store.list_analyses() if one.request["metric"] == "evaluation"]
        cells = {key for one in found for key in one.cell_keys}
    asked = [Schedule.from_dict(one.request["schedule"]) for one in found]
    assert sorted(one.is_baseline for one in asked) == [False, True] and Schedule.from_dict(schedule) in asked
    assert seen == sorted(seen) and seen[-1] == 100 and {one.request["images"] for one in found} == {8}
    _, command, *words = shlex.split(run.command(workbench.setup))
    words[words.index("schedule.json")] = str(tmp_path / "schedule.json")
    get_command(app).commands[command].main([*words, "--json"], standalone_mode=False)
    judged = json.loads(capsys.readouterr().out)["evaluated"]
    assert judged["images"] == 8 and 0 <= judged["top1"]["value"] <= 100 and judged["baseline_top1"]["ci95"][1] <= 100
    with EvidenceStore.open(workbench.setup.store) as store:
        assert {key for one in store.list_analyses() if one.request["metric"] == "evaluation" for key in one.cell_keys} == cells


def test_what_is_evaluated_needs_images(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["toast", "tune", "--calibration", "fit", "--reduction", "0.4", "--evaluate", "5", "-o", "s.json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and "--evaluate needs labelled images; pass --data DATA" in capsys.readouterr().err
