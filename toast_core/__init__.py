"""The ToaSt engine: `Schedule` + model + statistics -> plan -> new model, measured. Names load torch when first used.

`Studio` does all of it in a few lines; the other names are its parts.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from toast_core.schedule.schedule import BlockSchedule, Schedule

if TYPE_CHECKING:
    from toast_core.budget.problem import Budget
    from toast_core.compensation.plan import plan_on
    from toast_core.compensation.walk import compensate
    from toast_core.cost.macs import count_cost
    from toast_core.data.load import load_data
    from toast_core.export.write import export_model
    from toast_core.loading import load_model, save_model
    from toast_core.models.counting import count_macs
    from toast_core.pruning.execution.apply import apply_plan
    from toast_core.pruning.planner import make_plan
    from toast_core.pruning.statistics import collect_statistics
    from toast_core.schedule.compensation import Compensation
    from toast_core.setup import Setup
    from toast_core.studies.certificate.issue import issue as certify
    from toast_core.studies.evaluation.measure import evaluate
    from toast_core.studies.recovery.loop import RecoveryStart, recover
    from toast_core.studies.recovery.recipe import Recipe
    from toast_core.studies.tuning.measure import tune
    from toast_core.studies.tuning.request import TuningRequest
    from toast_core.studio import Studio
    from toast_core.workbench import Workbench

__all__ = [  # noqa: RUF022 - the order of docs/python.md
    "Studio", "BlockSchedule", "Schedule", "Compensation", "Setup", "Workbench", "load_model", "save_model", "load_data",
    "collect_statistics", "make_plan", "apply_plan", "compensate", "plan_on", "evaluate", "count_macs", "count_cost", "Budget",
    "TuningRequest", "tune", "export_model", "Recipe", "RecoveryStart", "recover", "certify",
]
_HOME = {
    "Studio": "studio",
    "Compensation": "schedule.compensation",
    "Setup": "setup",
    "Workbench": "workbench",
    "load_model": "loading",
    "save_model": "loading",
    "load_data": "data.load",
    "collect_statistics": "pruning.statistics",
    "make_plan": "pruning.planner",
    "apply_plan": "pruning.execution.apply",
    "compensate": "compensation.walk",
    "plan_on": "compensation.plan",
    "evaluate": "studies.evaluation.measure",
    "count_macs": "models.counting",
    "count_cost": "cost.macs",
    "Budget": "budget.problem",
    "TuningRequest": "studies.tuning.request",
    "tune": "studies.tuning.measure",
    "export_model": "export.write",
    "Recipe": "studies.recovery.recipe",
    "RecoveryStart": "studies.recovery.loop",
    "recover": "studies.recovery.loop",
    "certify": "studies.certificate.issue",
}
_NAMED_THERE = {"certify": "issue"}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'toast_core' has no attribute {name!r}")
    return getattr(import_module(f"toast_core.{_HOME[name]}"), _NAMED_THERE.get(name, name))


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
