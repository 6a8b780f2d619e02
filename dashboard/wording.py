"""How figures are written: with a unit, a badge, and no more digits than their interval supports."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from toast_core import intervals
from toast_core.studies.evaluation.result import Estimate, Outcomes
from toast_core.studies.tasks.base import Figure

BADGES = {
    "computed": ":blue-badge[computed]", "measured": ":green-badge[measured]", "predicted": ":violet-badge[predicted]",
    "reported": ":orange-badge[reported]",
}
TOP1 = Outcomes.FIGURES[0]
_MINUS = "\N{MINUS SIGN}"
_LEAST = 1e-6
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#$:!~|&+])")


def plain(name: str) -> str:
    """A name that others chose, such as a folder's, for a place that reads Markdown: every character stands for itself."""
    return _MARKUP.sub(r"\\\1", name)


def read_estimate(values: Mapping) -> Estimate:
    """An Estimate from its JSON values."""
    return Estimate.from_dict(values)


def decimals(estimate: Estimate, most: int = 3) -> int:
    """How many decimals an estimate carries, up to `most`; `most` where its interval has no width."""
    low, high = estimate.ci95
    return most if low == high else intervals.decimals(estimate.ci95, most=most)


def least_decimals(figure: Figure) -> int:
    """How many decimals a task's figure has however wide its interval is: one for percents and points."""
    return figure.digits - (figure.unit == "%")


def figure_decimals(estimate: Estimate, figure: Figure) -> int:
    """How many decimals a task's figure carries: `least_decimals`, and more where its interval is narrower than the last of them."""
    return intervals.decimals(estimate.ci95, least_decimals(figure))


def accuracy(estimate: Estimate, figure: Figure = TOP1) -> str:
    """An accuracy, or another task's headline, with a decimal at least, for example `88.1 %`."""
    return f"{estimate.value:.{figure_decimals(estimate, figure)}f} {figure.unit}".rstrip()


def accuracy_interval(estimate: Estimate, figure: Figure = TOP1) -> str:
    """The interval of an accuracy, or of another task's headline, for example `86.0 to 90.2 %`."""
    (low, high), digits = estimate.ci95, figure_decimals(estimate, figure)
    return f"{low:.{digits}f} to {high:.{digits}f} {figure.unit}".rstrip()


def points(estimate: Estimate, figure: Figure = TOP1) -> str:
    """A difference of accuracies or other headlines, for example `-1.2 points`, with a sign and without a minus zero."""
    return f"{signed(estimate.value, figure_decimals(estimate, figure))} {figure.change_unit}".rstrip()


def points_interval(estimate: Estimate, figure: Figure = TOP1) -> str:
    """The interval of a difference of accuracies or other headlines, for example `-2.1 to -0.3`."""
    (low, high), digits = estimate.ci95, figure_decimals(estimate, figure)
    return f"{signed(low, digits)} to {signed(high, digits)}"


def signed(value: float, digits: int) -> str:
    """A number with its sign; zero has none."""
    text = f"{abs(value):.{digits}f}"
    return text if float(text) == 0 else f"{_MINUS if value < 0 else '+'}{text}"


def small(damage: float) -> str:
    """A damage, which may be of any size below one, with two digits, for example `0.0075`, as the equaliser writes it."""
    return "below 0.000001" if 0 < damage < _LEAST else f"{float(f'{damage:.2g}'):.7f}".rstrip("0").rstrip(".")


def gmacs(macs: int) -> str:
    """MACs in GMACs with three significant digits, for example `0.0653`."""
    return f"{macs / 1e9:#.3g}"


def parameters(count: int) -> str:
    """A number of parameters with three significant digits, for example `1.35 M`."""
    return f"{count / 1e6:#.3g} M"


def change(now: int, before: int) -> str:
    """A cost as its change from another one, for example `-32 %`."""
    return f"{signed(100 * (now - before) / before, 0)} %"


def verdict(delta: Estimate) -> str:
    """Whether a measured difference is worse than the baseline, better, or cannot be told apart from it, by its interval."""
    low, high = delta.ci95
    if high < 0:
        return "worse than the baseline"
    return "better than the baseline" if low > 0 else "cannot tell apart from the baseline"


def age(created_utc: str, now: datetime | None = None) -> str:
    """How long ago an ISO time was, in its largest whole unit, for example `3 hours ago`; seen from `now`."""
    seconds = ((now or datetime.now(UTC)) - datetime.fromisoformat(created_utc)).total_seconds()
    for unit, length in (("day", _DAY), ("hour", _HOUR), ("minute", _MINUTE)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"
