"""From a setup and a wanted schedule to the pruned model: what `evaluate`, `apply` and `export` share."""

from typing import TYPE_CHECKING

from toast_core.cli.opened import open_workbench
from toast_core.cli.options import Wanted
from toast_core.cli.output import note
from toast_core.setup import Setup

if TYPE_CHECKING:
    from torch import nn

    from toast_core.executors.base import Executor
    from toast_core.workbench import Workbench


def pruned_model(
    setup: Setup, wanted: Wanted, execution: str, executor: "Executor | None" = None
) -> "tuple[Workbench, nn.Module]":
    """Load the model and put the schedule into effect: the workbench, and the model to measure or write.

    That is the loaded one where no schedule is wanted, or where the weights are a file that one was applied to. What loading
    guessed and what compensation could not do as asked is said on stderr.

    Raises:
        ToastError: see `Wanted.schedule`, `Workbench.load` and `Workbench.plan`; what needs no model is checked before it is loaded.
    """
    from toast_core.pruning.execution.apply import apply_plan
    from toast_core.schedule.execution import check_execution

    check_execution(execution)
    wanted.schedule()
    workbench = open_workbench(setup, executor)
    applied = workbench.info.schedule
    chosen = wanted.schedule(applied)
    if chosen is None or applied is not None:
        return workbench, workbench.model
    plan = workbench.plan(chosen)
    note(plan.notes)
    return workbench, apply_plan(workbench.model, plan, execution)
