"""What analyses return: frozen, free of torch, and the same after a trip through JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

REDUNDANCY_SITES = ("hidden", "fc1_input")
RELATIVE_THRESHOLD = "0.01rms"
ABSOLUTE_THRESHOLDS = {"1e-2": 1e-2, "1e-3": 1e-3}
THRESHOLDS = (RELATIVE_THRESHOLD, *ABSOLUTE_THRESHOLDS)
RANK_VARIANTS = ("singular_values", "covariance_eigenvalues")


def fraction_key(fraction: float) -> str:
    """The key of a dropped fraction in `RedundancyRow.r2`: 0.3 is "0.3" however it was computed."""
    return f"{fraction:.6g}"


@dataclass(frozen=True)
class RedundancyRow:
    """How redundant the C channels of one feed-forward site of one block are, over all tokens of the images (method.md, section 3).

    block              counted through the stages
    site               `hidden`: activations between GELU and fc2; `fc1_input`: the residual stream after attention, before norm2
    images, tokens     how many were measured; tokens are all of a block's tokens, class and register tokens included
    rms                root mean square of the activations
    tau                what `0.01rms` stands for: the largest threshold at or below 0.01 * rms for which counts are exact
    sparsity           by threshold, fraction of activations with |x| <= threshold
    dead               by threshold, fraction of channels with mean |x| <= threshold
    sparsity_curve     (multiple of rms, threshold used, fraction of |x| <= it), for a slider; thresholds as exact as `tau`
    effective_rank     by variant, {"absolute": exp(entropy), "relative": that / C}
    r2                 by dropped fraction ("0.05" ...), {"in_sample": fitted on and measured over all tokens, "held_out": fitted on
                       images at even positions, measured on those at odd ones}
    spectrum           eigenvalues of the channels' covariance, descending, (C,)
    importance         the score that calibrated TCS ranks channels by, (C,)
    channel_mean_abs   mean |x| of every channel, (C,)
    convergence        the same figures from the even half alone: images, tokens, sparsity, tau, dead, effective_rank, and r2, whose
                       `held_out` has the halves' roles swapped
    """

    block: int
    site: str
    images: int
    tokens: int
    rms: float
    tau: float
    sparsity: dict[str, float]
    dead: dict[str, float]
    sparsity_curve: tuple[tuple[float, float, float], ...]
    effective_rank: dict[str, dict[str, float]]
    r2: dict[str, dict[str, float]]
    spectrum: tuple[float, ...]
    importance: tuple[float, ...]
    channel_mean_abs: tuple[float, ...]
    convergence: dict[str, Any]

    @property
    def channels(self) -> int:
        """C: how many channels the site has."""
        return len(self.spectrum)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RedundancyRow":
        """Read `to_dict`'s values back, from JSON too.

        Raises:
            KeyError: a field is missing.
        """
        row = {f.name: values[f.name] for f in fields(cls)}
        for name in ("spectrum", "importance", "channel_mean_abs"):
            row[name] = tuple(row[name])
        row["sparsity_curve"] = tuple(tuple(point) for point in row["sparsity_curve"])
        return cls(**row)
