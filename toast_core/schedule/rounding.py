"""The only rounding rule: from a ratio of channels to drop to a whole number of channels to keep."""

import math

_DECIMAL_SLACK = 1e-9  # 80 * (1 - 0.9) is 7.999...98 in binary; a ratio of 0.9 means 8 of 80 kept


def keep_count(width: int, ratio: float, multiple_of: int = 1) -> int:
    """Return how many of `width` channels stay when the fraction `ratio` is dropped.

    floor(width * (1 - ratio)), at least 1 (paper, sections 3.2 and 3.3), then rounded up to a multiple of `multiple_of`
    but never past `width`. A ratio of 0 keeps every channel.
    """
    if ratio == 0:
        return width
    kept = max(1, math.floor(width * (1.0 - ratio) + _DECIMAL_SLACK))
    return min(width, -(-kept // multiple_of) * multiple_of)
