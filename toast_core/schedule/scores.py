"""The ways to score a head dimension's weights, by name; what computes one is imported by whoever makes a plan."""

from collections.abc import Callable
from typing import Any

from toast_core.errors import ScheduleError
from toast_core.registry import Registry

_HERE = "toast_core.pruning.importance"
SCORES: Registry[Callable[..., Any]] = Registry(
    "toast_studio.scores",
    "score",
    {
        "geometric_median": f"{_HERE}.geometric_median:geometric_median",
        "weiszfeld": f"{_HERE}.weiszfeld:weiszfeld",
        "l1": f"{_HERE}.l1:l1",
        "l2": f"{_HERE}.l2:l2",
    },
    ScheduleError,
)
