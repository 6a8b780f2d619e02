"""Frozen values as plain JSON and back: every field checked on reading, what is beside them passed over. Imports no torch."""

import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any, Self, Union, get_args, get_origin, get_type_hints

from toast_core.errors import ToastError

_PLAIN = {
    str: (str, "text"), bool: (bool, "true or false"), int: (int, "a whole number"), float: (int | float, "a number"),
    dict: (Mapping, "an object"),
}


class ProtocolError(ToastError, ValueError):
    """A line that is no request or no message of the engine's protocol, or lacks what it needs."""


@dataclass(frozen=True)
class Values:
    """Gives a frozen dataclass `to_dict` and `from_dict`, made of its fields and their annotations."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {one.name: _plain(getattr(self, one.name)) for one in fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read `to_dict`'s values back; others beside them are passed over.

        Raises:
            ProtocolError: not an object, or a field is missing or of another kind.
        """
        read: Self = _read_fields(cls, values, cls.__name__)
        return read


def _plain(value: object) -> object:
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    return [_plain(one) for one in value] if isinstance(value, tuple | list) else value


def _read_fields(kind: type, values: object, where: str) -> Any:
    """A dataclass from its fields' JSON values; one with a default may be left out."""
    if not isinstance(values, Mapping):
        raise _wrong(values, where, "an object")
    hints, needed = get_type_hints(kind), (one for one in fields(kind) if one.default is MISSING and one.default_factory is MISSING)
    if lacking := [one.name for one in needed if one.name not in values]:
        raise ProtocolError(f"{where} lacks {lacking[0]}; restart the dashboard")
    given = [one.name for one in fields(kind) if one.name in values]
    return kind(**{name: _read(hints[name], values[name], f"{where}.{name}") for name in given})


def _read(kind: Any, value: object, where: str) -> Any:
    """A JSON value as an annotated type: text, true or false, a number, an object, a list of one type, a dataclass, or None."""
    if get_origin(kind) in (Union, types.UnionType):
        return None if value is None else _read(next(one for one in get_args(kind) if one is not type(None)), value, where)
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise _wrong(value, where, "a list")
        return tuple(_read(get_args(kind)[0], one, f"{where}[{index}]") for index, one in enumerate(value))
    if (plain := get_origin(kind) or kind) in _PLAIN:
        wanted, words = _PLAIN[plain]
        if not isinstance(value, wanted) or isinstance(value, bool) != (kind is bool):
            raise _wrong(value, where, words)
        return plain(value)
    if not hasattr(kind, "from_dict"):
        return _read_fields(kind, value, where)
    try:
        return kind.from_dict(value)
    except ProtocolError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProtocolError(f"{where} cannot be read ({type(error).__name__}: {error}); restart the dashboard") from error


def _wrong(value: object, where: str, wanted: str) -> ProtocolError:
    return ProtocolError(f"{where} is {value!r:.40}, not {wanted}; restart the dashboard")
