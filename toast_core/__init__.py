"""The ToaSt engine: `Schedule` + model + statistics -> plan -> new model, measured. Names load torch when first used."""

from importlib import import_module

from toast_core.schedule.schedule import BlockSchedule, Schedule

_HOME = {
    "load_model": "loading",
    "save_model": "loading",
    "load_data": "data.load",
    "make_plan": "pruning.planner",
    "apply_plan": "pruning.execution.apply",
    "collect_statistics": "pruning.statistics",
    "evaluate": "studies.evaluation.measure",
    "count_macs": "models.counting",
}

__all__ = ["BlockSchedule", "Schedule", *_HOME]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'toast_core' has no attribute {name!r}")
    return getattr(import_module(f"toast_core.{_HOME[name]}"), name)
