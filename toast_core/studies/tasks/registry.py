"""The tasks by name, each loaded when it is first asked for, and which of them a model has. Imports no torch.

A task is a class whose instances are a `toast_core.studies.tasks.base.Task`. `task_of` decides by a model's shape, and knows ours alone.
"""

from collections.abc import Mapping
from typing import Any

from toast_core.cost.shapes import ModelShape
from toast_core.errors import DataError, JobError
from toast_core.registry import Registry
from toast_core.studies.tasks.base import Task

TASKS: Registry[Task] = Registry(
    "toast_studio.tasks",
    "task",
    {
        "classification": "toast_core.studies.tasks.classification:Classification",
        "features": "toast_core.studies.tasks.features:Features",
    },
    JobError,
    lambda found: found(),
)


def task_of(shape: ModelShape) -> Task:
    """The task of a model: classification, or features where it has no classifier."""
    return TASKS["classification" if shape.num_classes else "features"]


def task_in(values: Mapping[str, Any]) -> Task:
    """The task that a report or a cell's details are of, as `Task.details` is written into them: classification where none is named.

    Raises:
        JobError: a name that is no task's.
    """
    return TASKS[str(values.get("task", "classification"))]


def task_of_row(row: Mapping[str, Any]) -> Task:
    """The task that a row of a sweep or sketch, a summary of an evaluation or a certificate's form is of: headline or damage are there."""
    return next((task for task in TASKS.values() if task.figures[0].key in row or task.damage.key in row), TASKS["classification"])


def check_classifier(shape: ModelShape, what: str) -> None:
    """Raise a DataError where the model has no classifier; `what` needs its answers, in two words such as `recovery learns`."""
    if not shape.num_classes:
        raise DataError(f"{what} a classifier's answers, and {shape.name} has no classifier; use weights with one")
