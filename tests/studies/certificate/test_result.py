"""A certificate survives JSON, is sealed by its digest, and is read strictly: one line names what is wrong."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.support.certificates import RECORD
from toast_core.errors import CertificateError
from toast_core.setup import Setup
from toast_core.studies.certificate.result import Asked, Certificate, Input, Speed
from toast_core.studies.latency.result import Latencies


def places(values: object, trail: tuple = ()) -> Iterator[tuple]:
    """Every field of the JSON document, by its way down; the schedule's own fields have defaults."""
    pairs = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, value in pairs:
        if trail == () and key == "schedule":
            continue
        if isinstance(key, str):
            yield (*trail, key)
        yield from places(value, (*trail, key))


def changed(trail: tuple, value: object = None, drop: bool = False) -> dict:
    """The document with one place changed or dropped."""
    document = json.loads(RECORD.to_json())
    inside = document
    for key in trail[:-1]:
        inside = inside[key]
    if drop:
        del inside[trail[-1]]
    else:
        inside[trail[-1]] = value
    return document


def test_the_file_says_what_was_asked_in_one_object():
    assert list(RECORD.to_dict()["asked"].items()) == [
        ("model", "demo_vit"), ("weights", None), ("num_classes", None), ("img_size", None), ("schedule_file", "s.json"),
        ("data", "fashion-mnist"), ("images", 200), ("calibration", "fashion-mnist:calibration"), ("calibration_images", 64),
        ("batch_size", 32),
    ]
    assert RECORD.sha256 == "e79eab3af236d696aa7b4f750309c91e4640b3a3d63955836c9d7dd0dd38472f"


def refusal(document: object) -> str:
    """What is said of a document that is refused; "taken" where it is not."""
    try:
        Certificate.from_dict(document)
    except CertificateError as error:
        return str(error)
    return "taken"


def test_it_survives_json_with_its_seal():
    again = Certificate.from_dict(json.loads(RECORD.to_json()))
    assert again == RECORD and again.digest() == RECORD.sha256 and len(RECORD.sha256) == 64


def test_every_field_that_lacks_is_named():
    trails = [trail for trail in places(RECORD.to_dict()) if trail[:2] != ("setting", "versions") or len(trail) == 2]
    said = {trail: refusal(changed(trail, drop=True)) for trail in trails}
    assert len(trails) > 100
    assert {
        trail: text for trail, text in said.items()
        if not re.match(r"certificate (lacks|version)", text) or str(trail[-1]) not in text or "\n" in text
    } == {}


OF_ANOTHER_KIND = [
    (("forms", 1, "macs"), "60", "certificate forms[1].macs is '60', not a whole number of at least 0 and below 2**63; certify again"),
    (("forms", 1, "macs"), True, "certificate forms[1].macs is True, not a whole number"),
    (("forms", 1, "macs"), -1, "certificate forms[1].macs is -1, not a whole number"),
    (("forms", 1, "macs"), 10**30, "certificate forms[1].macs is a number of many digits, not a whole number"),
    (("forms", 0, "top1", "ci95"), [1.0], "certificate forms[0].top1.ci95 is [1.0], not a list of 2"),
    (("forms", 0, "top1", "value"), None, "certificate forms[0].top1.value is None, not a finite number"),
    (("forms", 0, "top1", "value"), 10**400, "certificate forms[0].top1.value is a number of many digits, not a finite number"),
    (("forms",), {}, "certificate forms is {}, not a list"),
    (("forms", 0, "form"), "compact", "certificate forms are compact, masked, compact, exported, not baseline, masked, compact, exported"),
    (("forms", 3, "file"), None, "certificate forms: file is for exported ones"),
    (("forms", 1, "top1_count"), 201, "certificate image_count is 200, which its counts do not fit"),
    (("image_count",), 0, "certificate image_count is 0"),
    (("asked",), None, "certificate asked is None, not an object"),
    (("asked", "model"), 3, "certificate asked.model is 3, not text"),
    (("asked", "model"), None, "certificate asked.model is None, not text"),
    (("asked", "batch_size"), 0, "certificate asked: batch-size is 0; write a whole number of at least 1"),
    (("setting", "versions"), [], "certificate setting.versions is [], not an object"),
    (("setting", "dtype"), "int4", "certificate setting.dtype is 'int4'"),
    (("schedule", "blocks", 0, "fc2"), 1.5, "certificate schedule: block 0 fc2 ratio is 1.5, not below 1"),
    (("asked", "colour"), "red", "certificate has an unknown field asked.colour"),
    (("version",), 3, "certificate version is 3, this program reads 2; certify again or update it"),
    (("version",), True, "certificate version is True"),
]


def test_what_is_of_another_kind_is_named():
    said = [(message, refusal(changed(trail, value))) for trail, value, message in OF_ANOTHER_KIND]
    assert [(message, text) for message, text in said if not text.startswith(message)] == []


def test_a_list_is_no_certificate():
    with pytest.raises(CertificateError, match="a certificate is a JSON object, not list; write one with toast certify -o FILE"):
        Certificate.from_dict([])


@pytest.mark.parametrize(("trail", "value"), [
    (("forms", 2, "top1_count"), 181), (("image_count",), 201), (("forms", 0, "speeds", 0, "pairs"), 6), (("asked", "batch_size"), 33),
    (("created",), ""), (("schedule", "seed"), 1),
])
def test_any_edit_breaks_the_seal(trail, value):
    edited = Certificate.from_dict(changed(trail, value))
    assert edited.digest() != edited.sha256


def test_a_form_that_is_another_function_is_said():
    masked = replace(RECORD.forms[1], largest_difference=0.25)
    assert RECORD.differing() == []
    assert replace(RECORD, forms=(RECORD.forms[0], masked, *RECORD.forms[2:])).differing() == [
        "masked: a logit differs from the compact model's by 2.5e-01, above the tolerance of 1.0e-03 (0.0001 of the largest logit)"
    ]


def test_speeds_are_those_of_each_side_of_the_pairs():
    found = Latencies.of("float32", False, 10, [(0.2, 0.1), (0.2, 0.1), (0.4, 0.1)])
    assert Speed.of(found).ms == pytest.approx((100, 100, 100)) and Speed.of(found).images_per_s == pytest.approx(100)
    assert Speed.of(found).speedup == pytest.approx((2, 2, 3))
    assert Speed.of_baseline(found).ms == pytest.approx((200, 200, 300)) and Speed.of_baseline(found).images_per_s == pytest.approx(50)


class TestInput:
    """Since version 2 a certificate says how images became input and what the classes are; what was chosen stands in `asked`."""

    CHOSEN = Setup(
        "demo_vit", data="photos", class_order="natural", mean="0.5", crop_pct=0.9, exif_rotate=True, random_classifier=True, in_chans=1,
    )
    RECORD = replace(
        RECORD, version=2, asked=Asked(CHOSEN, "s.json"), input=Input("input_size=(1, 28, 28)", "natural", ("bag", "coat")),
    ).sealed()

    def test_it_survives_json(self) -> None:
        again = Certificate.from_dict(json.loads(self.RECORD.to_json()))
        assert again == self.RECORD and again.asked.setup == self.CHOSEN and again.digest() == self.RECORD.sha256

    @pytest.mark.parametrize(
        ("trail", "value", "says"),
        [
            (("asked", "exif_rotate"), 1, "certificate asked.exif_rotate is 1, not true or false"),
            (("asked", "class_order"), "by size", "certificate asked: class-order is 'by size'; choose from alphabetical, natural"),
            (("input",), None, "certificate lacks input; certify again"),
            (("input", "classes"), "bag", "certificate input.classes is 'bag', not a list"),
            (("version",), 1, "certificate has an unknown field input; certify again"),
        ],
    )
    def test_what_is_refused(self, trail: tuple, value: object, says: str) -> None:
        document = json.loads(self.RECORD.to_json())
        inside = document
        for key in trail[:-1]:
            inside = inside[key]
        inside[trail[-1]] = value
        assert refusal(document).startswith(says)
