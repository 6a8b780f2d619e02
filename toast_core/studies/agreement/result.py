"""Whether the masked and the compact form of one schedule are one function, and what the compact one saves. Free of torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from toast_core.studies.evaluation.result import Estimate
from toast_core.studies.latency.result import Timing
from toast_core.studies.tasks.registry import TASKS, task_in

# How far two sums of the same products in another order may be apart, as a share of the largest logit. float32 carries 7 digits, of
# which a network of some ten blocks leaves four or five; half precision carries 3 (float16) and 2 (bfloat16).
TOLERANCE_SHARE = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1, "float64": 1e-10}
_PLAIN = {
    int: ("images", "batch_size", "threads", "file_bytes"), float: ("largest_difference", "largest_logit"),
    str: ("model", "selection", "schedule", "dtype", "device", "processor", "file_sha256"),
}

_READ_APART = ("task", "headline", "data", "classes")


@dataclass(frozen=True)
class Agreement:
    """What applying one schedule gave: accuracy of three executions on the same images, cost, time, and the file that holds the result.

    model, selection, schedule   what was pruned, how channels are chosen, digest of the schedule
    images, batch_size           images compared, and how many at a time
    task              what the model is for; the files of classification name none
    headline          by execution (baseline, masked, compact): the task's first figure with its interval, such as top-1 in percent
    delta             of it, compact minus baseline, with the paired interval
    same              images that masked and compact answer alike; None where nothing is answered
    largest_difference, largest_logit   of an output of masked to compact, and of masked, over all images
    macs, params      by execution (baseline, compact): multiply-accumulates of an image from shapes, parameters as counted
    timings           at several batch sizes
    dtype, device, processor, threads, versions   where it was measured; versions by package
    file_sha256, file_bytes   of the .safetensors file
    data, classes     the image set's name, and its classes by label; nothing in older records
    """

    model: str
    selection: str
    schedule: str
    images: int
    batch_size: int
    headline: dict[str, Estimate]
    delta: Estimate
    same: int | None
    largest_difference: float
    largest_logit: float
    macs: dict[str, int]
    params: dict[str, int]
    timings: tuple[Timing, ...]
    dtype: str
    device: str
    processor: str
    threads: int
    versions: dict[str, str]
    file_sha256: str
    file_bytes: int
    task: str = "classification"
    data: str = ""
    classes: tuple[str, ...] = ()

    @property
    def tolerance(self) -> float:
        """The largest difference of an output that rounding explains."""
        return TOLERANCE_SHARE[self.dtype] * self.largest_logit

    @property
    def is_equal(self) -> bool:
        """Whether masked and compact are one function as far as these images tell: no output differs by more than rounding."""
        return self.largest_difference <= self.tolerance

    def sentence(self) -> str:
        """The verdict in plain words, with the figures that it rests on."""
        output = TASKS[self.task].output
        answers = "" if self.same is None else f", and {self.same:,} of {self.images:,} predictions are the same"
        measured = (
            f"on {self.images:,} images the largest difference of a {output} is {self.largest_difference:.1e}, {{}} the tolerance of "
            f"{self.tolerance:.1e} ({TOLERANCE_SHARE[self.dtype]:g} of the largest {output}, {self.largest_logit:.1f}, for rounding in "
            f"{self.dtype}){answers}."
        )
        if self.is_equal:
            return f"Masked equals compact: {measured.format('within')}"
        hint = " The file holds the compact model: what was measured of it holds for the file."
        if self.selection != "calibrated":
            hint = " Channels chosen anew for every image can change places where two scores tie to within rounding." + hint
        return f"Masked and compact differ: {measured.format('above')}{hint}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        plain, task = asdict(self), TASKS[self.task]
        plain[task.figures[0].key] = {name: estimate.to_dict() for name, estimate in self.headline.items()}
        for name in ("headline", *(["task"] if not task.details else [])):
            del plain[name]
        plain |= {"delta": self.delta.to_dict(), "timings": [timing.to_dict() for timing in self.timings]}
        return plain | {"classes": list(self.classes)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Agreement":
        """Read `to_dict`'s values back, from JSON too, which others may have written.

        Raises:
            KeyError, TypeError, ValueError: a field is missing or of another kind.
        """
        task = task_in(values)
        read = {field.name: values[field.name] for field in fields(cls) if field.name not in _READ_APART} | {"task": task.name}
        for kind, names in _PLAIN.items():
            read |= {name: kind(read[name]) for name in names}
        read["same"] = None if task.details and read["same"] is None else int(read["same"])
        for name in ("macs", "params"):
            read[name] = {execution: int(read[name][execution]) for execution in ("baseline", "compact")}
        if read["dtype"] not in TOLERANCE_SHARE:
            raise ValueError(f"dtype {read['dtype']!r:.40}")
        headline = values[task.figures[0].key]
        read["headline"] = {execution: _estimate(headline[execution]) for execution in ("baseline", "masked", "compact")}
        read["delta"] = _estimate(read["delta"])
        read["versions"] = {str(name): str(value) for name, value in dict(read["versions"]).items()}
        read["data"], read["classes"] = str(values.get("data", "")), tuple(map(str, values.get("classes", ())))
        read["timings"] = tuple(Timing.from_dict(timing) for timing in read["timings"])
        return cls(**read)


def _estimate(values: Mapping[str, Any]) -> Estimate:
    low, high = values["ci95"]
    return Estimate(float(values["value"]), (float(low), float(high)))
