"""Latency measured: pairs, percentiles, and tables whose parts are the compact model's own; on clocks that only forwards move."""

import copy
import json
from itertools import count

import pytest
import torch
from torch import nn

from analysis_cache.store import EvidenceStore
from tests.support.families import randomise, shared_model
from tests.support.greys import grey_model
from toast_core.cost.latency import LatencyTable
from toast_core.cost.macs import kept_counts
from toast_core.data.noise import random_images
from toast_core.errors import DeviceError, PlanError
from toast_core.models.info import get_info
from toast_core.pruning.execution.apply import apply_plan
from toast_core.pruning.planner import make_plan
from toast_core.schedule.schedule import Schedule
from toast_core.studies.latency import measure as block_times
from toast_core.studies.latency import pairs as timing
from toast_core.studies.latency import store as latency
from toast_core.studies.latency.measure import BASELINE, OUTSIDE, in_turns, measure_table, table_of, table_trials
from toast_core.studies.latency.pairs import time_models
from toast_core.studies.latency.result import Latencies


def ticking() -> object:
    """A clock that moves a second with each look."""
    return count().__next__


class TestLatencies:
    def test_percentiles_are_of_the_forwards(self) -> None:
        found = Latencies.of("float32", False, 4, [(step / 1000, 2 * step / 1000) for step in range(1, 102)])
        assert found.baseline_percentiles_ms == pytest.approx((51, 91, 100))
        assert found.compact_percentiles_ms == pytest.approx((102, 182, 200))
        written = json.loads(json.dumps(found.to_dict(), allow_nan=False))
        assert written["compact"] == {"p50_ms": pytest.approx(102), "p90_ms": pytest.approx(182), "p99_ms": pytest.approx(200)}
        assert written["baseline_throughput"][0] == pytest.approx(4000 / 51)

    def test_few_forwards_have_no_p99(self) -> None:
        assert Latencies.of("float32", False, 1, [(0.1, 0.2)] * 99).compact_percentiles_ms[2] is None

    @pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
    def test_models_are_timed_in_their_dtype(self, dtype: str) -> None:
        model, told = grey_model(), []
        compact = apply_plan(model, make_plan(model, Schedule.uniform(3, qk=0.5)))
        found = time_models(model, compact, random_images(model, 2), dtype, pairs=5, progress=told.append)
        assert (found.dtype, found.compiled, found.timing.batch_size, told) == (dtype, False, 2, [1, 2, 3, 4, 5])
        assert next(model.parameters()).dtype == torch.float32

    def test_both_are_compiled(self, monkeypatch: pytest.MonkeyPatch) -> None:
        model, asked = grey_model(), []
        monkeypatch.setattr(torch, "compile", lambda one, **how: asked.append((one, how)) or one)
        assert time_models(model, model, random_images(model, 1), compiled=True, pairs=5).compiled
        assert asked == [(model, {"dynamic": False})] * 2

    def test_what_cannot_run_is_one_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise RuntimeError('"sdpa" not implemented for Half\nand a trace')

        monkeypatch.setattr(timing, "pair_seconds", refuse)
        with pytest.raises(DeviceError, match=r'cannot run in float16 on cpu \("sdpa" not implemented for Half\); choose another dtype$'):
            time_models(grey_model(), grey_model(), random_images(grey_model(), 1), "float16")
        with pytest.raises(DeviceError, match=r"cannot run compiled in float32 on cpu .*; leave out --compile$"):
            time_models(grey_model(), grey_model(), random_images(grey_model(), 1), compiled=True)

    def test_images_are_seeded_and_of_the_models_shape(self) -> None:
        images = random_images(shared_model("swin_wide"), 2)
        assert images.shape == (2, 3, 32, 48)
        assert torch.equal(images, random_images(shared_model("swin_wide"), 2))


class TestTurns:
    def test_medians_without_the_warm_up_and_rounds_in_orders_of_their_own(self) -> None:
        now, order, told = [0.0], [], []

        def part(name: str, seconds: list[float]) -> object:
            left = iter(seconds)

            def run(x: torch.Tensor) -> None:
                order.append(name)
                now[0] += next(left)

            return run

        x = torch.zeros(1)
        trials = {"a": (part("a", [9, 1, 3, 2, 2, 2]), x), "b": (part("b", [9, 4, 4, 5, 5, 5]), x)}
        ms, rounds = in_turns(trials, 5, lambda: now[0], lambda done, total: told.append((done, total)))
        assert (ms, rounds) == ({"a": pytest.approx(2000), "b": pytest.approx(5000)}, 5)
        pairs = ["".join(order[number:number + 2]) for number in range(0, 12, 2)]
        assert set(pairs) == {"ab", "ba"} and len(pairs) == 6
        assert told[0] == (1, 12) and told[-1] == (12, 12)

    def test_slow_parts_are_timed_less_often(self) -> None:
        now = [0.0]

        def run(x: torch.Tensor) -> None:
            now[0] += 40

        assert in_turns({"a": (run, torch.zeros(1))}, 25, lambda: now[0])[1] == 5

    def test_too_little_memory_is_one_line(self) -> None:
        def run(x: torch.Tensor) -> None:
            raise torch.OutOfMemoryError

        with pytest.raises(DeviceError, match="cpu ran out of memory with 3 images at once; choose a smaller batch size"):
            in_turns({"a": (run, torch.zeros(3))})


class TestTable:
    @pytest.mark.parametrize("name", ["plain", "everything", "swin", "swin_wide"])
    def test_parts_are_what_the_compact_model_runs(self, name: str) -> None:
        """Embedding, blocks and head in turn, from parts of the table alone, give the logits of the compact model of that schedule."""
        model = shared_model(name)
        shape, images = get_info(model).shape, random_images(model, 2)
        trials = table_trials(model, images)
        kinds = list(dict.fromkeys(shape.blocks))
        assert {place[0] for place in trials if isinstance(place, tuple)} == set(range(len(kinds)))
        for kind, block in enumerate(kinds):
            run, x = trials[kind, "attention", 2, 2]
            assert run.__self__.attn.qk_dim == run.__self__.attn.vo_dim == 2
            with torch.inference_mode():
                stream, _ = run(x)
            assert stream.shape == (2, block.tokens, block.width)
            run, x = trials[kind, "whole", 0, block.hidden]
            with torch.inference_mode():
                assert run(x).shape == stream.shape
            narrow = next(place for place in trials if place[:2] == (kind, "narrow"))
            entered = trials[narrow][0].args[0]
            assert (len(entered.enter.gamma), entered.leave.fc2.in_features) == narrow[2:]
        with torch.inference_mode():
            assert torch.equal(trials[OUTSIDE][0](images), model(images)), "what is outside ends with the head, on the last block's output"
        assert trials[BASELINE][0] is model

    @pytest.mark.parametrize("name", ["plain", "swin"])
    def test_every_schedule_has_a_prediction_and_the_baseline_its_own(self, name: str) -> None:
        model, told = shared_model(name), []
        table = measure_table(model, random_images(model, 1), 1, ticking(), lambda *step: told.append(step))
        blocks = len(get_info(model).shape.blocks)
        assert table.predict_ms() == pytest.approx(table.baseline_ms)
        assert told[-1][0] == told[-1][1] and len({total for _, total in told}) == 1
        for ratios in ({"qk": 0.5}, {"vo": 0.9}, {"fc1": 0.9, "fc2": 0.3}, {"qk": 0.99, "vo": 0.99, "fc1": 0.99, "fc2": 0.99}):
            assert table.predict_ms(Schedule.uniform(blocks, selection="calibrated", **ratios)) > 0
        assert LatencyTable.from_dict(json.loads(json.dumps(table.to_dict()))) == table
        assert (table.batch_size, table.device, table.dtype, table.threads) == (1, "cpu", "float32", torch.get_num_threads())

    def test_times_stand_where_they_were_measured(self) -> None:
        """Times made up from the counts of each part come back from the table for the schedules that keep these counts."""
        model = shared_model("plain")
        shape, made_up = get_info(model).shape, {}
        for place in table_trials(model, random_images(model, 1)):
            made_up[place] = 1.0 if isinstance(place, str) else sum(place[2:]) + {"attention": 0.0, "whole": 0.25, "narrow": 0.5}[place[1]]
        table = table_of(model, 1, made_up, 5)
        block, scale = shape.blocks[0], table.scale
        for ratios, attention, ffn in (
            ({"qk": 0.5, "vo": 0.5}, 8, block.hidden + 0.25), ({"fc2": 0.5}, 16, block.hidden / 2 + 0.25),
            ({"fc1": 0.04}, 16, block.width - 1 + block.hidden + 0.5),
        ):
            kept = kept_counts(block, Schedule.uniform(3, selection="calibrated", **ratios), 0)
            found = table.block_ms(0, kept)
            assert (found[0] / scale, found[1] / scale) == (pytest.approx(attention), pytest.approx(ffn)), ratios

    def test_a_pruned_model_is_refused(self) -> None:
        model = grey_model()
        pruned = apply_plan(model, make_plan(model, Schedule.uniform(3, qk=0.5)))
        with pytest.raises(PlanError, match=r"already pruned \(compact\); measure the table of the baseline model"):
            measure_table(pruned, random_images(model, 1))


class TestStored:
    def test_it_is_measured_once_for_each_way_to_run(self, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
        model, measured = grey_model(), []

        def measure(one: nn.Module, images: torch.Tensor, progress: object) -> LatencyTable:
            measured.append(len(images))
            return block_times.measure_table(one, images, 1, ticking())

        monkeypatch.setattr(latency, "measure_table", measure)
        with EvidenceStore.open(tmp_path / "store.db") as store:
            assert latency.find_table(store, model, 1) is None
            first = latency.table_for(store, model, 1)
            assert latency.table_for(store, model, 1) == first == latency.find_table(store, model, 1)
            latency.table_for(store, model, 2)
            assert measured == [1, 2]
            monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
            assert latency.find_table(store, model, 1) is None
            monkeypatch.undo()
            again = latency.table_identity(model, 1)
            assert {"processor", "threads", "torch", "shape"} == set(again.detail)
            listed = store.list_analyses()
            assert {one.request["metric"] for one in listed} == {"latency"}
            assert again.key in {key for one in listed for key in one.cell_keys}

    def test_other_weights_are_the_same_machine_and_other_shapes_are_not(self) -> None:
        assert latency.table_identity(grey_model(), 1).key != latency.table_identity(grey_model("swin"), 1).key
        other = randomise(copy.deepcopy(grey_model()), 5)
        assert latency.table_identity(other, 1).key == latency.table_identity(grey_model(), 1).key
