"""Hypothesis strategies of schedules."""

from dataclasses import replace

from hypothesis import strategies as st

from toast_core.schedule.compensation import ATTENTION, CALIBRATIONS, FFN, Compensation
from toast_core.schedule.schedule import COUPLINGS, SELECTIONS, BlockSchedule, Schedule
from toast_core.schedule.scores import SCORES

RATIOS = st.floats(0, 1, exclude_max=True, allow_nan=False) | st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.9, 0.999999])
BLOCKS = st.builds(BlockSchedule, qk=RATIOS, vo=RATIOS, fc1=RATIOS, fc2=RATIOS)
COMPENSATIONS = st.builds(
    Compensation,
    ffn=st.sampled_from(list(FFN)),
    attention=st.sampled_from(list(ATTENTION)),
    calibration=st.sampled_from(list(CALIBRATIONS)),
)
_PLAIN = st.builds(
    Schedule, blocks=st.lists(BLOCKS, min_size=1, max_size=6).map(tuple), selection=st.sampled_from(list(SELECTIONS)),
    score=st.sampled_from(tuple(SCORES)), coupling=st.sampled_from(COUPLINGS), multiple_of=st.integers(1, 64), seed=st.integers(0, 2**40),
    class_weight=st.floats(0, 1e6), token_fraction=st.none() | st.floats(0, 1, exclude_min=True),
)
SCHEDULES = st.tuples(_PLAIN, COMPENSATIONS).map(
    lambda pair: replace(pair[0], compensation=pair[1]) if pair[0].selection == "calibrated" else pair[0]
)
