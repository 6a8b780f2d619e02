"""The tuner end to end on a tiny model: budgets met, parts kept apart, decisions by intervals, the command line's answers."""

import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from analysis_cache.store import EvidenceStore
from tests.support.families import shared_model, tiny_demo
from tests.support.greys import grey_data, grey_model
from tests.support.tiers import over
from toast_core.budget.words import read_budget
from toast_core.cli import app as cli
from toast_core.compensation.plan import plan_on
from toast_core.compensation.walk import compensate
from toast_core.cost.macs import count_cost
from toast_core.data.load import Batch, ImageData
from toast_core.errors import DataError, PlanError, ScheduleError
from toast_core.models.demo import DEMO_BUILDERS
from toast_core.models.info import get_info
from toast_core.pruning.execution.apply import apply_plan
from toast_core.pruning.planner import make_plan
from toast_core.schedule.compensation import FULL, Compensation
from toast_core.schedule.schedule import Schedule
from toast_core.studies.evaluation.measure import beside_baseline
from toast_core.studies.sensitivity.cells import Cell
from toast_core.studies.sensitivity.measure import Sweep
from toast_core.studies.sketch.measure import Sketcher
from toast_core.studies.subject import Subject
from toast_core.studies.tuning import measure as running
from toast_core.studies.tuning import trials
from toast_core.studies.tuning.curves import sketch_curves
from toast_core.studies.tuning.images import split
from toast_core.studies.tuning.judging import Judgement, is_better, judge, looks_of, run_candidate
from toast_core.studies.tuning.measure import Tuned, tune
from toast_core.studies.tuning.request import TuningRequest
from toast_core.studies.tuning.store import TuningStore


def data_for(model: nn.Module, count: int = 60) -> ImageData:
    """Grey calibration images."""
    return grey_data(model, count, seed=2)


def request_for(model: nn.Module, reduction: float = 0.4, **settings: object) -> TuningRequest:
    """A budget with few measured ratios."""
    return TuningRequest(read_budget(get_info(model).shape, reduction=reduction), ratios=(0.3, 0.6, 0.9), batch_size=16, **settings)


@over("kind", ["vit", "swin"], always=["vit"])
def test_a_budget_is_met_and_reported(kind: str) -> None:
    model, told = grey_model(kind), []
    tuned = tune(model, data_for(model), request_for(model), with_front=True, progress=lambda *step: told.append(step))
    report, shape = tuned.report, get_info(model).shape
    cost = count_cost(shape, tuned.schedule)
    assert cost.macs <= report["budget"]["limit"] == int(0.6 * count_cost(shape).macs)
    assert report["achieved"] == {"macs": cost.macs, "params": cost.params, "left_over": report["budget"]["limit"] - cost.macs}
    assert (tuned.schedule.selection, tuned.schedule.compensation) == ("calibrated", FULL)
    assert report["images"] == {"fit": 30, "curves": 10, "judge": 20}
    names = [row["name"] for row in report["candidates"]]
    assert {"kl", report["chosen"]} <= set(names)
    assert len({json.dumps(row["schedule"]["blocks"]) for row in report["candidates"]}) == len(names)
    assert all(row["macs"] <= report["budget"]["limit"] for row in report["candidates"])
    assert [row["predicted_kl"] for row in report["candidates"]] == sorted(row["predicted_kl"] for row in report["candidates"])
    tried = [row["name"] for row in report["candidates"] if row["images"]]
    far = running.SEPARABLE * report["candidates"][0]["predicted_kl"]
    assert tried == [row["name"] for row in report["candidates"] if row["predicted_kl"] <= far]
    assert report["shadow_price_per_million"] > 0
    assert report["next_best_edits"]["drop"]
    assert [row["macs"] <= row["limit"] for row in report["front"]] == [True] * len(report["front"])
    assert len(report["front"]) >= 5
    for row in report["front"]:
        assert row["images"] == 20
        assert row["kl_ci95"][0] <= row["kl"] <= row["kl_ci95"][1]
        assert row["agreement_ci95"][0] <= row["agreement"] <= row["agreement_ci95"][1]
        assert row["predicted_kl"] > 0 and all(kl > 0 for kl in row["predicted_kl_of_shapes"].values() if kl is not None)
    assert report["audit"]["asked"] == len(report["audit"]["schedules"]) >= report["audit"]["covered"]
    assert set(report["seconds"]) == {"curves", "solving", "candidates", "front", "advice"}
    assert ("curves", 10, 10) in told
    assert ("candidates", len(tried), len(tried)) in told
    assert told[-1] == ("front", len(report["front"]), len(report["front"]))
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert Schedule.from_dict(report["schedule"]) == tuned.schedule


@cache
def shared_answer() -> Tuned:
    """The tiny model tuned to 40 % fewer MACs, made once."""
    model = grey_model()
    return tune(model, data_for(model), request_for(model))


def test_the_same_seed_gives_the_same_answer() -> None:
    model = grey_model()
    first, second = shared_answer(), tune(model, data_for(model), request_for(model))
    assert first.schedule == second.schedule
    assert {**first.report, "seconds": 0} == {**second.report, "seconds": 0}


class TestStored:
    """What the evidence store keeps between tunings."""

    def tuned(self, store: EvidenceStore | None, model: nn.Module, reduction: float, **settings: object) -> Tuned:
        data = data_for(model)
        stored = TuningStore(store, Subject.of(model, data, 16, "tuning")) if store else TuningStore()
        return tune(model, data, request_for(model, reduction, **settings), store=stored)

    def test_the_same_question_measures_nothing(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        model = grey_model()
        with EvidenceStore.open(tmp_path / "store.sqlite") as store:
            first = self.tuned(store, model, 0.4)
            monkeypatch.setattr(Sketcher, "sketch", None)
            monkeypatch.setattr(trials, "plan_on", None)
            again = self.tuned(store, model, 0.4)
            stored = store.get_analysis(first.analysis)
            report = store.get(stored.cell_keys[0]).summary
        assert again.analysis == first.analysis
        assert {**again.report, "seconds": 0} == {**first.report, "seconds": 0} == {**report, "seconds": 0}

    def test_curves_serve_another_budget(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        model = grey_model()
        expected = self.tuned(None, model, 0.6)
        with EvidenceStore.open(tmp_path / "store.sqlite") as store:
            self.tuned(store, model, 0.4)
            monkeypatch.setattr(Sketcher, "sketch", None)
            again = self.tuned(store, model, 0.6)
        assert again.schedule == expected.schedule
        assert {**again.report, "seconds": 0} == {**expected.report, "seconds": 0}

    def test_a_killed_sketch_goes_on(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """After a stop the first batch is not sketched again, and the curves are those of an undisturbed run."""
        model = grey_model()
        data = data_for(model, 120)
        request, parts = request_for(model), split(data, 16)
        expected = sketch_curves(model, request, parts).rows()
        with EvidenceStore.open(tmp_path / "store.sqlite") as store:
            stored, told = TuningStore(store, Subject.of(model, data, 16, "tuning")), []

            def stop(done: int, total: int) -> None:
                raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt):
                sketch_curves(model, request, parts, stop, stored)
            assert sketch_curves(model, request, parts, lambda *step: told.append(step), stored).rows() == expected
        assert told == [(20, 20)]

    def test_other_compensation_has_other_curves(self, tmp_path: Path) -> None:
        model = grey_model()
        with EvidenceStore.open(tmp_path / "store.sqlite") as store:
            folded = self.tuned(store, model, 0.4)
            plain = self.tuned(store, model, 0.4, compensation=Compensation("bias"))
        assert plain.report["curves"] != folded.report["curves"]


def test_locks_ranges_and_rounding_hold_in_the_end() -> None:
    model = grey_model()
    tuned = tune(
        model, data_for(model), request_for(model, 0.3, locks={(0, "fc2"): 0.25}, ranges={(1, "qk"): (0.2, 0.5)}, multiple_of=2)
    )
    assert tuned.schedule.blocks[0].fc2 == 0.25
    assert 0.2 <= tuned.schedule.blocks[1].qk <= 0.5
    assert tuned.schedule.multiple_of == 2


def test_a_parameter_budget_without_compensation() -> None:
    model = grey_model()
    shape = get_info(model).shape
    budget = read_budget(shape, params=0.7 * count_cost(shape).params)
    tuned = tune(model, data_for(model), TuningRequest(budget, ("fc1", "fc2"), (0.3, 0.6, 0.9), compensation=Compensation(), batch_size=16))
    assert count_cost(shape, tuned.schedule).params <= budget.limit
    assert tuned.schedule.compensation.is_none


class TestParts:
    def test_no_image_is_in_two_parts(self) -> None:
        data = data_for(grey_model(), 53)
        parts = split(data, 16)
        index = [part.index for part in (parts.fit.data, parts.curves, parts.judge)]
        assert [batch.index.tolist() for batch in parts.judged()] == [index[2][:16].tolist(), index[2][16:].tolist()]
        assert sorted(np.concatenate(index).tolist()) == list(range(53))
        assert [len(part) for part in index] == [26, 9, 18]

    def test_too_few_are_refused(self) -> None:
        with pytest.raises(DataError, match="19 calibration images are too few to fit, measure and judge on; give at least 20"):
            split(data_for(grey_model(), 19), 16)

    def test_labels_choose_nothing(self) -> None:
        """Other labels, and labels of other classes: the same schedule."""
        model, data = grey_model(), data_for(grey_model())
        turned = replace(data.source, labels=data.source.labels[::-1].copy())
        foreign = replace(data.source, classes=(*data.source.classes, "more"), labels=data.source.labels + 3, class_to_index=None)
        others = [ImageData(source, data.transform, data.index, data.order, data.seed) for source in (turned, foreign)]
        found = [shared_answer(), *(tune(model, images, request_for(model)) for images in others)]
        assert found[0].schedule == found[1].schedule == found[2].schedule
        assert found[0].report["curves"] == found[2].report["curves"]


class TestCurves:
    @pytest.mark.parametrize("kind", ["vit", "swin"])
    def test_a_cell_is_the_compensated_model_of_that_cell(self, kind: str) -> None:
        model = grey_model(kind)
        request, parts = replace(request_for(model), ratios=(0.5,)), split(data_for(model), 16)
        measured = sketch_curves(model, request, parts).measured
        for block, site in ((0, "qk"), (1, "vo"), (len(get_info(model).shape.blocks) - 1, "fc2")):
            wants = Compensation("fold", "project", "one_shot")
            cell = Cell(block, site, 0.5)
            schedule = cell.schedule(len(get_info(model).shape.blocks), selection="calibrated", compensation=wants)
            pruned = apply_plan(model, compensate(model, schedule, parts.fit.images), "masked")
            damage = beside_baseline(model, pruned, list(parts.curves.batches(16))).damage()
            assert measured[cell] == pytest.approx(damage, rel=1e-2, abs=1e-6)

    def test_a_planner_takes_the_place_of_selection(self) -> None:
        model, asked = shared_model("plain"), []

        def planner(cell: Cell) -> object:
            asked.append(cell)
            return make_plan(model, cell.schedule(3))

        batch = Batch(torch.randn(2, 3, 32, 32), torch.zeros(2, dtype=torch.long), np.arange(2))
        Sweep(model, planner=planner).measure(batch, [Cell(1, "qk", 0.5)])
        assert asked == [Cell(1, "qk", 0.5)], "asked once a cell"


class TestJudging:
    def judged(self, count: int, *ratios: float) -> tuple[dict[str, Judgement], str, str]:
        """Uniform fc2 schedules, judged on so many images, in looks at 128, 256, ... of them."""
        model = grey_model()
        images = [batch.images for batch in data_for(model).batches(16)]
        settings = {"selection": "calibrated", "compensation": Compensation("bias")}
        plans = {f"{ratio:g}": plan_on(model, Schedule.uniform(3, fc2=ratio, **settings), images) for ratio in ratios}
        pruned = {name: apply_plan(model, plan, "compact") for name, plan in plans.items()}
        looks = list(looks_of(self.batches(model, count)))
        return judge(list(plans), lambda name, look: run_candidate(model, pruned[name], looks[look]), len(looks))

    def batches(self, model: nn.Module, count: int) -> list[Batch]:
        """Held-out images."""
        return list(grey_data(model, count, seed=9).batches(16))

    def test_a_clearly_better_candidate_wins(self) -> None:
        judged, winner, decision = self.judged(520, 0.95, 0.1)
        assert winner == "0.1"
        assert len(judged["0.1"].damage) == 520
        by = r"(agreement \+[\d.]+ to \+[\d.]+ points|KL -[\d.]+ to -[\d.]+)"
        assert re.fullmatch(rf"0\.1 is clearly better than 0\.95 on 520 held-out images: {by}", decision)

    def test_a_clearly_worse_candidate_is_left_early(self) -> None:
        judged, winner, _ = self.judged(520, 0.1, 0.95)
        assert winner == "0.1"
        assert len(judged["0.95"].damage) < 520

    def test_what_cannot_be_told_apart_is_left_to_the_prediction(self) -> None:
        _, winner, decision = self.judged(24, 0.506, 0.505)
        assert winner == "0.506"
        assert decision == "0.506 has the least predicted damage, and no candidate is clearly better on 24 held-out images"

    def test_one_candidate_wins(self) -> None:
        assert self.judged(20, 0.5)[1] == "0.5"

    def test_kl_decides_where_agreement_cannot(self) -> None:
        agrees, rng = np.ones(200, bool), np.random.default_rng(0)
        noise = rng.uniform(0, 0.01, 200).astype(np.float32)
        good, bad = Judgement(noise, agrees), Judgement(noise + 0.02, agrees)
        assert is_better(good, bad, 1.96)
        assert not is_better(bad, good, 1.96)
        assert not is_better(good, good, 1.96)

    def test_agreement_goes_before_kl(self) -> None:
        agrees = np.ones(200, bool)
        missed = agrees.copy()
        missed[:40] = False
        keeps, loses = Judgement(np.full(200, 0.5, np.float32), agrees), Judgement(np.zeros(200, np.float32), missed)
        assert is_better(keeps, loses, 1.96)
        assert not is_better(loses, keeps, 1.96)

    def test_looks_double(self) -> None:
        model = grey_model()
        assert [sum(len(batch.index) for batch in look) for look in looks_of(self.batches(model, 300))] == [128, 128, 44]


def test_a_pruned_model_is_refused() -> None:
    model = grey_model()
    pruned = apply_plan(model, make_plan(model, Schedule.uniform(3, qk=0.5)))
    with pytest.raises(PlanError, match=r"is already pruned \(compact\); tune the baseline model"):
        tune(pruned, data_for(model), request_for(model))


def test_an_impossible_budget_names_the_nearest() -> None:
    model = grey_model()
    with pytest.raises(ScheduleError, match=r"is below [\d.e-]+ GMACs, the least that locks, ranges and measured ratios allow"):
        tune(model, data_for(model), request_for(model, 0.95))


class TestCommand:
    """`toast tune`."""

    def run(self, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
        """Run the command line in this process."""
        monkeypatch.setattr("sys.argv", ["toast", "tune", "--calibration", "fashion-mnist:calibration", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return caught.value.code

    def test_it_writes_a_schedule_and_prints_one_document(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setitem(DEMO_BUILDERS, "demo_tiny", tiny_demo)
        file = tmp_path / "schedule.json"
        code = self.run(
            monkeypatch, "--model", "demo_tiny", "--weights", "random", "--reduction", "0.15", "--sites", "fc2", "--ratios", "0.5,0.9",
            "--calibration-images", "20", "--lock", "0.fc2=0", "--range", "1.fc2=0:0.5", "-o", str(file), "--json", "--fitting", "one_shot",
            "--store", str(tmp_path / "store.sqlite"),
        )
        assert code == 0
        report = json.loads(capfd.readouterr().out)
        schedule = Schedule.from_json(file.read_text())
        assert report["schedule_digest"] == schedule.digest()
        assert report["output"] == str(file)
        assert schedule.blocks[0].is_baseline
        assert schedule.blocks[1].fc2 <= 0.5
        assert schedule.compensation == Compensation("fold", "project", "one_shot")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--sites", "fc3"), "unknown site in 'fc3'; choose from qk, vo, fc1, fc2"),
            (("--lock", "0.fc2=0.5", "--lock", "0.fc2=0.6"), "block 0 fc2 is locked to 0.5 and to 0.6; keep one of them"),
            (("--ffn", "magic"), "unknown ffn compensation 'magic'; choose from none, bias, fold"),
            (("-o", "no/schedule.json"), "cannot write no/schedule.json; choose a file in a folder that exists and can be written"),
            (("--model", "demo_vit"), "no budget is given; give one of --reduction, --gmacs, --params"),
            (
                ("--model", "demo_vit", "--latency-ms", "3", "--reduction", "0.4"),
                "the budgets --reduction and --latency-ms are given together; give one of --reduction, --gmacs, --params, --latency-ms",
            ),
            (("--ratios", "half"), "ratios 'half' are not numbers; write for example 0.3,0.5,0.7"),
        ],
    )
    def test_what_is_wrong_is_said_in_one_line(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert self.run(monkeypatch, "-o", "schedule.json", "--weights", "random", *arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"toast: {message}")
        assert error.count("\n") == 1
