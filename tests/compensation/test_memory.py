"""Remembered fits: any way through schedules gives the plans of fresh fits, to the bit, and only what an edit changed is fitted again."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis_cache.shelf import Shelf
from tests.support.families import block_count, images_for, schedule_for, shared_model
from tests.support.tiers import over
from toast_core.compensation.memory import FitMemory
from toast_core.compensation.stored import Fit, read_fit, write_fit
from toast_core.compensation.walk import compensate
from toast_core.pruning.plan import FixedKeep, HeadKeep, Plan
from toast_core.schedule.compensation import ATTENTION, CALIBRATIONS, FFN, FULL, Compensation
from toast_core.schedule.schedule import Schedule
from toast_core.schedule.sites import SITES

KINDS = [kind for kind in (Compensation(*one) for one in product(FFN, ATTENTION, CALIBRATIONS)) if not kind.is_none]
FAMILIES = ("plain", "swin", "everything", "eva02")  # the usual; merging between blocks, norms on heads, on hidden units
AMPLE = 1 << 30
EDITS = st.tuples(st.integers(0, 3), st.sampled_from(SITES), st.sampled_from((0.0, 0.3, 0.5)))


def images_of(name: str) -> list[torch.Tensor]:
    """Two batches of the family's images."""
    return [images_for(name, 4, seed=31), images_for(name, 3, seed=32)]


def asked(name: str, kind: Compensation = FULL, **ratios: float) -> Schedule:
    """The same ratios in every block of a family's model, compensated."""
    return schedule_for(shared_model(name), "calibrated", compensation=kind, **ratios)


def unread() -> Iterator[torch.Tensor]:
    """Images that nobody may ask for."""
    pytest.fail("the images were read")
    yield


def assert_same(found: Plan, fresh: Plan) -> None:
    """Both plans keep the same channels with the same weights, bit for bit."""
    assert (found.schedule, found.notes, len(found.blocks)) == (fresh.schedule, fresh.notes, len(fresh.blocks))
    for one, other in zip(found.blocks, fresh.blocks, strict=True):
        for site in SITES:
            kept, wanted = getattr(one, site), getattr(other, site)
            assert type(kept) is type(wanted)
            if isinstance(kept, HeadKeep):
                assert torch.equal(kept.first, wanted.first) and torch.equal(kept.second, wanted.second)
            elif isinstance(kept, FixedKeep):
                assert torch.equal(kept.idx, wanted.idx)
        assert (one.weights or {}).keys() == (other.weights or {}).keys()
        for name, value in (one.weights or {}).items():
            assert torch.equal(value, other.weights[name]) and value.dtype == other.weights[name].dtype


@over("name", FAMILIES, always=("plain",))
@settings(max_examples=settings.default.max_examples // 3)  # an example is up to six walks
@given(kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=2), edits=st.lists(EDITS, min_size=1, max_size=3), data=st.data())
def test_any_way_through_schedules_gives_the_plans_of_fresh_fits(
    name: str, kinds: list[Compensation], edits: list[tuple[int, str, float]], data: st.DataObject
) -> None:
    model, images = shared_model(name), images_of(name)
    memory = FitMemory(data.draw(st.sampled_from((AMPLE, 300_000, 40_000))), base="here")
    schedule = asked(name, kinds[0], qk=0.5, vo=0.3, fc2=0.6)
    for number, (block, site, ratio) in enumerate(edits):
        schedule = Schedule.from_dict(schedule.to_dict() | {"compensation": vars(kinds[number % len(kinds)])})
        schedule = schedule.with_ratio(block % block_count(model), site, ratio)
        assert_same(compensate(model, schedule, images, memory=memory), compensate(model, schedule, images))
        assert memory.used <= memory.budget


@pytest.mark.parametrize("budget", [AMPLE, 120_000])
def test_an_edit_refits_from_its_block_on_and_undoing_it_nothing(budget: int) -> None:
    model, told, memory = shared_model("plain"), [], FitMemory(budget)
    plain = asked("plain", qk=0.5, vo=0.3, fc2=0.6)

    def plan(schedule: Schedule) -> Plan:
        told.clear()
        return compensate(model, schedule, images_of("plain"), lambda done, total: told.append(done), memory)

    first, edited = plan(plain), plan(plain.with_ratio(1, "fc2", 0.3))
    assert told == [2, 3]
    assert first.blocks[0] is edited.blocks[0]
    assert_same(edited, compensate(model, edited.schedule, images_of("plain")))
    if budget == AMPLE:
        undone = compensate(model, plain, unread(), lambda done, total: pytest.fail("fitted again"), memory)
        assert all(one is other for one, other in zip(undone.blocks, first.blocks, strict=True))


def test_blocks_before_count_only_where_a_fit_depends_on_them() -> None:
    model, memory = shared_model("plain"), FitMemory(AMPLE)
    for calibration, refitted in (("one_shot", 1), ("sequential", 3), ("error_correcting", 3)):
        plain = asked("plain", Compensation("fold", "project", calibration), fc2=0.6)
        compensate(model, plain, images_of("plain"), memory=memory)
        before = memory.held_fits
        compensate(model, plain.with_ratio(0, "vo", 0.5), images_of("plain"), memory=memory)
        assert memory.held_fits - before == refitted
        alone = plain.with_ratio(0, "fc2", 0)
        compensate(model, alone, images_of("plain"), memory=memory)
        same = Schedule.from_dict(alone.to_dict() | {"multiple_of": 1}).with_ratio(2, "fc2", 0.6001)  # the same count
        compensate(model, same, unread(), lambda done, total: pytest.fail("fitted again"), memory)


def test_other_images_weights_and_settings_are_fitted_anew() -> None:
    model, memory = shared_model("plain"), FitMemory(AMPLE, base="one set")
    plain = asked("plain", Compensation("bias", "select"), fc2=0.6)
    compensate(model, plain, images_of("plain"), memory=memory)
    others = [images_for("plain", 5, seed=77)]
    assert_same(compensate(model, plain, others, memory=memory.on("other set")), compensate(model, plain, others))
    for field, value in (("score", "l1"), ("class_weight", 0.5), ("coupling", "average")):
        changed = Schedule.from_dict(plain.to_dict() | {field: value})
        assert_same(compensate(model, changed, images_of("plain"), memory=memory), compensate(model, changed, images_of("plain")))


def test_another_process_takes_fits_from_the_shelf_and_refits_what_is_damaged(tmp_path: Path) -> None:
    name = "qk_norm"
    model, schedule, shelf = shared_model(name), asked(name, qk=0.5, vo=0.3, fc1=0.2, fc2=0.6), Shelf(tmp_path / "shelf")
    fresh = compensate(model, schedule, images_of(name), memory=FitMemory(0, shelf))
    assert fresh.notes
    assert_same(compensate(model, schedule, unread(), memory=FitMemory(0, shelf)), fresh)
    files = sorted(shelf.folder.iterdir(), key=lambda path: path.stat().st_size)
    assert len(files) == len(fresh.blocks)
    flipped, pickled = (lambda whole: whole[:99] + bytes([whole[99] ^ 1]) + whole[100:]), (lambda whole: b"\x80\x04.")
    for harm in (lambda whole: whole[:-9], flipped, lambda whole: b"", pickled):
        files[0].write_bytes(harm(files[0].read_bytes()))
        told: list[int] = []
        again = compensate(model, schedule, images_of(name), lambda done, total, told=told: told.append(done), FitMemory(0, shelf))
        assert_same(again, fresh)
        assert told
        assert_same(compensate(model, schedule, unread(), memory=FitMemory(0, shelf)), fresh)


def test_bytes_that_are_no_fit_are_none() -> None:
    plan = compensate(shared_model("plain"), asked("plain", fc2=0.5), images_of("plain"))
    content = write_fit(Fit(plan.blocks[1], ("a note",)))
    assert read_fit(content, torch.device("cpu")).notes == ("a note",)
    for other in (b"", content[:40], b"\x80\x04K\x01."):
        assert read_fit(other, torch.device("cpu")) is None
