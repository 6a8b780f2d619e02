"""What holds passes, what does not is one line; counts are equal on the same kind of machine and within their intervals elsewhere."""

from dataclasses import replace

import pytest

from tests.support.certificates import IMAGES, RECORD, form
from toast_core.studies.certificate.check import broken_seal, changed_inputs, failed_claims
from toast_core.studies.certificate.result import Certificate

FILES = {"m.safetensors": "cd" * 32}
ELSEWHERE = replace(RECORD.setting, processor="another processor")


def found(index: int, **values: object) -> Certificate:
    """A new measurement in which one form differs."""
    forms = list(RECORD.forms)
    forms[index] = replace(forms[index], **values)
    return replace(RECORD, forms=tuple(forms))


class TestSeal:
    def test_an_edit_is_said(self) -> None:
        assert broken_seal(RECORD) == []
        (line,) = broken_seal(replace(RECORD, image_count=IMAGES + 1))
        assert line.startswith("certificate: its sha256 is ") and line.endswith("it was edited after it was written")


class TestInputs:
    def test_the_same_ones_pass(self) -> None:
        assert changed_inputs(RECORD, RECORD.digests, RECORD.schedule, FILES) == []

    @pytest.mark.parametrize(("name", "reason"), [
        ("weights", "at least one weight was changed"),
        ("data", "the images or their labels were swapped, changed or drawn otherwise"),
        ("calibration", "the calibration images were swapped, changed or drawn otherwise"),
    ])
    def test_another_one_is_named(self, name: str, reason: str) -> None:
        (line,) = changed_inputs(RECORD, replace(RECORD.digests, **{name: "ff" * 32}), RECORD.schedule, FILES)
        assert line.startswith(f"{name}: sha256 is ffffffffffff, certified ") and line.endswith(reason)

    @pytest.mark.parametrize(("schedule", "reason"), [
        (RECORD.schedule.with_ratio(1, "fc2", 0.4), "block 1 fc2 is 0.4, certified 0.5"),
        (RECORD.schedule.with_ratio(1, "fc2", 0.4).with_ratio(1, "qk", 0.1), "block 1 qk is 0.1, certified 0, and 1 more"),
        (replace(RECORD.schedule, seed=3), "seed differs"),
        (replace(RECORD.schedule, blocks=RECORD.schedule.blocks[:1]), "it has 1 blocks, certified 2"),
    ])
    def test_an_edited_schedule_says_where(self, schedule: object, reason: str) -> None:
        (line,) = changed_inputs(RECORD, replace(RECORD.digests, schedule=schedule.digest()), schedule, FILES)
        assert line.startswith("schedule: sha256 is ") and line.endswith(f": {reason}")

    def test_an_edited_copy_inside_the_certificate_is_said(self) -> None:
        edited = replace(RECORD, digests=replace(RECORD.digests, schedule="ee" * 32))
        (line,) = changed_inputs(edited, RECORD.digests, RECORD.schedule, FILES)
        assert line.endswith("the certificate's own schedule was edited")

    def test_another_file_is_named(self) -> None:
        (line,) = changed_inputs(RECORD, RECORD.digests, RECORD.schedule, {"other.safetensors": "00" * 32})
        assert line == f"exported other.safetensors: sha256 is {'0' * 12}, certified {'cd' * 6}: the file was changed"


class TestClaims:
    def test_the_same_measurement_passes_here_and_elsewhere(self) -> None:
        assert failed_claims(RECORD, RECORD) == [] == failed_claims(RECORD, replace(RECORD, setting=ELSEWHERE))

    def test_times_are_no_claims(self) -> None:
        assert failed_claims(RECORD, found(2, speeds=())) == []

    @pytest.mark.parametrize(("name", "value", "line"), [
        ("params", 999, "compact: params is 999, certified 1000"),
        ("size_bytes", 4001, "compact: size bytes is 4001, certified 4000"),
        ("macs", 61, "compact: macs is 61, certified 60"),
        ("counted_macs", None, "compact: counted macs is None, certified 58"),
    ])
    def test_what_shapes_decide_is_exact_everywhere(self, name: str, value: object, line: str) -> None:
        assert failed_claims(RECORD, found(2, **{name: value})) == [line]
        assert failed_claims(RECORD, replace(found(2, **{name: value}), setting=ELSEWHERE)) == [line]

    @pytest.mark.parametrize("name", ["top1", "top5", "same"])
    def test_a_count_is_exact_here_and_within_its_interval_elsewhere(self, name: str) -> None:
        form = RECORD.forms[3]
        was = form.same_count if name == "same" else form.counts[name]

        def counted(images: int) -> Certificate:
            return found(3, **({"same_count": images} if name == "same" else {"counts": form.counts | {name: images}}))

        near, far, label = counted(was - 1), counted(was - 40), f"{name} count"
        assert failed_claims(RECORD, near) == [f"exported m.safetensors: {label} is {was - 1} of 200 images, certified {was}"]
        assert failed_claims(RECORD, replace(near, setting=ELSEWHERE)) == []
        assert len(failed_claims(RECORD, replace(far, setting=ELSEWHERE))) == 1

    def test_pruned_weights_are_exact_here_and_free_to_round_elsewhere(self) -> None:
        other = found(2, sha256="00" * 32)
        assert failed_claims(RECORD, other) == [f"compact: sha256 is {'0' * 12}, certified {'ab' * 6}: pruning gave other weights"]
        assert failed_claims(RECORD, replace(other, setting=ELSEWHERE)) == []

    def test_logits_may_differ_by_rounding(self) -> None:
        assert failed_claims(RECORD, found(1, largest_difference=9e-4)) == []
        assert failed_claims(RECORD, found(1, largest_difference=2e-3)) == [
            "masked: a logit differs from the compact model's by 2.0e-03, certified 1.0e-06 (1.0e-03 more is rounding)"
        ]
        assert len(failed_claims(RECORD, found(0, largest_difference=0.4))) == 1
        assert failed_claims(RECORD, replace(found(0, largest_difference=0.4), setting=ELSEWHERE)) == []

    def test_a_forged_largest_logit_widens_nothing(self) -> None:
        forged = replace(RECORD, largest_logit=1e6)
        lines = failed_claims(forged, found(1, largest_difference=2e-3))
        assert len(lines) == 2 and lines[1] == "masked: the largest logit is 10, certified 1e+06"

    def test_an_interval_that_does_not_follow_from_its_count(self) -> None:
        flattered = replace(RECORD.forms[2], figures=RECORD.forms[2].figures | {"top1": form("compact", 190).figures["top1"]})
        record = replace(RECORD, forms=(*RECORD.forms[:2], flattered, RECORD.forms[3]))
        assert failed_claims(record, RECORD) == ["compact: top1 of 95.00 % with its interval is not that of 180 images of 200"]

    def test_images_that_can_no_longer_be_read(self) -> None:
        (line,) = failed_claims(RECORD, replace(RECORD, image_count=199, skipped_count=1))
        assert line == "images: 199 could be read and 1 not, certified 200 and 0"
