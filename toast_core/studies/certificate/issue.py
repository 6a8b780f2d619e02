"""A certificate from a loaded model and a schedule: what goes in is loaded once, digested and fitted on, then every form is measured."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from toast_core.errors import CertificateError, ScheduleError
from toast_core.pruning.execution.apply import apply_plan
from toast_core.schedule.schedule import Schedule
from toast_core.studies.certificate.measure import CertificateSubject, check_subject, measure, open_form
from toast_core.studies.certificate.result import Asked, Certificate, Digests
from toast_core.workbench import Workbench

Progress = Callable[[int, int], None]


def subject_of(workbench: Workbench, schedule: Schedule, schedule_file: str) -> tuple[Workbench, CertificateSubject]:
    """What a certificate of this schedule is about, and the workbench that its plan is to be made on.

    Images are drawn by the schedule's seed, calibration images too, so that a certificate can be checked from what it says.

    Raises:
        CertificateError: the model is pruned already.
        ScheduleError: the schedule prunes nothing, does not fit, or needs calibration images and none are named.
        DataError: images cannot be read.
    """
    setup = workbench.setup
    check_subject(workbench.model, schedule)
    if not schedule.needs_calibration:
        setup = replace(setup, calibration=None)
    elif setup.calibration is None:
        raise ScheduleError("the schedule needs calibration images; pass --calibration DATA")
    drawn = Workbench(workbench.model, replace(setup, seed=schedule.seed), workbench.report)
    calibration = drawn.calibration() if schedule.needs_calibration else None
    data = drawn.images(setup.images)
    return drawn, CertificateSubject(Asked(setup, schedule_file), schedule, workbench.model, data, calibration)


def issue_for(
    workbench: Workbench, subject: CertificateSubject, digests: Digests, exports: Sequence[Path], progress: Progress,
) -> tuple[Certificate, tuple[str, ...]]:
    """The certificate of a subject, and what its plan could not do as asked; fitted on the images that the digests are of.

    Raises:
        CertificateError: an export that is not there or belongs to another model.
    """
    opened = {path: open_form(path, next(subject.baseline.parameters()).device) for path in exports}
    plan = workbench.plan(subject.schedule)
    masked, compact = (apply_plan(subject.baseline, plan, execution) for execution in ("masked", "compact"))
    return measure(subject, masked, compact, digests, opened, progress), tuple(plan.notes)


def issue(
    workbench: Workbench, schedule: Schedule, exports: Sequence[Path] = (), schedule_file: str = "schedule.json",
    progress: Progress = lambda done, total: None,
) -> Certificate:
    """Certify a schedule on a loaded baseline; see `subject_of` and `issue_for` for what is refused.

    Raises:
        CertificateError: the same export is named twice.
    """
    if len(set(exports)) < len(exports):
        raise CertificateError("the same export is given twice; keep one of them")
    drawn, subject = subject_of(workbench, schedule, schedule_file)
    return issue_for(drawn, subject, subject.digests(), exports, progress)[0]
