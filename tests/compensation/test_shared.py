"""Fits shared by workbenches: what one has fitted another takes from beside the store, to the bit, and quotes say less."""

import copy
from pathlib import Path
from unittest import mock

import pytest
import torch

from tests.compensation.test_memory import assert_same
from tests.support.folders import make_folder
from tests.support.runs import tiny_workbench
from toast_core import workbench as workbench_module
from toast_core.compensation import walk
from toast_core.compensation.plan import plan_on
from toast_core.pruning.plan import Plan
from toast_core.schedule.compensation import FULL, Compensation
from toast_core.schedule.schedule import Schedule
from toast_core.workbench import Workbench

COMPENSATED = Schedule.uniform(3, qk=0.5, vo=0.5, fc2=0.5, selection="calibrated", compensation=FULL)
SCORED = Schedule.uniform(3, fc1=0.3, fc2=0.5, selection="calibrated", compensation=Compensation("bias", "select", "sequential"))


def told_of(workbench: Workbench, schedule: Schedule, **asked: int) -> tuple[Plan, list[int]]:
    """The plan, and the blocks that were told of while it was made."""
    told: list[int] = []
    workbench.report = lambda what, done, total: told.append(done) if what == "compensating" else None
    return workbench.plan(schedule, **asked), told


@pytest.mark.parametrize("schedule", [COMPENSATED, SCORED], ids=["all", "by scores"])
def test_another_process_fits_nothing_again(schedule: Schedule, tmp_path: Path) -> None:
    first = tiny_workbench(tmp_path)
    images = [batch.images for batch in first.calibration(0).batches(first.setup.batch_size)]
    fresh = plan_on(first.model, schedule, images)
    plan, told = told_of(first, schedule)
    assert told == [1, 2, 3] and first.memory.used == 0
    assert_same(plan, fresh)
    with mock.patch.object(walk, "fit_hidden", side_effect=AssertionError("fitted again")):
        plan, told = told_of(tiny_workbench(tmp_path), schedule)
    assert told == []
    assert_same(plan, fresh)
    plan, told = told_of(tiny_workbench(tmp_path), schedule.with_ratio(2, "fc2", 0.3))
    assert told == [3]
    assert_same(plan, plan_on(first.model, plan.schedule, images))


def test_scores_that_the_workbench_has_are_not_taken_again(tmp_path: Path) -> None:
    workbench, images = tiny_workbench(tmp_path), []
    fresh = plan_on(workbench.model, SCORED, [batch.images for batch in workbench.calibration(0).batches(workbench.setup.batch_size)])
    workbench.memory.budget = 1 << 30
    workbench.statistics(SCORED.class_weight)
    with mock.patch.object(walk, "collect_statistics", side_effect=images.append):
        assert_same(workbench.plan(SCORED), fresh)
    assert not images


def test_other_batches_seeds_images_weights_and_code_are_other_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told_of(tiny_workbench(tmp_path), COMPENSATED)

    def is_fitted(workbench: Workbench, schedule: Schedule = COMPENSATED, **asked: int) -> bool:
        return bool(told_of(workbench, schedule, **asked)[1])

    assert not is_fitted(tiny_workbench(tmp_path))
    assert is_fitted(tiny_workbench(tmp_path), batch_size=7)
    assert is_fitted(tiny_workbench(tmp_path), Schedule.from_dict(COMPENSATED.to_dict() | {"seed": 3}))
    assert is_fitted(tiny_workbench(tmp_path, calibration_images=22))
    changed = tiny_workbench(tmp_path)
    changed.model = copy.deepcopy(changed.model)  # all tests share it
    with torch.no_grad():
        changed.model.blocks[2].mlp.fc2.bias += 1
    assert is_fitted(changed)
    with monkeypatch.context() as patch:
        patch.setattr(workbench_module, "code_version", lambda: "another")
        assert is_fitted(tiny_workbench(tmp_path))
    assert is_fitted(tiny_workbench(tmp_path / "elsewhere"))


def test_images_of_other_content_under_the_same_names_and_sizes_are_other_images(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "fit", {"any": 12})
    told_of(tiny_workbench(tmp_path, calibration=str(folder)), COMPENSATED)
    assert told_of(tiny_workbench(tmp_path, calibration=str(folder)), COMPENSATED)[1] == []
    one, other = sorted(folder.rglob("*.png"))[:2]
    contents = one.read_bytes(), other.read_bytes()
    one.write_bytes(contents[1])
    other.write_bytes(contents[0])
    assert told_of(tiny_workbench(tmp_path, calibration=str(folder)), COMPENSATED)[1] == [1, 2, 3]


def test_the_price_counts_the_fits_that_are_left(tmp_path: Path) -> None:
    workbench = tiny_workbench(tmp_path)
    whole = workbench.fitting_macs(COMPENSATED)
    assert whole > 0 and workbench.fitting_macs(Schedule.uniform(3)) == workbench.fitting_macs(Schedule.uniform(3, fc2=0.5)) == 0
    workbench.plan(COMPENSATED)
    assert tiny_workbench(tmp_path).fitting_macs(COMPENSATED) == 0
    assert tiny_workbench(tmp_path).fitting_macs(COMPENSATED.with_ratio(1, "fc2", 0.3)) == whole * 2 // 3
