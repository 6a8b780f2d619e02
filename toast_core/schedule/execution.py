"""The two ways to run what a schedule leaves of a model."""

from toast_core.errors import PlanError

EXECUTIONS = ("masked", "compact")  # the baseline's shapes with what is dropped set to zero, or smaller shapes


def check_execution(execution: str) -> None:
    """Raise a PlanError unless the execution is `masked` or `compact`."""
    if execution not in EXECUTIONS:
        raise PlanError(f"unknown execution {execution!r}; choose from {', '.join(EXECUTIONS)}")
