"""The verdict on batch composition: when order and batch size matter, and that the sentence says what the rows say."""

import json
from dataclasses import replace

import pytest

from tests.support.compositions import composition_row, composition_rows
from toast_core.studies.composition.result import BATCH_SIZES, CompositionRow, Condition, conditions
from toast_core.studies.composition.verdict import judge


class TestConditions:
    def test_deployment_comes_first_and_the_published_way_second(self) -> None:
        first, second, *rest = conditions(3, 5)
        assert first == Condition("shuffled", 1, 3, 5)
        assert second == Condition("sorted", 256, 3, 5)
        assert len(rest) == len({first, second, *rest}) - 2 == 12

    def test_both_orders_two_shuffles_and_every_size(self) -> None:
        own = {(one.order, one.seed, one.batch_size) for one in conditions(0, 0) if one.token_seed == 0}
        assert own == {(*order, size) for order in (("sorted", 0), ("shuffled", 0), ("shuffled", 1)) for size in BATCH_SIZES}

    def test_another_token_sample_is_a_condition_of_its_own(self) -> None:
        assert [(one.order, one.batch_size, one.seed) for one in conditions(0, 7) if one.token_seed == 8] == [
            ("shuffled", 1, 0), ("sorted", 256, 0)
        ]

    def test_the_largest_seed_has_a_next_one(self) -> None:
        assert {one.token_seed for one in conditions(2**63 - 1, 2**63 - 1)} == {2**63 - 1, 0}


def test_a_row_survives_json() -> None:
    row = composition_row(jaccard_fc1=0.5)
    assert CompositionRow.from_dict(json.loads(json.dumps(row.to_dict()))) == row


class TestSafe:
    def test_nothing_changes(self) -> None:
        verdict = judge(composition_rows())
        assert verdict.safe is True
        assert verdict.sentence == (
            "Safe to deploy: accuracy is 90.1 % (88.1 to 91.8) whatever the order, batch size or shuffle; "
            "100 % of 1,000 images get the same prediction."
        )

    def test_a_flip_that_rounding_explains(self) -> None:
        rows = composition_rows(published={"agreement": 99.9, "top1": 90.0, "top1_delta": -0.1, "delta_ci95": (-0.37, 0.17)})
        assert judge(rows).safe is True
        assert "; 99.9 % of 1,000 images get the same prediction." in judge(rows).sentence

    @pytest.mark.parametrize(("dtype", "least"), [("float32", 99.9), ("float16", 99.0), ("bfloat16", 98.0)])
    def test_how_much_must_agree_depends_on_the_rounding(self, dtype: str, least: float) -> None:
        for agreement, safe in ((least, True), (least - 0.1, False)):
            rows = [replace(row, dtype=dtype) for row in composition_rows(published={"agreement": agreement})]
            assert judge(rows).safe is safe

    def test_attention_alone_has_no_choice_to_make(self) -> None:
        rows = [replace(row, jaccard_fc2=None) for row in composition_rows()]
        assert judge(rows).sentence.startswith(
            "Safe to deploy: only attention is pruned, chosen from weights, so no choice depends on the batch: accuracy is 90.1 % (88.1"
        )

    def test_another_token_sample_is_told_but_not_judged(self) -> None:
        verdict = judge(composition_rows(sample={"top1": 84.9, "top1_delta": -5.2, "delta_ci95": (-6.9, -3.5), "agreement": 91.37}))
        assert verdict.safe is True
        assert verdict.sentence.endswith(
            "The token sample stays as the plan drew it; with another (seed 1) top-1 on single images reads 84.9 % "
            "(-5.2 points, -6.9 to -3.5), and 91.3 % of the predictions stay."
        )


class TestUnsafe:
    def test_the_published_figure_is_too_high(self) -> None:
        off = {"top1": 64.3, "ci95": (61.3, 67.2), "top1_delta": 23.3, "delta_ci95": (21.02, 25.58), "agreement": 58.2}
        rows = composition_rows(deployment={"top1": 41.0, "ci95": (38.0, 44.1)}, published=off)
        assert judge(rows).safe is False
        assert judge(rows).sentence == (
            "Not safe to deploy as evaluated: in class order with batches of 256 top-1 reads 64.3 %, on single images 41.0 %: "
            "the published-style figure is 23.3 points (21.0 to 25.6) too high; predictions depend on the batch: "
            "at worst 58.2 % of 1,000 images keep the one they get alone."
        )

    def test_the_published_figure_is_too_low(self) -> None:
        rows = composition_rows(published={"top1": 81.1, "top1_delta": -9.0, "delta_ci95": (-10.9, -7.1), "agreement": 88.0})
        assert "the published-style figure is 9.0 points (7.1 to 10.9) too low" in judge(rows).sentence

    def test_predictions_that_change_where_accuracy_does_not(self) -> None:
        rows = composition_rows(published={"top1": 90.0, "top1_delta": -0.01, "delta_ci95": (-1.2, 1.18), "agreement": 97.0})
        verdict = judge(rows)
        assert verdict.safe is False
        assert "reads 90.0 %, on single images 90.1 %: no difference can be told (+0.0 points, -1.2 to +1.2); pre" in verdict.sentence
        assert "at worst 97 % of 1,000 images" in verdict.sentence

    def test_another_condition_that_is_off_is_named(self) -> None:
        rows = composition_rows()
        where = next(i for i, row in enumerate(rows) if row.condition == Condition("shuffled", 8, 1, 0))
        rows[where] = replace(rows[where], top1=93.1, top1_delta=3.0, delta_ci95=(1.0, 5.0), agreement=96.0)
        assert judge(rows).safe is False
        assert "; furthest off is top-1 shuffled with batches of 8, 93.1 %: 3.0 points (1.0 to 5.0) too high; " in judge(rows).sentence

    def test_few_images_get_no_decimals_and_their_own_batch_size(self) -> None:
        few = {"images": 40, "ci95": (60.2, 84.8)}
        off = {"top1": 30.0, "top1_delta": -45.0, "delta_ci95": (-61.4, -27.2), "agreement": 40.0}
        rows = [replace(row, images=40) for row in composition_rows(deployment={"top1": 75.0, **few}, published={**few, **off})]
        assert "with batches of 40 top-1 reads 30 %, on single images 75 %: the published-style figure is 45 points (27 to 61) too low" in (
            judge(rows).sentence
        )


class TestUndecided:
    def test_without_deployment(self) -> None:
        assert judge(composition_rows()[1:]).safe is None
        assert judge([]).sentence == "Not decided yet: single images are not measured; run toast analyze again to go on."

    def test_while_conditions_are_missing(self) -> None:
        verdict = judge(composition_rows()[:11])
        assert verdict.safe is None
        assert verdict.sentence == "Not decided yet: 3 of 14 conditions are not measured; run toast analyze again to go on."

    def test_other_channels_and_few_images(self) -> None:
        few = [replace(row, images=345) for row in composition_rows(published={"jaccard_fc2": 0.612})]
        assert judge(few).safe is None
        assert judge(few).sentence == (
            "Not decided yet: the channels kept change with the batch (overlap 0.61 at worst) and 345 images are too few to show that "
            "predictions do not; measure more of them."
        )
        enough = judge([replace(row, images=346) for row in few])
        assert enough.safe is True
        assert enough.sentence.endswith(
            "100 % of 346 images get the same prediction although the channels kept change with the batch (overlap 0.61 at worst)."
        )
        assert judge([replace(row, jaccard_fc2=0.991) for row in few]).safe is True

    def test_one_bad_condition_is_enough(self) -> None:
        assert judge(composition_rows(published={"agreement": 80.0})[:2]).safe is False
