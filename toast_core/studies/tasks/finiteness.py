"""Whether a model's numbers are finite, asked in one place: an accuracy or a neighbour from NaN would look like any other."""

import numpy as np
import torch

from toast_core.errors import PlanError

_WIDEST = (torch.float32, torch.float64)


def check_finite(values: torch.Tensor, what: str, index: np.ndarray | None = None) -> None:
    """Refuse a batch's output (B, ...) that has a number which is not finite.

    Args:
        values: in the dtype that they were computed in.
        what: what they are, in the plural, for example `logits`.
        index: the images' numbers in the data set (B,), where they are known.

    Raises:
        PlanError: one is NaN or infinite; the line says of how many images, which is the first, and in which dtype.
    """
    broken = ~torch.isfinite(values).flatten(1).all(1)
    count = int(broken.sum())
    if not count:
        return
    first = f", first image {int(index[int(broken.nonzero()[0])])}" if index is not None else ""
    dtype = str(values.dtype).removeprefix("torch.")
    wider = "" if values.dtype in _WIDEST else "use dtype float32 (--dtype float32), "
    raise PlanError(
        f"the {what} of {count} of {len(values)} images are not finite numbers{first}, computed in {dtype}; "
        f"{wider}check the weights, or choose smaller ratios"
    )
