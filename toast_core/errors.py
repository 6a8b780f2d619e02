"""Every error a user can cause, one line each: the value, the limit, the next step.

    ToastError
    |- ScheduleError   a ratio, site, mode or file of a schedule   (also ValueError)
    |- SetupError      a field of what is asked about            (also ValueError)
    |- ModelError      an unknown or unsupported model, bad weights (also ValueError)
    |- DataError       a folder, image set or class count           (also ValueError)
    |- StoreError      the evidence store or a bundle, in analysis_cache (also RuntimeError)
    |- JobError        a job that cannot be asked for, or not in its state (also ValueError)
    |- ExportError     an export that cannot be written or read, or that differs from its model (also ValueError)
    |- CertificateError  a certificate that cannot be read, written or checked (also ValueError)
    |- DeviceError     a device or dtype this machine lacks         (also RuntimeError)
    |- ExecutorError   workers that cannot be reached or are not there (also RuntimeError)
    `- PlanError       a plan that cannot be made or does not fit   (also ValueError)

The command line prints the message and exits 2. Nothing here imports torch.
"""


class ToastError(Exception):
    """Root of the errors above; `str(error)` is the one line to show."""


class ScheduleError(ToastError, ValueError):
    """A schedule, or one of its values, is not valid."""


class SetupError(ToastError, ValueError):
    """What is asked about is not described well: a field that is unknown, of another kind or out of range."""


class ModelError(ToastError, ValueError):
    """A model is unknown or unsupported, or its weights do not fit."""


class DataError(ToastError, ValueError):
    """Images or labels are missing, unreadable or do not fit the model."""


class DeviceError(ToastError, RuntimeError):
    """This machine lacks the device or dtype asked for."""


class ExecutorError(ToastError, RuntimeError):
    """Workers elsewhere were asked for and cannot be had, or are gone."""


class PlanError(ToastError, ValueError):
    """A plan cannot be made from, or applied to, this model."""


class JobError(ToastError, ValueError):
    """A job is not described well, is not there, or is in a state that does not allow what was asked."""


class CertificateError(ToastError, ValueError):
    """A certificate cannot be read or written, or what it should be checked against does not belong to it."""


class ExportError(ToastError, ValueError):
    """An export cannot be written or read back, or computes something else than its model."""
