"""The kept counts that exist, and the ratio to write for each. Imports no torch."""

from functools import cache

from toast_core.schedule.rounding import keep_count


@cache
def legal_stops(width: int, multiple_of: int = 1) -> tuple[tuple[float, int], ...]:
    """Return (ratio, kept) of every count that `keep_count` can give, from everything kept to the fewest.

    The ratio gives its count with any `multiple_of` that divides the count, 1 included.
    """
    kept = [width, *(count for count in range(width - 1, 0, -1) if count % multiple_of == 0)]
    return tuple((stop_ratio(width, count), count) for count in kept)


@cache
def stop_ratio(width: int, kept: int) -> float:
    """The shortest decimal fraction that keeps `kept` of `width` channels: 0.3 for 268 of 384, not 0.30208."""
    if kept == width:
        return 0.0
    for digits in range(1, 10):
        scale: int = 10**digits
        # whole numbers, so that 12 of 20 is 0.4 and not a hair beside it
        ratio = (width - kept) * scale // width / scale
        if ratio and keep_count(width, ratio) == kept:
            return ratio
    return (width - kept) / width


def effective_ratio(width: int, ratio: float, multiple_of: int) -> float:
    """The ratio that drops as much without rounding up: sensitivity is measured without it."""
    return ratio if multiple_of == 1 else stop_ratio(width, keep_count(width, ratio, multiple_of))
