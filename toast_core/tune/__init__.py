"""Automatic schedules: what is asked, curves and candidates measured and kept, the choice among them. Needs torch.

ask.py        what a schedule is wanted for, and the three parts of the calibration images
kept.py       what was measured before, in the evidence store
curves.py     the damage of compensated cells, one site of one block each
judging.py    candidates on held-out images
run.py        `tune`, which puts them together; a front over many budgets
"""

from toast_core.tune.ask import Ask, Parts, split
from toast_core.tune.curves import measure_curves
from toast_core.tune.judging import Judgement, judge, plan_for
from toast_core.tune.kept import Kept
from toast_core.tune.run import Tuned, tune

__all__ = ["Ask", "Judgement", "Kept", "Parts", "Tuned", "judge", "measure_curves", "plan_for", "split", "tune"]
