"""The reference implementation's schedule entry, read and written, so that a schedule tuned here runs there.

An entry holds `head_sparsity` in percent, `importance`, `coupling`, and `fc1` and `fc2` as one fraction a block. That program
selects per batch, prunes qk and vo alike, and leaves block 0 as it is whatever the entry says.
"""

from collections.abc import Mapping
from typing import Any

from toast_core.errors import ScheduleError
from toast_core.schedule.schedule import BlockSchedule, Schedule, check_ratio

SCORE_NAMES = {"gm": "geometric_median", "l1": "l1", "l2": "l2"}


def from_reference(entry: Mapping[str, Any]) -> Schedule:
    """Return the per-batch schedule that the reference runs for `entry`.

    `head_sparsity` may be one percentage for every block but block 0, or a list with one a block.

    Raises:
        ScheduleError: lists of different length, values out of range, or a ratio for block 0, which it would ignore.
    """
    fc1, fc2 = _fractions(entry, "fc1"), _fractions(entry, "fc2")
    percent = entry["head_sparsity"]
    blocks = len(fc1)
    attention = [0.0] + [percent] * (blocks - 1) if not isinstance(percent, list) else percent
    if not (len(fc2) == len(attention) == blocks):
        raise ScheduleError(f"fc1 has {blocks} blocks, fc2 {len(fc2)}, head_sparsity {len(attention)}; give each the same number")
    heads = [check_ratio(_percent(value, index) / 100, f"block {index} head_sparsity / 100") for index, value in enumerate(attention)]
    if heads[0] or fc1[0] or fc2[0]:
        raise ScheduleError("the entry prunes block 0, which the reference leaves as it is; write 0 for block 0 to match what it runs")
    score = entry.get("importance", "gm")
    if not isinstance(score, str) or score not in SCORE_NAMES:
        raise ScheduleError(f"unknown importance {score!r}; choose from {', '.join(SCORE_NAMES)}")
    return Schedule(
        tuple(BlockSchedule(head, head, first, second) for head, first, second in zip(heads, fc1, fc2, strict=True)),
        selection="per_batch",
        score=SCORE_NAMES[score],
        coupling=entry.get("coupling", "coupled"),
    )


def to_reference(schedule: Schedule) -> dict[str, Any]:
    """Return the reference's entry for `schedule`; `head_sparsity` is one number where every block but block 0 has the same.

    The reference always selects per batch and rounds down: other selection modes are written as their ratios alone.

    Raises:
        ScheduleError: it prunes block 0, qk and vo differ, or the score, coupling or `multiple_of` does not exist there.
    """
    names = {name: key for key, name in SCORE_NAMES.items()}
    if schedule.score not in names:
        raise ScheduleError(f"the reference has no score {schedule.score!r}; choose from {', '.join(names)} to export for it")
    if schedule.coupling == "uncoupled":
        raise ScheduleError("the reference has no coupling 'uncoupled'; choose a coupled one to export for it")
    if schedule.multiple_of != 1:
        raise ScheduleError(f"the reference cannot round to a multiple of {schedule.multiple_of}; use multiple_of 1 to export for it")
    if not schedule.blocks[0].is_baseline:
        raise ScheduleError("the schedule prunes block 0, which the reference cannot; set block 0 to 0 to export for it")
    for index, block in enumerate(schedule.blocks):
        if block.qk != block.vo:
            raise ScheduleError(f"block {index} has qk {block.qk:g} and vo {block.vo:g}; the reference needs them equal")
    percent = [round(100 * ratio, 10) for ratio in schedule.ratios("qk")]
    uniform = len(set(percent[1:])) <= 1
    return {
        "head_sparsity": (percent[-1] if len(percent) > 1 else 0.0) if uniform else percent,
        "importance": names[schedule.score],
        "coupling": schedule.coupling,
        "fc1": list(schedule.ratios("fc1")),
        "fc2": list(schedule.ratios("fc2")),
    }


def _fractions(entry: Mapping[str, Any], site: str) -> list[float]:
    values = entry.get(site)
    if not isinstance(values, list) or not values:
        raise ScheduleError(f"{site} is {values!r}; a reference entry gives one fraction a block")
    return [check_ratio(value, f"block {index} {site} ratio") for index, value in enumerate(values)]


def _percent(value: object, block: int) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ScheduleError(f"block {block} head_sparsity is {value!r}, not a number; write a percentage in [0, 100)")
    if 0 < value < 1:
        raise ScheduleError(
            f"head_sparsity {value:g} is below 1 %; the reference counts in percent: write {100 * value:g} for {100 * value:g} %"
        )
    if abs(value) >= 1e6:
        raise ScheduleError(f"block {block} head_sparsity is beyond 100 %; write a percentage in [0, 100)")
    return float(value)
