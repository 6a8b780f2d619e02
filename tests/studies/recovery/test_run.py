"""Recovery on a tiny model: it learns, in the shapes of the schedule, from what it was told to, and says no in one line."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.support.families import block_count
from tests.support.folders import make_folder
from tests.support.greys import grey_data, grey_model
from tests.support.recoveries import RECIPE, plan_of, recovered, same_weights, schedule_for, undisturbed
from tests.support.tiers import over
from toast_core.compensation.walk import compensate
from toast_core.cost.macs import count_cost
from toast_core.data.load import load_data
from toast_core.errors import DataError, DeviceError, ModelError, PlanError, ScheduleError, ToastError
from toast_core.loading import load_model, save_model
from toast_core.models.info import get_info
from toast_core.pruning.execution.apply import apply_plan
from toast_core.pruning.planner import make_plan
from toast_core.schedule.compensation import FULL
from toast_core.schedule.schedule import Schedule
from toast_core.studies.recovery.checkpoint import FILE, Checkpoint, Checkpoints, RunState, read_checkpoint, write_checkpoint
from toast_core.studies.recovery.loop import RecoveryStart, recover
from toast_core.studies.recovery.processes import device_of_rank
from toast_core.studies.recovery.recipe import Recipe
from toast_core.studies.recovery.trainer import precision_for

SELECTIONS = ("calibrated", "per_image", "per_batch")


class TestLearning:
    """What comes out."""

    @pytest.mark.parametrize("execution", ["compact", "masked"])
    @pytest.mark.parametrize("selection", SELECTIONS)
    @over("kind", ["vit", "swin"], always=["vit"])
    def test_the_distance_to_the_baseline_falls(self, kind, selection, execution):
        recipe = replace(RECIPE, labels=False, distill_blocks=True, augment=False, execution=execution)
        found = recovered(recipe, kind, schedule_for(kind, selection))
        history = found.report["history"]
        assert history[-1]["training_loss"] < history[1]["training_loss"]
        assert found.report["after"]["validation_loss"] < history[0]["validation_loss"]
        info = get_info(found.model)
        assert (info.execution, info.schedule) == (execution, schedule_for(kind, selection))

    @pytest.mark.parametrize("selection", ["calibrated", "per_image"])
    def test_dropped_channels_stay_dropped_when_it_trains_masked(self, selection):
        schedule = schedule_for("vit", selection)
        found = recovered(replace(RECIPE, execution="masked"), schedule=schedule)
        before = apply_plan(grey_model("vit"), plan_of("vit", schedule), "masked").state_dict()
        zeros = 0
        for name, value in found.model.state_dict().items():
            if "attn" in name and "weight" in name and "norm" not in name:
                zeros += int((before[name] == 0).sum())
                assert not value[before[name] == 0].any(), name
        assert zeros > 0

    def test_the_baseline_is_left_alone(self):
        model = grey_model("vit")
        before = {name: value.clone() for name, value in model.state_dict().items()}
        recovered(replace(RECIPE, epochs=1, distill_blocks=True))
        assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
        hooked = [name for name, module in model.named_modules() if module._forward_hooks or module._forward_pre_hooks]
        assert not hooked and all(value.grad is None and value.requires_grad for value in model.parameters())

    def test_it_starts_from_compensation_where_the_schedule_asks_for_it(self):
        model, schedule = grey_model("vit"), replace(schedule_for(), compensation=FULL)
        images = [batch.images for batch in grey_data(model, 32, seed=5).batches(16)]
        before = []

        def keep(row, student):
            if not row["epoch"]:
                before.append({name: value.clone() for name, value in student.state_dict().items()})

        found = recover(
            model, RecoveryStart(schedule, lambda: compensate(model, schedule, images)), grey_data(model, 40), replace(RECIPE, epochs=1),
            on_epoch=keep,
        )
        expected = apply_plan(model, compensate(model, schedule, images)).state_dict()
        assert all(torch.equal(before[0][name], value) for name, value in expected.items())
        plain = recovered(replace(RECIPE, epochs=1), on_epoch=keep)
        assert (found.report["start"], plain.report["start"]) == ("compensation", "selection")
        assert any(not torch.equal(before[1][name], value) for name, value in expected.items())

    def test_the_epoch_of_lowest_validation_loss_is_returned_and_patience_ends_the_run(self):
        found = recovered(replace(RECIPE, epochs=12, lr=0.5, patience=2, ema=0.0))
        losses = [row["validation_loss"] for row in found.report["history"]]
        best = int(np.argmin(losses))
        assert found.report["best_epoch"] == best and found.report["after"]["validation_loss"] == min(losses)
        assert found.report["stopped_early"] and len(losses) == best + 3

    def test_two_runs_are_equal_and_another_seed_is_another_run(self):
        assert same_weights(undisturbed().model, recovered().model)
        assert not same_weights(undisturbed().model, recovered(replace(RECIPE, seed=1)).model)

    def test_ambient_randomness_is_neither_used_nor_moved(self):
        recipe = replace(RECIPE, epochs=1, mixup=0.5)
        torch.manual_seed(1)
        np.random.seed(1)
        one = recovered(recipe)
        drawn = torch.rand(1), np.random.rand()
        torch.manual_seed(1)
        np.random.seed(1)
        assert (torch.rand(1), np.random.rand()) == drawn
        assert same_weights(one.model, recovered(recipe).model)

    def test_gradients_of_several_forwards_are_those_of_one(self):
        recipe = replace(RECIPE, optimizer="sgd", lr=0.05, distill_blocks=True)
        one, two = recovered(replace(recipe, batch_size=8)), recovered(replace(recipe, batch_size=4, accumulate=2))
        theirs = two.model.state_dict()
        for name, value in one.model.state_dict().items():
            assert torch.allclose(value.float(), theirs[name].float(), rtol=1e-4, atol=1e-6), name

    def test_forwards_in_bfloat16_learn_as_well_and_leave_weights_in_float32(self):
        found = recovered(replace(RECIPE, precision="bfloat16", labels=False, augment=False))
        assert found.report["precision"] == "bfloat16"
        assert found.report["after"]["validation_loss"] < found.report["before"]["validation_loss"]
        assert {value.dtype for value in found.model.state_dict().values() if value.is_floating_point()} == {torch.float32}

    def test_its_cost_is_that_of_the_compact_model_and_the_baseline_beside_it(self):
        found, shape = undisturbed(), get_info(grey_model("vit")).shape
        own, whole = count_cost(shape, schedule_for()).macs, count_cost(shape).macs
        assert found.report["cost"]["images"] == 3 * 36 and found.report["cost"]["macs_an_image"] == 3 * own + whole
        assert recovered(replace(RECIPE, distill=False, epochs=1)).report["cost"]["macs_an_image"] == 3 * own

    def test_pictures_of_other_classes_will_do_without_labels(self, tmp_path):
        model = load_model("test_vit", "random", img_size=64)
        data = load_data(make_folder(tmp_path / "pictures", {"a": 5, "b": 5}), model, labelled=False)
        assert data.transform.training is not None
        schedule = Schedule.uniform(block_count(model), vo=0.5, fc2=0.5)
        recipe = Recipe(epochs=1, batch_size=4, labels=False, validation_share=0.2)
        found = recover(model, RecoveryStart(schedule, lambda: make_plan(model, schedule)), data, recipe)
        assert found.report["history"][-1]["validation_top1"] is None and found.report["cost"]["images"] == 8
        save_model(found.model, tmp_path / "out.safetensors")
        again = load_model(weights=tmp_path / "out.safetensors")
        assert same_weights(found.model, again)


class TestRefusals:
    """One line: value, limit, next step."""

    @pytest.mark.parametrize(("change", "says"), [
        ({"epochs": 0}, "epochs is 0; write a whole number of at least 1"),
        ({"batch_size": 2.0}, "batch-size is 2.0; write a whole number"),
        ({"lr": float("nan")}, "lr is nan; write a number above 0"),
        ({"ema": 1.0}, "ema is 1.0; write a decay below 1"),
        ({"validation_share": 0.0}, "validation-share is 0.0; write a fraction of the training images"),
        ({"precision": "int8"}, "unknown precision 'int8'; choose from auto, float32, bfloat16, float16"),
        ({"execution": "dense"}, "unknown execution 'dense'; choose from masked, compact"),
        ({"distill": False, "labels": False}, "there is nothing to learn from"),
        ({"mixup": 0.2, "batch_size": 3}, "batch-size is 3; mixup and cutmix pair images"),
    ])
    def test_what_is_no_recipe(self, change, says):
        with pytest.raises(ToastError, match=r"^[^\n]*$") as caught:
            replace(RECIPE, **change)
        assert says in str(caught.value)

    def test_too_few_images_for_the_split(self):
        with pytest.raises(DataError, match=r"^5 images give 0 for validation and 5 to train on, where one step takes 4; use more images"):
            recovered(data=grey_data(grey_model("vit"), 5), recipe=replace(RECIPE, validation_share=0.01))
        with pytest.raises(DataError, match=r"^9 images give 1 for validation and 8 to train on, where one step takes 16; use more images"):
            recovered(data=grey_data(grey_model("vit"), 9), recipe=replace(RECIPE, accumulate=4))

    def test_test_images(self):
        model = load_model("demo_vit", "random")
        schedule = Schedule.uniform(12, fc2=0.5)
        with pytest.raises(DataError, match="fashion-mnist are the test images, which nothing may learn from; name training images"):
            recover(model, RecoveryStart(schedule, lambda: None), load_data("fashion-mnist", model, 50), RECIPE)

    def test_a_checkpoint_of_another_run(self, tmp_path):
        recipe = replace(RECIPE, epochs=1)
        recovered(recipe, checkpoints=Checkpoints(tmp_path))
        other = schedule_for(seed=7)
        with pytest.raises(ModelError, match=f"with schedule {schedule_for().digest()[:16]}, not {other.digest()[:16]}; use another"):
            recovered(recipe, schedule=other, checkpoints=Checkpoints(tmp_path))
        with pytest.raises(ModelError, match=r"belongs to a run with lr 0.003, not 0.1; use another --checkpoint folder"):
            recovered(replace(recipe, lr=0.1), checkpoints=Checkpoints(tmp_path))
        with pytest.raises(ModelError, match="belongs to a run with image positions"):
            recovered(recipe, data=grey_data(grey_model("vit"), 39), checkpoints=Checkpoints(tmp_path))

    def test_a_checkpoint_of_other_preprocessing(self, tmp_path):
        recipe, data = replace(RECIPE, epochs=1), grey_data(grey_model("vit"), 40)
        recovered(recipe, data=data, checkpoints=Checkpoints(tmp_path))
        own = data.transform.description
        data.transform = replace(data.transform, description=own.replace("input_size=(1, 32, 32)", "input_size=(1, 9, 32)"))
        with pytest.raises(ModelError, match=r"with transform input_size=\(1, 32, 32\), not input_size=\(1, 9, 32\); use another"):
            recovered(recipe, data=data, checkpoints=Checkpoints(tmp_path))
        data.transform = replace(data.transform, description=f"{own} exif_rotate")
        with pytest.raises(ModelError, match="belongs to a run with transform none, not exif_rotate; use another"):
            recovered(recipe, data=data, checkpoints=Checkpoints(tmp_path))

    def test_a_checkpoint_that_does_not_say_its_preprocessing(self, tmp_path):
        said, own = {"lr": 1.0}, {"transform": "mean=(0.5,)"}
        write_checkpoint(tmp_path, Checkpoint(said, RunState(), {"model": {"a": torch.zeros(1)}}, {}, {}))
        assert read_checkpoint(tmp_path, said | own, unsaid=own) is not None
        with pytest.raises(ModelError, match=r"a run with transform that it does not say, not mean=\(0.5,\); use another"):
            read_checkpoint(tmp_path, said | own, unsaid={})

    def test_a_damaged_checkpoint(self, tmp_path):
        recipe = replace(RECIPE, epochs=1)
        recovered(recipe, checkpoints=Checkpoints(tmp_path))
        path = tmp_path / FILE
        path.write_bytes(path.read_bytes()[:-10])
        with pytest.raises(ModelError, match=r"is damaged .*; delete it to begin again, or use another folder"):
            recovered(recipe, checkpoints=Checkpoints(tmp_path))

    def test_a_pickled_checkpoint_is_not_opened(self, tmp_path):
        torch.save({"model": {}}, tmp_path / FILE)
        with pytest.raises(ModelError, match="is damaged"):
            recovered(checkpoints=Checkpoints(tmp_path))

    def test_a_folder_that_is_a_file(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(ModelError, match=r"checkpoint folder .*file cannot be written; choose a folder of its own"):
            recovered(checkpoints=Checkpoints(tmp_path / "file"))

    def test_a_loss_without_bounds(self):
        with pytest.raises(ModelError, match=r"the loss is (nan|inf) after \d+ steps; lower --lr, now 1e\+30, and begin again"):
            recovered(replace(RECIPE, lr=1e30, clip_norm=0.0, optimizer="sgd"))

    def test_models_and_schedules_that_cannot_be_trained(self):
        with pytest.raises(PlanError, match="training would fill both; choose coupled"):
            recovered(replace(RECIPE, execution="masked"), schedule=schedule_for(coupling="uncoupled"))
        pruned, schedule = recovered(replace(RECIPE, epochs=1)).model, schedule_for()
        with pytest.raises(PlanError, match=r"is already pruned .compact.; recover from the baseline model"):
            recover(pruned, RecoveryStart(schedule, lambda: plan_of("vit", schedule)), grey_data(grey_model("vit"), 40), RECIPE)
        with pytest.raises(ScheduleError, match="the schedule has 4 blocks but"):
            recovered(schedule=schedule_for("swin"))
        with pytest.raises(DataError, match="optimizer 'sgd9' cannot be used"):
            recovered(replace(RECIPE, optimizer="sgd9"))

    def test_gpus_that_are_not_there(self, monkeypatch):
        started = {"LOCAL_RANK": "3", "LOCAL_WORLD_SIZE": "4"}
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        for device in ("cuda", "auto"):
            with pytest.raises(DeviceError, match=r"^torchrun started 4 processes .*, which has 2 GPUs; use --nproc-per-node 2"):
                device_of_rank(device, started)
        with pytest.raises(DeviceError, match="device 'cuda:1' names one device for 4 processes; write cuda, and each takes its own"):
            device_of_rank("cuda:1", started)
        assert device_of_rank("cpu", started) == torch.device("cpu")

    def test_half_precision_without_a_gpu(self):
        with pytest.raises(DeviceError, match="precision float16 is for GPUs, and the device is cpu; use bfloat16 or float32"):
            precision_for("float16", torch.device("cpu"))
        assert precision_for("auto", torch.device("cpu")) == torch.float32
        assert precision_for("bfloat16", torch.device("cpu")) == torch.bfloat16
