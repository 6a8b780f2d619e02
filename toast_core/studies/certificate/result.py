"""What a certificate says, read strictly and sealed by its own digest. Free of torch."""

import hashlib
import html
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, get_type_hints

from toast_core.errors import CertificateError, SetupError
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup
from toast_core.studies.agreement.result import TOLERANCE_SHARE
from toast_core.studies.certificate.fields import read_fields, read_object
from toast_core.studies.evaluation.result import Estimate
from toast_core.studies.latency.result import Latencies
from toast_core.studies.tasks.base import Task
from toast_core.studies.tasks.registry import task_of_row

VERSION = 2
VERSIONS = (1, VERSION)  # 1 does not say how images became input, nor what the classes are
FORMS = ("baseline", "masked", "compact", "exported")
# the fields of the file's object `asked`, in its order: those of a Setup, and the schedule's file
_ASKED = {
    "model": str, "weights": str | None, "num_classes": int | None, "img_size": int | None, "schedule_file": str, "data": str,
    "images": int | None, "calibration": str | None, "calibration_images": int, "batch_size": int,
}
# those that stand there only where they were chosen
_ASKED_IF_CHOSEN = {
    "in_chans": int, "use_ema": bool, "random_classifier": bool, "mean": str, "std": str, "crop_pct": float, "crop_mode": str,
    "interpolation": str, "exif_rotate": bool, "class_order": str, "class_map": str, "labels": str, "task": str, "class_embeddings": str,
}


@dataclass(frozen=True)
class Asked:
    """What is certified: the setup, of which the fields in `_ASKED` matter, and where the schedule was read.

    In the file both are one object in the words of the command line. There model and data are always named; weights, num_classes and
    img_size are None for the model's own, images is None for all, and calibration is None where the schedule needs none.
    """

    setup: Setup
    schedule_file: str

    def to_dict(self) -> dict[str, object]:
        """The object in the file."""
        always = {name: self.schedule_file if name == "schedule_file" else getattr(self.setup, name) for name in _ASKED}
        chosen = {name: value for name in _ASKED_IF_CHOSEN if (value := getattr(self.setup, name))}
        return always | chosen

    @classmethod
    def from_fields(cls, value: object, where: str) -> "Asked":
        """Read the object in the file, whose place there is `where`.

        Raises:
            CertificateError: a field is missing, unknown, of another kind, or what no setup can have.
        """
        chosen = {name: kind for name, kind in _ASKED_IF_CHOSEN.items() if isinstance(value, Mapping) and name in value}
        found = read_object(_ASKED | chosen, value, where)
        schedule_file = found.pop("schedule_file")
        try:
            return cls(Setup(**found), schedule_file)
        except SetupError as error:
            raise CertificateError(f"certificate {where}: {error}") from error


@dataclass(frozen=True)
class Input:
    """How images became the model's input, and its classes: names by output, the order that numbered their folders, None for no such."""

    transform: str
    class_order: str | None
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Digests:
    """sha256 of what goes in: every tensor of the baseline, the schedule, and the images used with their labels, in their order."""

    weights: str
    schedule: str
    data: str
    calibration: str | None


@dataclass(frozen=True)
class Setting:
    """The machine and the software that it was measured with."""

    device: str
    processor: str
    threads: int
    dtype: str
    versions: dict[str, str]

    @property
    def kind(self) -> tuple[str, ...]:
        """What two runs must share for their sums to be rounded alike."""
        versions = (self.versions.get("torch", ""), self.versions.get("numpy", ""))
        return (self.device.partition(":")[0], self.processor, str(self.threads), self.dtype, *versions)


@dataclass(frozen=True)
class Speed:
    """Forwards of one form, in pairs with the baseline.

    ms                median, first and third quartile of the milliseconds of a forward
    p90_ms            of the same
    images_per_s      at the median
    speedup           baseline over this form, of each pair: median, first and third quartile
    """

    batch_size: int
    pairs: int
    ms: tuple[float, float, float]
    p90_ms: float
    images_per_s: float
    speedup: tuple[float, float, float]

    @classmethod
    def of(cls, found: Latencies) -> "Speed":
        """The speed of the second model of the pairs, which is the form."""
        timing = found.timing
        throughput = timing.throughput(timing.compact_ms)[0]
        return cls(timing.batch_size, timing.pairs, timing.compact_ms, found.compact_percentiles_ms[1], throughput, timing.speedup)

    @classmethod
    def of_baseline(cls, found: Latencies) -> "Speed":
        """The speed of the first model of the pairs, which is the baseline."""
        timing = found.timing
        throughput = timing.throughput(timing.baseline_ms)[0]
        return cls(timing.batch_size, timing.pairs, timing.baseline_ms, found.baseline_percentiles_ms[1], throughput, (1.0, 1.0, 1.0))


@dataclass(frozen=True)
class Form:
    """What was measured of one way in which the model runs.

    form                one of FORMS
    file                of an exported form; None for the others
    sha256              of the file (of a loader with its program: of both digests); of every tensor for the others
    size_bytes          of the file, with a loader's program; of all tensors for the others
    params              None where the file is not a model of this package
    macs                multiply-accumulates of one image from shapes; of a file they are those of the compact model
    counted_macs        as PyTorch counts the operators of one forward; None where they do not run in PyTorch
    counts              images that are right, by the figure that they are a share of, such as top1; in the file each is top1_count
    figures             by key, what the task certifies, with intervals at 95 %; in the file each stands by itself
    same_count          images that are answered as by the compact model; None where nothing is answered
    largest_difference  of an output to the compact model's, over all images
    speeds              by batch size
    """

    form: str
    file: str | None
    sha256: str
    size_bytes: int
    params: int | None
    macs: int
    counted_macs: int | None
    counts: dict[str, int]
    figures: dict[str, Estimate]
    same_count: int | None
    largest_difference: float
    speeds: tuple[Speed, ...]

    @property
    def name(self) -> str:
        """For people: `compact`, or `exported model.onnx`."""
        return f"{self.form} {self.file}" if self.file else self.form

    @property
    def task(self) -> Task:
        """The task whose figures these are."""
        return task_of_row(self.figures)

    def to_dict(self) -> dict[str, Any]:
        """The object in the file, counts and figures among the other fields."""
        own = asdict(self)
        counts, figures = own.pop("counts"), own.pop("figures")
        flat = {**{f"{key}_count": count for key, count in counts.items()}, **figures}
        last = {name: own.pop(name) for name in ("same_count", "largest_difference", "speeds")}
        return own | flat | last

    @classmethod
    def from_fields(cls, value: object, where: str) -> "Form":
        """Read the object in the file, whose place there is `where`.

        Raises:
            CertificateError: a field is missing, unknown or of another kind.
        """
        task = task_of_row(value if isinstance(value, Mapping) else {})
        shares = [figure.key for figure in task.figures if figure.key in task.certified and figure.unit == "%"]
        kinds: dict[str, Any] = {name: kind for name, kind in get_type_hints(cls).items() if name not in ("counts", "figures")}
        known: dict[str, Any] = {f"{key}_count": int for key in shares} | dict.fromkeys(task.certified, Estimate)
        if task.details:  # of features, what is not known is left out
            known = {name: kind for name, kind in known.items() if isinstance(value, Mapping) and name in value}
        else:
            kinds["same_count"] = int
        found = read_object(kinds | known, value, where)
        counts = {key: found.pop(f"{key}_count") for key in shares if f"{key}_count" in known}
        figures = {key: found.pop(key) for key in task.certified if key in known}
        return cls(**found, counts=counts, figures=figures)


@dataclass(frozen=True)
class Certificate:
    """Baseline, masked, compact and exported forms of one schedule on the same images.

    created        UTC
    schedule       as applied
    image_count    images measured; skipped_count could not be read
    largest_logit  of the masked model, by absolute value: what tolerances are shares of
    input          None in certificates of version 1
    sha256         of all the rest; see `sealed`
    """

    version: int
    created: str
    asked: Asked
    schedule: Schedule
    digests: Digests
    setting: Setting
    image_count: int
    skipped_count: int
    largest_logit: float
    forms: tuple[Form, ...]
    input: Input | None = None
    sha256: str = ""

    @property
    def tolerance(self) -> float:
        """The largest difference of an output that rounding explains."""
        return TOLERANCE_SHARE[self.setting.dtype] * self.largest_logit

    def digest(self) -> str:
        """sha256 of the canonical JSON of everything but `sha256`."""
        values = {name: value for name, value in self.to_dict().items() if name != "sha256"}
        return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()).hexdigest()

    def sealed(self) -> "Certificate":
        """A copy whose `sha256` is its own digest."""
        return replace(self, sha256=self.digest())

    def differing(self) -> list[str]:
        """One line for each form that is no longer the compact model: an output differs by more than rounding explains."""
        return [
            f"{form.name}: a {form.task.output} differs from the compact model's by {form.largest_difference:.1e}, above the tolerance of "
            f"{self.tolerance:.1e} ({TOLERANCE_SHARE[self.setting.dtype]:g} of the largest {form.task.output})"
            for form in self.forms
            if form.form != "baseline" and not form.largest_difference <= self.tolerance
        ]

    def __repr__(self) -> str:
        """For example `Certificate(demo_vit, schedule 0123abcd, 10000 images, top-1 %: baseline 91.53, masked 91.50, compact 91.50)`."""
        figure = self.forms[0].task.figures[0]
        forms = ", ".join(f"{form.name} {figure.value(form.figures[figure.key])}" for form in self.forms)
        apart = f"; {len(self.differing())} differ from compact" if self.differing() else ""
        return (
            f"Certificate({self.asked.setup.model}, schedule {self.digests.schedule[:8]}, {self.image_count} images, "
            f"{figure.heading}: {forms}{apart})"
        )

    def _repr_html_(self) -> str:
        """For a notebook: the line of `repr`, and a row a form."""
        task = self.forms[0].task
        figure = task.figures[0]
        table = [
            (form.name, figure.value(form.figures[figure.key]), figure.between(form.figures[figure.key]),
             f"{form.macs / 1e9:.4f}", f"{form.size_bytes / 1e6:.2f}", f"{form.largest_difference:.1e}")
            for form in self.forms
        ]
        rows = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in table)
        names = ("", figure.heading, "95 %", "GMACs", "MB", f"largest difference of a {task.output} to compact")
        heads = "".join(f"<th>{name}</th>" for name in names)
        return f"<p>{html.escape(repr(self))}</p><table><tr>{heads}</tr>{rows}</table>"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        own = asdict(self) | {"asked": self.asked.to_dict(), "schedule": self.schedule.to_dict()}
        own["forms"] = [form.to_dict() for form in self.forms]
        values: dict[str, Any] = json.loads(json.dumps(own, allow_nan=False))
        if self.input is None:
            del values["input"]
        return values

    def to_json(self) -> str:
        """The text of a certificate file."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_dict(cls, values: object) -> "Certificate":
        """Read `to_dict`'s values back, which others may have written. Whether the seal is right is for the check to say.

        Raises:
            CertificateError: no object, another version, or a field that is missing, unknown or of another kind.
        """
        if not isinstance(values, Mapping):
            raise CertificateError(f"a certificate is a JSON object, not {type(values).__name__}; write one with toast certify -o FILE")
        version = values.get("version")
        if type(version) is not int or version not in VERSIONS:
            raise CertificateError(f"certificate version is {version!r:.40}, this program reads {VERSION}; certify again or update it")
        if (version == VERSION) == (values.get("input") is None):
            raise CertificateError(f"certificate {'lacks' if version == VERSION else 'has an unknown field'} input; certify again")
        found: Certificate = read_fields(cls, {"input": None, **values}, "")
        names = tuple(form.form for form in found.forms)
        if names[:3] != FORMS[:3] or set(names[3:]) - {"exported"}:
            raise CertificateError(f"certificate forms are {', '.join(names)[:80] or 'none'}, not {', '.join(FORMS)}; certify again")
        if any((form.file is None) == (form.form == "exported") for form in found.forms):
            raise CertificateError("certificate forms: file is for exported ones, all of them and no other; certify again")
        if found.setting.dtype not in TOLERANCE_SHARE:
            raise CertificateError(f"certificate setting.dtype is {found.setting.dtype!r:.40}; certify again")
        if len({(form.task.name, *form.figures) for form in found.forms if form.form != "exported"}) > 1:
            raise CertificateError("certificate forms state different figures; certify again")
        counts = [count for form in found.forms for count in (*form.counts.values(), form.same_count or 0)]
        if not found.image_count or max(counts) > found.image_count:
            raise CertificateError(f"certificate image_count is {found.image_count}, which its counts do not fit; certify again")
        return found
