"""Whether the masked and the compact form of one schedule are one function, and what the compact one saves. Free of torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from toast_core.studies.evaluation.result import Estimate
from toast_core.studies.latency.result import Timing

# How far two sums of the same products in another order may be apart, as a share of the largest logit. float32 carries 7 digits, of
# which a network of some ten blocks leaves four or five; half precision carries 3 (float16) and 2 (bfloat16).
TOLERANCE_SHARE = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1, "float64": 1e-10}
_PLAIN = {
    int: ("images", "batch_size", "same", "threads", "file_bytes"), float: ("largest_difference", "largest_logit"),
    str: ("model", "selection", "schedule", "dtype", "device", "processor", "file_sha256"),
}


@dataclass(frozen=True)
class Agreement:
    """What applying one schedule gave: accuracy of three executions on the same images, cost, time, and the file that holds the result.

    model, selection, schedule   what was pruned, how channels are chosen, digest of the schedule
    images, batch_size           images compared, and how many at a time
    top1              by execution (baseline, masked, compact): percent with its Wilson interval
    delta             top-1 of compact minus baseline, in points, with the paired interval
    same              images that masked and compact give the same class
    largest_difference, largest_logit   of masked and compact, and of masked, over all images and classes
    macs, params      by execution (baseline, compact): multiply-accumulates of an image from shapes, parameters as counted
    timings           at several batch sizes
    dtype, device, processor, threads, versions   where it was measured; versions by package
    file_sha256, file_bytes   of the .safetensors file
    """

    model: str
    selection: str
    schedule: str
    images: int
    batch_size: int
    top1: dict[str, Estimate]
    delta: Estimate
    same: int
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

    @property
    def tolerance(self) -> float:
        """The largest difference of a logit that rounding explains."""
        return TOLERANCE_SHARE[self.dtype] * self.largest_logit

    @property
    def is_equal(self) -> bool:
        """Whether masked and compact are one function as far as these images tell: no logit differs by more than rounding."""
        return self.largest_difference <= self.tolerance

    def sentence(self) -> str:
        """The verdict in plain words, with the figures that it rests on."""
        measured = (
            f"on {self.images:,} images the largest difference of a logit is {self.largest_difference:.1e}, {{}} the tolerance of "
            f"{self.tolerance:.1e} ({TOLERANCE_SHARE[self.dtype]:g} of the largest logit, {self.largest_logit:.1f}, for rounding in "
            f"{self.dtype}), and {self.same:,} of {self.images:,} predictions are the same."
        )
        if self.is_equal:
            return f"Masked equals compact: {measured.format('within')}"
        hint = " The file holds the compact model: its accuracy is the one of the file."
        if self.selection != "calibrated":
            hint = " Channels chosen anew for every image can change places where two scores tie to within rounding." + hint
        return f"Masked and compact differ: {measured.format('above')}{hint}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        plain = asdict(self) | {"top1": {name: estimate.to_dict() for name, estimate in self.top1.items()}}
        return plain | {"delta": self.delta.to_dict(), "timings": [timing.to_dict() for timing in self.timings]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Agreement":
        """Read `to_dict`'s values back, from JSON too, which others may have written.

        Raises:
            KeyError, TypeError, ValueError: a field is missing or of another kind.
        """
        read = {field.name: values[field.name] for field in fields(cls)}
        for kind, names in _PLAIN.items():
            read |= {name: kind(read[name]) for name in names}
        for name in ("macs", "params"):
            read[name] = {execution: int(read[name][execution]) for execution in ("baseline", "compact")}
        if read["dtype"] not in TOLERANCE_SHARE:
            raise ValueError(f"dtype {read['dtype']!r:.40}")
        read["top1"] = {execution: _estimate(read["top1"][execution]) for execution in ("baseline", "masked", "compact")}
        read["delta"] = _estimate(read["delta"])
        read["versions"] = {str(name): str(value) for name, value in dict(read["versions"]).items()}
        read["timings"] = tuple(Timing.from_dict(timing) for timing in read["timings"])
        return cls(**read)


def _estimate(values: Mapping[str, Any]) -> Estimate:
    low, high = values["ci95"]
    return Estimate(float(values["value"]), (float(low), float(high)))
