"""What every executor promises, asked of each: tasks once, their own errors, and the same numbers."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from analysis_cache.store import EvidenceStore
from tests.support.folders import make_folder
from tests.support.greys import grey_data, grey_model
from tests.support.works import Squares
from toast_core.budget.words import read_budget
from toast_core.data.load import load_data
from toast_core.data.numbered import NumberedBatches
from toast_core.errors import DataError
from toast_core.executors import LOCAL, Executor, open_executor
from toast_core.models.info import get_info
from toast_core.pruning.calibrate import calibrate
from toast_core.pruning.statistics import collect_statistics
from toast_core.schedule.schedule import Schedule
from toast_core.studies.composition.store import analyze_composition
from toast_core.studies.evaluation.measure import evaluate
from toast_core.studies.redundancy.measure import redundancy, shards
from toast_core.studies.sensitivity.cells import grid
from toast_core.studies.sensitivity.store import SweepRequest, analyze_sensitivity
from toast_core.studies.sensitivity.sweep import Rule
from toast_core.studies.sketch.store import SketchRequest, analyze_sketch
from toast_core.studies.subject import Subject
from toast_core.studies.tuning.curves import sketch_curves
from toast_core.studies.tuning.images import split
from toast_core.studies.tuning.request import TuningRequest

CELLS = grid(3, ("qk", "fc2", "fc1+fc2"), (0.3, 0.6))


@pytest.fixture(scope="module", params=["local", pytest.param("ray", marks=pytest.mark.ray)])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    """Each executor in turn."""
    with ExitStack() as stack:
        if request.param == "local":
            yield stack.enter_context(open_executor("local", "cpu"))
        else:
            yield stack.enter_context(open_executor(f"ray:{request.getfixturevalue('cluster')}", "cpu"))


class TestTasks:
    def test_every_task_comes_back_once(self, executor: Executor) -> None:
        found = dict(executor.map(Squares(), range(20)))
        assert {task: square for task, (square, *_) in found.items()} == {task: task * task for task in range(20)}

    def test_no_tasks(self, executor: Executor) -> None:
        assert list(executor.map(Squares(), [])) == []

    def test_a_task_s_own_error_is_raised_as_it_is(self, executor: Executor) -> None:
        with pytest.raises(DataError, match=r"^3 is refused$"):
            list(executor.map(Squares(refuses=3), range(6)))
        with pytest.raises(ZeroDivisionError, match="3 breaks"):
            list(executor.map(Squares(breaks_at=3), range(6)))

    def test_one_left_early_can_be_asked_again(self, executor: Executor) -> None:
        next(iter(executor.map(Squares(pause_s=0.2), range(6))))
        work = Squares()
        assert sorted(task for task, _ in executor.map(work, range(5))) == list(range(5))
        assert sorted(task for task, _ in executor.map(work, range(5, 9))) == list(range(5, 9))


class TestNumbers:
    """Against the executor of this process, bit by bit; only redundancy's sums are added in another order."""

    def subject(self, executor: Executor, kind: str) -> Subject:
        model = grey_model("vit")
        return Subject.of(model, grey_data(model), 6, kind, executor)

    @pytest.mark.parametrize("rule", [Rule(), Rule("adaptive", width=6.0, tolerance=5.0)], ids=["exact", "adaptive"])
    @pytest.mark.parametrize("selection", ["per_image", "per_batch"])
    def test_the_same_cells(self, executor: Executor, tmp_path: Path, rule: Rule, selection: str) -> None:
        found = {}
        for name, own in (("local", LOCAL), ("other", executor)):
            with EvidenceStore.open(tmp_path / f"{name}.db") as store:
                subject, request = self.subject(own, "sensitivity"), SweepRequest(CELLS, rule, None, {"selection": selection})
                analysis, rows = analyze_sensitivity(subject, store, request, executor=own)
                arrays = [store.get(key).arrays for key in analysis.cell_keys]
                assert store.verify().cells == len(analysis.cell_keys), "parts are left"
                found[name] = (analysis.id, rows, [{name: array.tobytes() for name, array in one.items()} for one in arrays])
        assert found["other"] == found["local"]

    def test_the_same_evaluation(self, executor: Executor) -> None:
        model, told = grey_model("vit"), []
        here = evaluate(model, grey_data(model), 6)
        there = evaluate(model, grey_data(model), 6, progress=lambda done, total: told.append((done, total)), executor=executor)
        assert there.to_dict() == here.to_dict()
        assert np.array_equal(there.outcomes.loss, here.outcomes.loss) and np.array_equal(there.outcomes.index, here.outcomes.index)
        assert told[-1] == (23, 23) and told == sorted(told)

    def test_the_same_statistics(self, executor: Executor) -> None:
        model = grey_model("vit")
        here = collect_statistics(model, (batch.images for batch in grey_data(model).batches(6)))
        there = calibrate(model, grey_data(model), 6, 2.0, lambda done, total: None, executor)
        assert here.images == there.images == 23
        assert all(bool((here.score_sums[key] == there.score_sums[key]).all()) for key in here.score_sums)

    def test_redundancy_merges_over_shards(self, executor: Executor) -> None:
        model = grey_model("vit")
        run = partial(redundancy, model, grey_data(model), 4)
        for here, there in zip(run(), run(executor=executor), strict=True):
            assert (here.block, here.site, here.images, here.tokens) == (there.block, there.site, there.images, there.tokens)
            assert there.sparsity == here.sparsity
            assert there.spectrum == pytest.approx(here.spectrum, rel=1e-9, abs=1e-12)
            assert there.importance == pytest.approx(here.importance, rel=1e-12)
            for key, value in here.r2.items():
                assert there.r2[key] == pytest.approx(value, rel=1e-6)

    def test_the_same_curves(self, executor: Executor) -> None:
        model, data = grey_model("vit"), grey_data(grey_model("vit"), 40)
        request = TuningRequest(read_budget(get_info(model).shape, reduction=0.4), ratios=(0.3, 0.6), batch_size=8)
        parts = split(data, 8)
        here, there = sketch_curves(model, request, parts), sketch_curves(model, request, parts, executor=executor)
        assert there.moved == pytest.approx(here.moved, rel=1e-4, abs=1e-6)
        assert {cell: damage.tolist() for cell, damage in there.measured.items()}.keys() == here.measured.keys()

    def test_the_same_composition(self, executor: Executor, tmp_path: Path) -> None:
        schedule, found = Schedule.uniform(3, fc2=0.8, selection="per_batch"), []
        for name, own in (("local", LOCAL), ("other", executor)):
            with EvidenceStore.open(tmp_path / f"{name}.db") as store:
                found.append(analyze_composition(self.subject(own, "composition"), store, schedule, executor=own)[1])
        assert found[0] == found[1]

    def test_the_same_sketch(self, executor: Executor, tmp_path: Path) -> None:
        request, found = SketchRequest(grid(3, ("qk", "fc2"), (0.3, 0.6)), 2, None, {"selection": "per_image", "seed": 0}), []
        for name, own in (("local", LOCAL), ("other", executor)):
            with EvidenceStore.open(tmp_path / f"{name}.db") as store:
                found.append(analyze_sketch(self.subject(own, "sketch"), store, request, executor=own)[1].moved)
        assert np.array_equal(*found)


class TestShards:
    def test_they_cover_every_position_once_in_whole_units(self) -> None:
        for images in (1, 7, 8, 23, 100):
            for count in (1, 2, 3, 64):
                cut = shards(images, 8, count)
                assert [position for start, stop in cut for position in range(start, stop)] == list(range(images))
                assert all(start % 8 == 0 for start, _ in cut) and len(cut) <= count


class TestNumberedBatches:
    def test_alone_or_in_order_they_are_the_same(self) -> None:
        data = grey_data(grey_model("vit"))
        ordered, alone = NumberedBatches(data, 6, True), NumberedBatches(data, 6, False)
        for number in (0, 1, 3, 2, 0):
            assert np.array_equal(ordered.get(number).index, alone.get(number).index)
            assert np.array_equal(ordered.get(number).index, data.index[6 * number : 6 * number + 6])
        assert ordered.get(1) is ordered.get(1)
        assert len(ordered) == 4 and ordered.get(4) is None

    def test_an_unreadable_image_is_skipped_in_order_and_refused_alone(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path / "images", {"a": 3, "b": 3})
        (folder / "a" / "001.png").write_bytes(b"no picture")
        data = load_data(folder, grey_model("vit", 2), order="sorted")
        assert len(NumberedBatches(data, 100, True).get(0).index) == 5
        with pytest.raises(DataError, match=r"image .* cannot be read on .*; workers elsewhere need every image: put the folder where"):
            NumberedBatches(data, 100, False).get(0)
