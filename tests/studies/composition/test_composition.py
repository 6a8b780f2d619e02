"""Batch composition: what is seen of a selection is what it kept, every condition has the same images, and nothing is measured twice."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from analysis_cache.store import EvidenceStore
from tests.support.families import images_for, schedule_for, shared_model, shared_statistics
from tests.support.greys import grey_data, grey_model
from toast_core.cli.app import app
from toast_core.data.load import arranged
from toast_core.errors import DataError, DeviceError, PlanError, ScheduleError
from toast_core.models.adapters import adapter_for
from toast_core.pruning.execution.apply import apply_plan
from toast_core.pruning.planner import make_plan
from toast_core.pruning.statistics import Statistics, collect_statistics
from toast_core.schedule.schedule import SELECTIONS, BlockSchedule, Schedule
from toast_core.studies.composition import measure as composition
from toast_core.studies.composition.measure import composition_row, measure_condition, overlap, watch_kept
from toast_core.studies.composition.parts import DeploymentParts
from toast_core.studies.composition.result import CompositionRow, Condition, Measured, conditions
from toast_core.studies.composition.store import analyze_composition
from toast_core.studies.composition.verdict import judge
from toast_core.studies.evaluation.measure import evaluate
from toast_core.studies.subject import Subject

PER_BATCH = Schedule.uniform(3, fc1=0.5, fc2=0.8, selection="per_batch", token_fraction=0.3)
PER_IMAGE, CALIBRATED = replace(PER_BATCH, selection="per_image"), replace(PER_BATCH, selection="calibrated")
ATTENTION = Schedule.uniform(3, qk=0.4, vo=0.4, selection="per_batch")


def subject(batch_size: int = 6, count: int = 23) -> Subject:
    """A tiny model and grey images."""
    model = grey_model("vit")
    return Subject.of(model, grey_data(model, count), batch_size, "composition")


def statistics() -> Statistics:
    """Of the tiny model, from other images."""
    model = grey_model("vit")
    return collect_statistics(model, [batch.images for batch in grey_data(model, seed=9).batches(8)])


def rows_of(schedule: Schedule, path: Path) -> list[CompositionRow]:
    """Through a store and back."""
    with EvidenceStore.open(path) as store:
        _, rows = analyze_composition(subject(), store, schedule, statistics())
    return [CompositionRow.from_dict(row) for row in json.loads(json.dumps(rows))]


class TestWatching:
    @pytest.mark.parametrize("selection", SELECTIONS)
    @pytest.mark.parametrize("name", ["plain", "no_class_token", "swin"])
    def test_what_is_seen_is_what_reaches_fc2(self, name: str, selection: str) -> None:
        """The oracle: hidden units that are zero in every token of an image were dropped."""
        model, images = shared_model(name), images_for(name, 4)
        pruned = apply_plan(model, make_plan(model, schedule_for(model, selection, fc1=0.3, fc2=0.5), shared_statistics(name)), "masked")
        blocks, alive = adapter_for(model).blocks(pruned), {}
        for index, block in enumerate(blocks):
            block.leave.fc2.register_forward_pre_hook(
                lambda _, inputs, index=index: alive.update({index: inputs[0].abs().amax(dim=1).numpy() > 0})
            )
        with torch.inference_mode():
            before = pruned(images)
            with watch_kept(blocks) as seen:
                watched = pruned(images)
            after = pruned(images)
        assert torch.equal(before, watched)
        assert torch.equal(before, after)
        assert set(seen) == {(index, site) for index in range(len(blocks)) for site in ("fc1", "fc2")}
        assert all(len(forwards) == 1 for forwards in seen.values()), "it went on after it was closed"
        for index, expected in alive.items():
            assert np.array_equal(seen[index, "fc2"][0], np.packbits(expected, axis=1))

    def test_fc1_channels_are_counted(self) -> None:
        measured = measure_condition(grey_model("vit"), PER_IMAGE, None, grey_data(grey_model("vit")), Condition("sorted", 8, 0, 0))
        assert {key: kept.shape for key, kept in measured.kept.items()} == {
            (block, site): (23, width // 8) for block in range(3) for site, width in (("fc1", 24), ("fc2", 96))
        }
        counts = {site: set(np.bitwise_count(kept).sum(axis=1).tolist()) for (_, site), kept in measured.kept.items()}
        assert counts == {"fc1": {12}, "fc2": {19}}

    def test_attention_has_nothing_to_see(self) -> None:
        assert measure_condition(grey_model("vit"), ATTENTION, None, grey_data(grey_model("vit")), Condition("sorted", 8, 0, 0)).kept == {}

    def test_overlap_is_jaccards(self) -> None:
        rng = np.random.default_rng(0)
        first, second = (rng.random((5, 21)) < 0.6 for _ in range(2))
        expected = [len(set(np.flatnonzero(a)) & set(np.flatnonzero(b))) / len(set(np.flatnonzero(a)) | set(np.flatnonzero(b)))
                    for a, b in zip(first, second, strict=True)]
        assert overlap(np.packbits(first, axis=1), np.packbits(second, axis=1)) == pytest.approx(expected)


class TestConditions:
    def test_single_images_choose_alike_in_both_dynamic_modes(self) -> None:
        model, one = grey_model("vit"), Condition("shuffled", 1, 0, 0)
        batch, image = (measure_condition(model, schedule, None, grey_data(model), one) for schedule in (PER_BATCH, PER_IMAGE))
        assert all(np.array_equal(batch.kept[key], image.kept[key]) for key in batch.kept)
        assert np.array_equal(batch.outcomes.predicted, image.outcomes.predicted)

    @pytest.mark.parametrize("condition", [Condition("sorted", 8, 0, 0), Condition("shuffled", 64, 1, 3)])
    def test_a_condition_is_an_evaluation(self, condition: Condition) -> None:
        model, data = grey_model("vit"), grey_data(grey_model("vit"))
        found = measure_condition(model, PER_BATCH, None, data, condition).outcomes
        pruned = apply_plan(model, make_plan(model, replace(PER_BATCH, seed=condition.token_seed)), "masked")
        expected = evaluate(pruned, arranged(data, condition.order, condition.seed), condition.batch_size).outcomes
        assert np.array_equal(found.index, expected.index)
        assert np.array_equal(found.loss, expected.loss)

    def test_rows_compare_image_by_image(self) -> None:
        model, data = grey_model("vit"), grey_data(grey_model("vit"))
        alone, sorted_ = (measure_condition(model, PER_BATCH, None, data, one) for one in conditions(0, 0)[:2])
        row = composition_row(model, PER_BATCH, conditions(0, 0)[1], sorted_, alone)
        by_position = [dict(zip(one.outcomes.index.tolist(), one.outcomes.predicted.tolist(), strict=True)) for one in (alone, sorted_)]
        same = [by_position[0][position] == by_position[1][position] for position in range(23)]
        assert row.agreement == pytest.approx(100 * np.mean(same))
        assert row.top1_delta == pytest.approx(100 * (np.mean(sorted_.outcomes.correct) - np.mean(alone.outcomes.correct)))
        places = [{int(position): place for place, position in enumerate(one.outcomes.index)} for one in (alone, sorted_)]
        shared = [
            overlap(alone.kept[block, "fc2"][[places[0][position]]], sorted_.kept[block, "fc2"][[places[1][position]]])[0]
            for block in range(3) for position in range(23)
        ]
        assert row.jaccard_fc2 == pytest.approx(np.mean(shared))
        assert row.delta_ci95[0] <= row.top1_delta <= row.delta_ci95[1]
        assert not row.deployment

    def test_other_images_cannot_be_compared(self) -> None:
        model, data = grey_model("vit"), grey_data(grey_model("vit"))
        whole = measure_condition(model, PER_IMAGE, None, data, Condition("sorted", 8, 0, 0))
        data.index = data.index[:20]
        fewer = measure_condition(model, PER_IMAGE, None, data, Condition("shuffled", 1, 0, 0))
        with pytest.raises(DataError, match="23 images could be read sorted in batches of 8 but 20 one by one; the files change while"):
            composition_row(model, PER_IMAGE, Condition("sorted", 8, 0, 0), whole, fewer)

    def test_a_batch_that_does_not_fit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object) -> None:
            raise DeviceError("cpu ran out of memory at batch size 64; use --batch-size 32")

        monkeypatch.setattr(composition, "evaluate", full)
        with pytest.raises(DeviceError, match="batches of 64 images, which the composition metric compares, do not fit into the device's"):
            measure_condition(grey_model("vit"), PER_IMAGE, None, grey_data(grey_model("vit")), Condition("sorted", 64, 0, 0))


class TestVerdicts:
    def test_per_batch_depends_on_the_batch(self, tmp_path: Path) -> None:
        rows = rows_of(PER_BATCH, tmp_path / "s.db")
        assert [row.condition for row in rows] == list(conditions(0, 0))
        assert [row.deployment for row in rows] == [True] + [False] * 13
        assert judge(rows).safe is False
        for row in rows:
            alone = row.batch_size == 1 and row.token_seed == 0
            assert (row.agreement == 100 and row.jaccard_fc1 == row.jaccard_fc2 == 1) is alone
            assert 0 < row.jaccard_fc1 <= 1 and 0 < row.jaccard_fc2 <= 1 and row.images == 23
        assert len({(row.top1, row.agreement, row.jaccard_fc2) for row in rows if row.batch_size == 8}) == 3, "orders make no difference"

    @pytest.mark.parametrize("schedule", [PER_IMAGE, CALIBRATED], ids=["per_image", "calibrated"])
    def test_the_others_do_not(self, tmp_path: Path, schedule: Schedule) -> None:
        rows = rows_of(schedule, tmp_path / "s.db")
        assert judge(rows).safe is True
        same = [row for row in rows if row.token_seed == 0]
        assert all(row.agreement == 100 for row in same)
        assert all(row.jaccard_fc2 > 0.999 for row in same)
        other = [row for row in rows if row.token_seed == 1]
        assert all((row.jaccard_fc2 == 1) is (schedule is CALIBRATED) for row in other), "the token sample is of the dynamic modes alone"

    def test_attention_alone(self, tmp_path: Path) -> None:
        rows = rows_of(ATTENTION, tmp_path / "s.db")
        assert {(row.agreement, row.jaccard_fc1, row.jaccard_fc2) for row in rows} == {(100.0, None, None)}
        assert judge(rows).sentence.startswith("Safe to deploy: only attention is pruned")


class TestStored:
    def test_a_second_run_measures_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with EvidenceStore.open(tmp_path / "s.db") as store:
            analysis, rows = analyze_composition(subject(), store, PER_BATCH)
            assert analysis.finished_utc
            assert store.verify().ok
            assert store.verify().cells == len(rows) == 14, "what deployment kept is removed"
            arrays = store.get(analysis.cell_keys[1]).arrays
            assert np.array_equal(arrays["index"], arranged(subject().data, "sorted", 0).index)
            assert 100 * np.mean(arrays["predicted"] == arrays["label"]) == pytest.approx(rows[1]["top1"])
            monkeypatch.setattr(composition, "measure_condition", None)
            again, same = analyze_composition(subject(batch_size=2), store, PER_BATCH)
            assert (again.id, same) == (analysis.id, rows), "conditions have batch sizes of their own"

    @pytest.mark.parametrize("stop_after", [0, 1, 13])
    def test_a_killed_run_goes_on_where_it_stopped(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int) -> None:
        with EvidenceStore.open(tmp_path / "whole.db") as store:
            expected = analyze_composition(subject(), store, PER_BATCH)[1]
        monkeypatch.setattr(DeploymentParts, "BYTES", 200)  # four images an entry
        done = []

        def killed(*arguments: object) -> Measured:
            if len(done) == stop_after:
                raise KeyboardInterrupt
            done.append(arguments[4])
            return measure_condition(*arguments)

        with EvidenceStore.open(tmp_path / "killed.db") as store:
            monkeypatch.setattr(composition, "measure_condition", killed)
            with pytest.raises(KeyboardInterrupt):
                analyze_composition(subject(), store, PER_BATCH)
            again = []
            monkeypatch.setattr(
                composition, "measure_condition", lambda *arguments: again.append(arguments[4]) or measure_condition(*arguments)
            )
            assert analyze_composition(subject(), store, PER_BATCH)[1] == expected
            assert [*done, *again] == list(conditions(0, 0)), "a stored condition was measured again"
            assert store.verify().cells == 14

    def test_a_cell_that_was_lost_is_measured_again(self, tmp_path: Path) -> None:
        with EvidenceStore.open(tmp_path / "s.db") as store:
            analysis, rows = analyze_composition(subject(), store, PER_BATCH)
            store.remove(analysis.cell_keys[3:5])
            assert analyze_composition(subject(), store, PER_BATCH)[1] == rows

    def test_progress_counts_every_condition_once(self, tmp_path: Path) -> None:
        told = []
        with EvidenceStore.open(tmp_path / "s.db") as store:
            analyze_composition(subject(), store, PER_IMAGE, progress=lambda done, total: told.append((done, total)))
        assert told[-1] == (14 * 23, 14 * 23)
        assert told == sorted(told)

    @pytest.mark.parametrize(("schedule", "error", "message"), [
        (Schedule.uniform(3), ScheduleError, "the schedule prunes nothing, so nothing can depend on the batch; give a ratio above 0"),
        (Schedule.uniform(4, fc2=0.5), ScheduleError, "the schedule has 4 blocks but"),
        (CALIBRATED, PlanError, "selection 'calibrated' needs calibration images"),
    ])
    def test_what_cannot_be_measured_leaves_no_trace(self, tmp_path: Path, schedule: Schedule, error: type, message: str) -> None:
        with EvidenceStore.open(tmp_path / "s.db") as store:
            with pytest.raises(error, match=message):
                analyze_composition(subject(), store, schedule)
            assert store.list_analyses() == []


class TestCommand:
    def run(self, *arguments: object) -> object:
        """`toast analyze` on ten test images."""
        data = ("--data", "fashion-mnist", "--model", "demo_vit", "--images", "10")
        return CliRunner().invoke(app, ["analyze", *data, *map(str, arguments)])

    def test_table_and_json(self, tmp_path: Path) -> None:
        schedule, store = tmp_path / "schedule.json", tmp_path / "s.db"
        blocks = [BlockSchedule()] * 10 + [BlockSchedule(fc2=0.5)] * 2
        schedule.write_text(Schedule(blocks, seed=4).to_json(), encoding="utf-8")
        asked = ("--metrics", "composition", "--schedule", schedule, "--store", store)
        document = json.loads(self.run(*asked, "--json").stdout)
        assert set(document) == {"id", "ids", "composition", "transform", "class_to_index", "notes"}
        assert document["composition"]["safe"] is True
        assert document["composition"]["sentence"].startswith("Safe to deploy: accuracy is ")
        assert len(document["composition"]["rows"]) == 14
        assert {row["token_seed"] for row in document["composition"]["rows"]} == {4, 5}
        table = self.run(*asked).stdout
        assert table.startswith(document["composition"]["sentence"])
        assert f"composition of demo_vit, per_image, schedule {Schedule(blocks, seed=4).digest()[:8]}, analysis {document['id']}" in table

    @pytest.mark.parametrize(("arguments", "message"), [
        (("--metrics", "composition"), "the composition metric needs a schedule; pass --schedule FILE or --preset NAME"),
        (("--preset", "deit_small_patch16_224@2.5"), "--schedule and --preset are used by the composition metric alone; add"),
    ])
    def test_a_schedule_and_the_metric_go_together(self, arguments: tuple[str, ...], message: str) -> None:
        with pytest.raises(ScheduleError, match=message):
            raise self.run(*arguments).exception
