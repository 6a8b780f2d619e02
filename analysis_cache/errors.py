"""The one error of this package, a leaf of `toast_core.errors`. One line each: the value, the limit, the next step."""

from toast_core.errors import ToastError


class StoreError(ToastError, RuntimeError):
    """A store or bundle cannot be opened, read or written, or a value does not belong in one. The store is unharmed."""
