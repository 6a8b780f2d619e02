"""Accuracy and loss against a hand loop, and what cannot be evaluated."""

import copy
import json
import math

import numpy as np
import pytest
import torch

from tests.support.families import relative_error, schedule_for
from tests.support.greys import grey_data, grey_model
from toast_core.errors import DataError, DeviceError, ToastError
from toast_core.loading import load_model
from toast_core.machine import DTYPES, cast, dtype_named, pick_device
from toast_core.models.counting import count_macs
from toast_core.pruning.execution.apply import apply_plan
from toast_core.pruning.planner import make_plan
from toast_core.schedule.schedule import Schedule
from toast_core.studies.evaluation.measure import evaluate, join_outcomes, outcomes_of
from toast_core.studies.evaluation.result import Evaluation


class TestFigures:
    """Every figure from the logits, image by image."""

    @pytest.mark.parametrize("num_classes", [2, 5, 7])
    def test_they_equal_a_hand_loop(self, num_classes: int) -> None:
        model = grey_model(num_classes=num_classes)
        data = grey_data(model)
        result = evaluate(model, data, batch_size=6)
        top1, top5, losses = [], [], []
        for position, index in enumerate(data.index):
            image = torch.from_numpy(data.source.arrays[index].astype(np.float32))[None, None] / 255
            with torch.inference_mode():
                logits = model((image - 0.5) / 0.25)[0].tolist()
            label = int(data.source.labels[index])
            ranked = sorted(range(num_classes), key=lambda c: -logits[c])
            top1.append(ranked[0] == label)
            top5.append(label in ranked[:5])
            losses.append(math.log(sum(math.exp(value) for value in logits)) - logits[label])
            assert result.outcomes.index[position] == index
            assert result.outcomes.label[position] == label
            assert result.outcomes.predicted[position] == ranked[0]
        assert result.outcomes.correct.tolist() == top1
        assert result.outcomes.top5.tolist() == top5
        np.testing.assert_allclose(result.outcomes.loss, losses, rtol=1e-4)
        figures = result.to_dict()
        assert figures["top1"]["value"] == pytest.approx(100 * sum(top1) / 23)
        assert figures["top5"]["value"] == pytest.approx(100 * sum(top5) / 23)
        assert figures["loss"]["value"] == pytest.approx(sum(losses) / 23, rel=1e-4)
        assert 0 < sum(top1) < 23
        assert num_classes > 5 or all(top5)

    @pytest.mark.parametrize("kind", ["vit", "swin"])
    @pytest.mark.parametrize("batch_size", [1, 5, 23, 100])
    def test_the_batch_size_changes_no_outcome_of_the_baseline(self, kind: str, batch_size: int) -> None:
        model = grey_model(kind)
        first, second = evaluate(model, grey_data(model), 8).outcomes, evaluate(model, grey_data(model), batch_size).outcomes
        for name in ("index", "label", "predicted", "top5"):
            assert np.array_equal(getattr(first, name), getattr(second, name))
        np.testing.assert_allclose(first.loss, second.loss, rtol=1e-5)

    def test_it_says_under_which_conditions(self) -> None:
        model = grey_model()
        pruned = apply_plan(model, make_plan(model, Schedule.uniform(3, fc2=0.5, selection="per_batch")), "masked")
        result = evaluate(pruned, grey_data(model, seed=4), batch_size=6)
        assert (result.order, result.batch_size, result.selection, result.execution) == ("shuffled", 6, "per_batch", "masked")
        assert (result.seed, result.dtype, result.device, result.skipped) == (4, "float32", "cpu", ())
        assert result.macs == count_macs(pruned) < count_macs(model)
        baseline = evaluate(model, grey_data(model))
        assert (baseline.selection, baseline.execution, baseline.macs) == (None, "baseline", count_macs(model))

    def test_the_figures_are_plain_json(self) -> None:
        result = evaluate(grey_model(), grey_data(grey_model()))
        figures = json.loads(json.dumps(result.to_dict(), allow_nan=False))
        assert figures == result.to_dict()
        assert figures["images"] == 23
        assert figures["skipped"] == 0
        low, high = figures["top1"]["ci95"]
        assert low < figures["top1"]["value"] < high

    def test_progress_counts_images(self) -> None:
        seen = []
        evaluate(grey_model(), grey_data(grey_model()), 10, progress=lambda done, total: seen.append((done, total)))
        assert seen == [(10, 23), (20, 23), (23, 23)]

    @pytest.mark.parametrize("training", [False, True])
    def test_the_model_is_left_as_it_was(self, training: bool) -> None:
        model = copy.deepcopy(grey_model()).train(training)
        before = {key: value.clone() for key, value in model.state_dict().items()}
        evaluate(model, grey_data(model), 10, "bfloat16")
        evaluate(model, grey_data(model), 10)
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
        assert next(model.parameters()).dtype == torch.float32
        assert model.training is training

    def test_dropout_is_off_while_measuring(self) -> None:
        from tests.support.families import tiny_vit
        from tests.support.greys import CONFIG

        model = tiny_vit(in_chans=1, drop_path_rate=0.5, proj_drop_rate=0.5).train()
        model.pretrained_cfg = CONFIG
        assert np.array_equal(evaluate(model, grey_data(model)).outcomes.loss, evaluate(model, grey_data(model)).outcomes.loss)

    def test_bfloat16_stays_close(self) -> None:
        model = grey_model()
        low, full = evaluate(model, grey_data(model), 23, "bfloat16"), evaluate(model, grey_data(model), 23)
        assert low.dtype == "bfloat16"
        assert 0 < relative_error(torch.from_numpy(low.outcomes.loss), torch.from_numpy(full.outcomes.loss)) < 0.1

    def test_a_pruned_demo_runs_on_the_embedded_images(self) -> None:
        from toast_core.data.load import load_data

        model = load_model("demo_vit", weights="random")
        pruned = apply_plan(model, make_plan(model, schedule_for(model, fc2=0.5)))
        result = evaluate(pruned, load_data("fashion-mnist", model, images=20), 10)
        assert isinstance(result, Evaluation)
        assert len(result.outcomes.label) == 20


class TestOutcomes:
    """From logits to outcomes."""

    def test_the_label_among_the_five_largest(self) -> None:
        logits = torch.tensor([[9.0, 8, 7, 6, 5, 4], [4.0, 5, 6, 7, 8, 9]])
        outcomes = outcomes_of(logits, torch.tensor([4, 0]), np.array([11, 12]))
        assert outcomes.predicted.tolist() == [0, 5]
        assert outcomes.top5.tolist() == [True, False]
        assert outcomes.correct.tolist() == [False, False]
        assert outcomes.index.tolist() == [11, 12]
        assert outcomes.loss.dtype == np.float64

    def test_parts_are_joined_in_order(self) -> None:
        logits = torch.randn(6, 4)
        whole = outcomes_of(logits, torch.arange(6) % 4, np.arange(6))
        joined = join_outcomes(
            [outcomes_of(logits[part], torch.arange(6)[part] % 4, np.arange(6)[part]) for part in (slice(0, 2), slice(2, 6))]
        )
        for name in ("index", "label", "predicted", "top5", "loss"):
            assert np.array_equal(getattr(whole, name), getattr(joined, name))


class TestRefusals:
    """Devices, dtypes and models that cannot be measured."""

    @pytest.mark.parametrize("device", ["cuda:7", "gpu", "", "cuda:x", "cpu:0:0", "tpu", "meta"])
    def test_a_device_that_is_not_there(self, device: str) -> None:
        with pytest.raises(DeviceError, match=f"device '{device}' is not on this machine; choose from .*cpu"):
            pick_device(device)

    def test_devices_that_are(self) -> None:
        assert pick_device("cpu") == torch.device("cpu")
        there = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        assert pick_device().type == pick_device("auto").type == there

    @pytest.mark.parametrize("dtype", ["float8", "int8", "", "half", "float64"])
    def test_an_unknown_dtype(self, dtype: str) -> None:
        with pytest.raises(DeviceError, match=f"unknown dtype '{dtype}'; choose from float32, bfloat16, float16"):
            evaluate(grey_model(), grey_data(grey_model()), dtype=dtype)

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_casting_makes_a_copy_only_where_it_must(self, dtype: str) -> None:
        model = grey_model()
        new = cast(model, dtype)
        assert next(new.parameters()).dtype == dtype_named(dtype)
        assert (new is model) == (dtype == "float32")

    def test_a_model_without_weights(self) -> None:
        from toast_core.data.load import load_data

        model = load_model("demo_vit", weights="none")
        with pytest.raises(DataError, match="demo_vit was loaded without weights, for counting only; load it with weights to evaluate"):
            evaluate(model, load_data("fashion-mnist", model, images=5))

    def test_a_device_that_runs_out_of_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        model = copy.deepcopy(grey_model())

        def full(*_: object) -> None:
            raise torch.OutOfMemoryError("out of memory")

        model.register_forward_pre_hook(full)
        with pytest.raises(DeviceError, match="cpu ran out of memory at batch size 16; use --batch-size 8"):
            evaluate(model, grey_data(model), 16)

    def test_device_errors_are_toast_errors(self) -> None:
        assert issubclass(DeviceError, ToastError)
        assert issubclass(DeviceError, RuntimeError)
