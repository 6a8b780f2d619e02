"""Schedules: lossless JSON, one digest a value, and a ScheduleError for everything that is not a schedule."""

import dataclasses
import json
import math
import re
from collections.abc import Callable
from itertools import product
from typing import ClassVar

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.strategies import BLOCKS, RATIOS, SCHEDULES
from toast_core.errors import ScheduleError, ToastError
from toast_core.schedule.compensation import FULL, NONE, Compensation
from toast_core.schedule.schedule import COUPLINGS, SELECTIONS, VERSION, BlockSchedule, Schedule, check_ratio
from toast_core.schedule.scores import SCORES
from toast_core.schedule.sites import SITES

VALID = Schedule.uniform(2, qk=0.5, fc2=0.25)


def changed(**values: object) -> dict:
    """A valid schedule's dict with other values."""
    return {**VALID.to_dict(), **values}


def with_block(block: object) -> dict:
    """A schedule of one block."""
    return {"version": VERSION, "blocks": [block]}


WRONG_FIELDS = [
    (changed(ratio=0.5), "unknown schedule field 'ratio'; choose from class_weight, compensation, coupling"),
    (changed(version=2), r"schedule version is 2, this program reads 1; update the program"),
    (changed(version="1"), "schedule version is '1', this program reads 1"),
    (changed(version=None), "schedule version is None, this program reads 1"),
    (changed(version=True), "schedule version is True, this program reads 1"),
    (changed(selection="per_token"), "unknown selection mode 'per_token'; choose from per_batch, per_image, calibrated"),
    (changed(selection=None), "unknown selection mode None; choose from per_batch"),
    (changed(selection=["per_batch"]), r"unknown selection mode \['per_batch'\]; choose from"),
    (changed(score="gm"), "unknown score 'gm'; choose from geometric_median, weiszfeld, l1, l2"),
    (changed(score={}), "unknown score {}; choose from"),
    (changed(coupling="both"), "unknown coupling 'both'; choose from coupled, q_only"),
    (changed(multiple_of=0), "multiple_of is 0; write a whole number of at least 1"),
    (changed(multiple_of=8.0), "multiple_of is 8.0; write a whole number"),
    (changed(multiple_of=True), "multiple_of is True; write a whole number"),
    (changed(multiple_of="8"), "multiple_of is '8'; write a whole number"),
    (changed(seed=-1), "seed is -1; write a whole number of at least 0"),
    (changed(seed=1.5), "seed is 1.5; write a whole number"),
    (changed(seed=None), "seed is None; write a whole number"),
    (changed(seed=2**63), r"seed is 9223372036854775808; write a whole number of at least 0 and below 2\*\*63"),
    (changed(seed=10**400), "seed is a number of many digits; write a whole number"),
    (changed(multiple_of=10**400), "multiple_of is a number of many digits; write a whole number"),
    (changed(class_weight=-1), "class_weight is -1; write a number of at least 0"),
    (changed(class_weight=math.nan), "class_weight is nan; write a number of at least 0"),
    (changed(class_weight=math.inf), "class_weight is inf; write a number of at least 0"),
    (changed(class_weight="2"), "class_weight is '2', not a number"),
    (changed(class_weight=False), "class_weight is False, not a number"),
    (changed(token_fraction=0), r"token_fraction is 0; write a fraction of the patches in \(0, 1\]"),
    (changed(token_fraction=1.01), r"token_fraction is 1.01; write a fraction of the patches in \(0, 1\]"),
    (changed(token_fraction=math.nan), "token_fraction is nan; write a fraction"),
    (changed(token_fraction="0.2"), "token_fraction is '0.2', not a number"),
    (changed(blocks=[]), "the schedule has no blocks; give one entry for each block"),
    (changed(blocks={}), "blocks is dict, not a list; give one object of ratios a block"),
    (changed(blocks=None), "blocks is NoneType, not a list"),
    (changed(blocks="[]"), "blocks is str, not a list"),
    (changed(blocks=[[0.5]]), "block 0 is list, not an object of ratios; write for example"),
    (changed(blocks=[{}, None]), "block 1 is NoneType, not an object of ratios"),
    (changed(blocks=[{}, 0.5]), "block 1 is float, not an object of ratios"),
    ({"blocks": [{}]}, "schedule version is None, this program reads 1"),
    ({"version": 1}, "blocks is NoneType, not a list"),
    ([], "a schedule is a JSON object, not list"),
    (None, "a schedule is a JSON object, not NoneType"),
    ("{}", "a schedule is a JSON object, not str"),
]
WRONG_RATIOS = [
    (90, "not below 1; ratios are fractions dropped, in .0, 1.: write 0.9 for 90 %"),
    (1.0, "is 1, not below 1; .* at least one channel must stay"),
    (100, "not below 1; .* at least one channel must stay"),
    (-0.1, "is -0.1; ratios are fractions dropped, in .0, 1.: write 0 to keep every channel"),
    (math.nan, "is nan; ratios are fractions"),
    (math.inf, "is inf; ratios are fractions"),
    (-math.inf, "is -inf; ratios are fractions"),
    ("90", "is '90', not a number; ratios are fractions dropped"),
    ("0.9", "is '0.9', not a number"),
    (True, "is True, not a number"),
    (None, "is None, not a number"),
    ([0.5], r"is \[0.5\], not a number"),
    ({"ratio": 0.5}, "not a number"),
]


def refusal(make: Callable[..., object], *arguments: object, **named: object) -> str:
    """What a ScheduleError says of these arguments; "taken" where there is none."""
    try:
        make(*arguments, **named)
    except ScheduleError as error:
        return str(error)
    return "taken"


class TestRoundTrip:
    """What is written is what is read."""

    @given(SCHEDULES)
    def test_json_is_lossless(self, schedule: Schedule) -> None:
        assert Schedule.from_json(schedule.to_json()) == schedule
        assert Schedule.from_json(schedule.to_json().encode()) == schedule
        assert Schedule.from_dict(schedule.to_dict()) == schedule

    @given(SCHEDULES)
    def test_json_is_plain(self, schedule: Schedule) -> None:
        document = json.loads(schedule.to_json())
        assert document == schedule.to_dict()
        assert document["version"] == 1
        assert all(list(block) == list(SITES) for block in document["blocks"])

    @given(SCHEDULES, SCHEDULES)
    def test_digests_are_equal_exactly_where_schedules_are(self, first: Schedule, second: Schedule) -> None:
        assert (first.digest() == second.digest()) == (first == second)
        assert Schedule.from_json(first.to_json()).digest() == first.digest()

    @pytest.mark.parametrize("settings", [{"fc2": -0.0}, {"class_weight": -0.0}])
    def test_minus_zero_is_zero_for_the_digest_too(self, settings: dict) -> None:
        plus = {key: 0.0 for key in settings}
        assert Schedule.uniform(2, **settings) == Schedule.uniform(2, **plus)
        assert Schedule.uniform(2, **settings).digest() == Schedule.uniform(2, **plus).digest()

    def test_the_digest_of_a_known_schedule_never_changes(self) -> None:
        assert VALID.digest() == "5947f0b1535046291611353f4c55601daef585f9d4ec96bd58a832cca91f32cd"

    @pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Schedule) if field.name != "blocks"])
    def test_every_setting_enters_the_digest(self, field: str) -> None:
        other = {
            "selection": "calibrated", "score": "l1", "coupling": "average", "multiple_of": 8, "seed": 1, "class_weight": 3.0,
            "token_fraction": 0.5, "compensation": Compensation("fold"),
        }
        base = dataclasses.replace(VALID, selection="calibrated") if field == "compensation" else VALID
        assert dataclasses.replace(base, **{field: other[field]}).digest() != base.digest()

    @pytest.mark.parametrize("site", SITES)
    def test_every_site_of_every_block_enters_the_digest(self, site: str) -> None:
        digests = {VALID.with_ratio(block, site, 0.75).digest() for block in (0, 1)}
        assert len(digests | {VALID.digest()}) == 3

    @pytest.mark.parametrize("missing", ["selection", "score", "coupling", "multiple_of", "seed", "class_weight", "token_fraction"])
    def test_settings_left_out_take_their_defaults(self, missing: str) -> None:
        values = changed()
        del values[missing]
        assert Schedule.from_dict(values) == VALID

    def test_sites_left_out_are_zero(self) -> None:
        assert Schedule.from_dict(with_block({"fc2": 0.5})).blocks == (BlockSchedule(0.0, 0.0, 0.0, 0.5),)


class TestRefusals:
    """Every mutation of a schedule that changes its meaning is refused, with the value and what to write instead."""

    def test_every_field_that_is_wrong_is_named(self) -> None:
        said = [(message, refusal(Schedule.from_dict, values)) for values, message in WRONG_FIELDS]
        assert [(message, text) for message, text in said if not re.search(message, text)] == []

    def test_every_ratio_that_is_none_is_named_with_its_place(self) -> None:
        said = []
        for site, (ratio, message) in product(SITES, WRONG_RATIOS):
            said += [
                (f"^block 0 {site} ratio .*{message}", refusal(Schedule.from_dict, with_block({site: ratio}))),
                (message, refusal(BlockSchedule, **{site: ratio})),
                (f"^block 1 {site} ratio .*{message}", refusal(VALID.with_ratio, 1, site, ratio)),
            ]
        assert [(message, text) for message, text in said if not re.search(message, text)] == []

    @pytest.mark.parametrize("name", ["q", "QK", "fc3", "", "attn", "head_sparsity "])
    def test_an_unknown_site(self, name: str) -> None:
        with pytest.raises(ScheduleError, match=f"unknown site in block 0: '{name}'; choose from fc1, fc2, qk, vo"):
            Schedule.from_dict(with_block({name: 0.5}))

    @pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
    def test_constants_that_json_does_not_have(self, constant: str) -> None:
        text = VALID.to_json().replace("0.25", constant, 1)
        with pytest.raises(ScheduleError, match=f"the JSON holds {constant}, which is no number"):
            Schedule.from_json(text)

    def test_a_number_too_large_for_a_float(self) -> None:
        with pytest.raises(ScheduleError, match="is inf; ratios are fractions"):
            Schedule.from_json(VALID.to_json().replace("0.25", "1e999", 1))

    @pytest.mark.parametrize("digits", [400, 5000])
    @pytest.mark.parametrize("place", ['"fc2": 0.25', '"class_weight": 2.0', '"token_fraction": null'])
    def test_a_whole_number_of_many_digits(self, place: str, digits: int) -> None:
        key = place.partition(":")[0]
        with pytest.raises(ScheduleError):
            Schedule.from_json(VALID.to_json().replace(place, f"{key}: 1{'0' * digits}", 1))

    @pytest.mark.parametrize(
        "text", ['{"version": 1, "version": 1, "blocks": [{}]}', '{"version": 1, "blocks": [{"fc2": 0.1, "fc2": 0.2}]}']
    )
    def test_a_key_given_twice(self, text: str) -> None:
        with pytest.raises(ScheduleError, match=r"gives '(version|fc2)' twice in one object; keep one"):
            Schedule.from_json(text)

    @pytest.mark.parametrize(
        "text", ["", "{", "[1", "{'version': 1}", "nul", "\x00", '{"version": 1,}', "\ufeff{}", b"\xff\xfe\xff", b"\x80abc"]
    )
    def test_text_that_is_no_json(self, text: str | bytes) -> None:
        with pytest.raises(ScheduleError, match=r"(not a JSON document \(.*\); save a schedule with to_json|a schedule is a JSON object)"):
            Schedule.from_json(text)

    @pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, '{"version":1,"blocks":' + "[" * 50_000 + "]" * 50_000 + "}"])
    def test_deep_nesting(self, text: str) -> None:
        with pytest.raises(ScheduleError):
            Schedule.from_json(text)

    @given(st.text() | st.binary())
    @example("null")
    @example(b"\xef\xbb\xbf{}")
    def test_random_text_raises_nothing_else(self, text: str | bytes) -> None:
        with pytest.raises(ScheduleError):
            Schedule.from_json(text)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
                st.sampled_from(["version", "blocks", "qk", "fc2", "seed", "head_sparsity", "fc1"]), inner
            ),
        )
    )
    def test_random_json_values_raise_nothing_else(self, values: object) -> None:
        try:
            Schedule.from_dict(values)
        except ScheduleError as error:
            assert str(error)

    @pytest.mark.parametrize(
        ("compensation", "message"),
        [
            ("fold", r"compensation is str, not an object; write for example \{\"ffn\": \"fold\"\}"),
            ({"ffn": "magic"}, "unknown ffn compensation 'magic'; choose from none, bias, fold"),
            ({"attention": "magic"}, "unknown attention compensation 'magic'; choose from select, project"),
            ({"calibration": 3}, "unknown calibration compensation 3; choose from one_shot, sequential, error_correcting"),
            ({"fnn": "fold"}, "unknown compensation field 'fnn'; choose from attention, calibration, ffn"),
            ({"ffn": "fold"}, "compensation needs kept channels that never change; use selection calibrated, not per_image"),
        ],
    )
    def test_compensation_that_is_wrong(self, compensation: object, message: str) -> None:
        with pytest.raises(ScheduleError, match=message):
            Schedule.from_dict(changed(compensation=compensation))

    @given(SCHEDULES, st.data())
    def test_random_edits_of_a_valid_document_raise_nothing_else(self, schedule: Schedule, data: st.DataObject) -> None:
        text = schedule.to_json()
        start = data.draw(st.integers(0, len(text) - 1))
        stop = data.draw(st.integers(start, min(len(text), start + 20)))
        edited = text[:start] + data.draw(st.text(alphabet='0123456789.-eE"{}[],:truefalsn ', max_size=6)) + text[stop:]
        try:
            again = Schedule.from_json(edited)
        except ScheduleError:
            return
        assert Schedule.from_json(again.to_json()) == again

    def test_the_error_is_a_value_error_too(self) -> None:
        assert issubclass(ScheduleError, ValueError)
        assert issubclass(ScheduleError, ToastError)


class TestValue:
    """A schedule is a frozen value with a few questions on it."""

    def test_it_is_frozen_and_hashable(self) -> None:
        with pytest.raises(dataclasses.FrozenInstanceError):
            VALID.seed = 1
        with pytest.raises(dataclasses.FrozenInstanceError):
            VALID.blocks[0].qk = 0.5
        assert len({VALID, Schedule.uniform(2, qk=0.5, fc2=0.25)}) == 1

    def test_whole_numbers_become_floats(self) -> None:
        assert isinstance(BlockSchedule(qk=0).qk, float)
        assert Schedule.uniform(1, class_weight=2) == Schedule.uniform(1, class_weight=2.0)
        assert Schedule.uniform(1, class_weight=2).to_json() == Schedule.uniform(1, class_weight=2.0).to_json()

    @given(SCHEDULES, st.data(), RATIOS)
    def test_with_ratio_changes_one_place(self, schedule: Schedule, data: st.DataObject, ratio: float) -> None:
        block, site = data.draw(st.integers(0, len(schedule.blocks) - 1)), data.draw(st.sampled_from(SITES))
        other = schedule.with_ratio(block, site, ratio)
        assert getattr(other.blocks[block], site) == ratio
        assert other.ratios(site)[block] == ratio
        assert other.with_ratio(block, site, getattr(schedule.blocks[block], site)) == schedule

    @pytest.mark.parametrize("block", [-1, 2, 100])
    def test_a_block_that_is_not_there(self, block: int) -> None:
        with pytest.raises(ScheduleError, match=f"block {block} does not exist; the schedule has blocks 0 to 1"):
            VALID.with_ratio(block, "qk", 0.5)

    def test_a_site_that_is_not_there(self) -> None:
        for ask in (lambda: VALID.ratios("attn"), lambda: VALID.with_ratio(0, "attn", 0.5)):
            with pytest.raises(ScheduleError, match="unknown site 'attn'; choose from qk, vo, fc1, fc2"):
                ask()

    def test_a_model_of_another_length(self) -> None:
        VALID.check_length(2, "demo_vit")
        with pytest.raises(ScheduleError, match="the schedule has 2 blocks but demo_vit has 12; use a schedule made for this model"):
            VALID.check_length(12, "demo_vit")

    @pytest.mark.parametrize("blocks", [0, -1, 1.5, True, "12", None])
    def test_uniform_needs_a_number_of_blocks(self, blocks: object) -> None:
        with pytest.raises(ScheduleError, match=r"number of blocks is .*; write a whole number of at least 1"):
            Schedule.uniform(blocks)

    @given(st.lists(BLOCKS, min_size=1, max_size=4))
    def test_baseline_means_no_ratio_anywhere(self, blocks: list[BlockSchedule]) -> None:
        schedule = Schedule(tuple(blocks))
        assert schedule.is_baseline == all(ratio == 0 for site in SITES for ratio in schedule.ratios(site))

    @pytest.mark.parametrize("selection", SELECTIONS)
    @pytest.mark.parametrize("site", SITES)
    def test_calibration_is_needed_for_calibrated_channels_only(self, selection: str, site: str) -> None:
        schedule = Schedule.uniform(2, selection=selection).with_ratio(1, site, 0.5)
        assert schedule.needs_calibration == (selection == "calibrated" and site in ("fc1", "fc2"))

    @given(RATIOS)
    def test_every_ratio_in_range_is_taken_as_it_is(self, ratio: float) -> None:
        assert check_ratio(ratio, "ratio") == ratio

    def test_the_choices_are_those_documented(self) -> None:
        assert SITES == ("qk", "vo", "fc1", "fc2")
        assert tuple(SELECTIONS) == ("per_batch", "per_image", "calibrated")
        assert tuple(SCORES) == ("geometric_median", "weiszfeld", "l1", "l2")
        assert COUPLINGS == ("coupled", "q_only", "k_only", "proj_only", "average", "uncoupled")
        assert Schedule.uniform(1).selection == "per_image"
        assert Schedule.uniform(1).score == "geometric_median"


class TestBlockKey:
    """What the desk recomputes after an edit hangs on the keys: a field that they miss would show the previous figure."""

    PRUNED = Schedule.uniform(4, 0.25, 0.25, 0.25, 0.25, selection="calibrated")
    CHANGED: ClassVar[dict[str, object]] = {
        "blocks": PRUNED.with_ratio(2, "fc2", 0.5).blocks, "selection": "per_batch", "score": "l1", "coupling": "average", "multiple_of": 4,
        "seed": 5, "class_weight": 9.0, "token_fraction": 1.0, "compensation": FULL,
    }

    @pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Schedule)])
    def test_every_field_of_a_schedule_is_in_it(self, field: str) -> None:
        changed = dataclasses.replace(self.PRUNED, **{field: self.CHANGED[field]})
        assert changed.block_key(2) != self.PRUNED.block_key(2)

    @pytest.mark.parametrize("site", [field.name for field in dataclasses.fields(BlockSchedule)])
    @pytest.mark.parametrize("compensation", [NONE, FULL])
    def test_every_field_of_a_block_is_in_its_own_and_not_in_those_before(self, site: str, compensation: Compensation) -> None:
        before = dataclasses.replace(self.PRUNED, compensation=compensation)
        changed = before.with_ratio(2, site, 0.5)
        differs = [changed.block_key(index) != before.block_key(index) for index in range(4)]
        assert differs == [False, False, True, not compensation.is_none], "refitted blocks depend on every block before them"

    def test_no_setting_matters_where_nothing_is_dropped(self) -> None:
        pruned_last = Schedule.uniform(4, selection="calibrated").with_ratio(3, "qk", 0.5)
        for field in set(self.CHANGED) - {"blocks"}:
            changed = dataclasses.replace(pruned_last, **{field: self.CHANGED[field]})
            assert [changed.block_key(index) == Schedule.uniform(4).block_key(index) for index in range(4)] == [True, True, True, False]

    def test_a_block_that_is_not_there_has_none(self) -> None:
        with pytest.raises(ScheduleError, match="block 4 does not exist; the schedule has blocks 0 to 3"):
            self.PRUNED.block_key(4)
