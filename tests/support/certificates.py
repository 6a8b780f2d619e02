"""A certificate made by hand."""

from toast_core.intervals import wilson_percent
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup
from toast_core.studies.certificate.result import FORMS, Asked, Certificate, Digests, Form, Setting, Speed
from toast_core.studies.evaluation.result import Estimate

IMAGES = 200


def form(name: str, right: int = 180, file: str | None = None, **values: object) -> Form:
    """A form of which `right` images are right."""
    accuracy = Estimate(100.0 * right / IMAGES, wilson_percent(right, IMAGES))
    speed = Speed(1, 5, (2.0, 1.9, 2.2), 2.4, 500.0, (1.5, 1.4, 1.6))
    settings = {"sha256": "ab" * 32, "size_bytes": 4000, "params": 1000, "macs": 60, "counted_macs": 58, "same_count": IMAGES} | values
    return Form(
        form=name, file=file, counts={"top1": right, "top5": right}, figures={"top1": accuracy, "top5": accuracy},
        **{"largest_difference": 1e-6, "speeds": (speed,)} | settings,
    )


RECORD = Certificate(
    version=1, created="2026-01-31T12:00:00Z",
    asked=Asked(
        Setup(
            "demo_vit", data="fashion-mnist", images=IMAGES, calibration="fashion-mnist:calibration", calibration_images=64, batch_size=32,
        ),
        "s.json",
    ),
    schedule=Schedule.uniform(2, fc2=0.5, selection="calibrated"),
    digests=Digests("11" * 32, Schedule.uniform(2, fc2=0.5, selection="calibrated").digest(), "22" * 32, "33" * 32),
    setting=Setting("cpu", "a processor", 2, "float32", {"torch": "2.9", "numpy": "2"}),
    image_count=IMAGES, skipped_count=0, largest_logit=10.0,
    forms=(
        *(form(name, largest_difference=0.5 if name == "baseline" else 1e-6) for name in FORMS[:3]),
        form("exported", file="m.safetensors", sha256="cd" * 32),
    ),
).sealed()
