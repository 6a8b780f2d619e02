"""Reading a certificate's JSON strictly: every field there, no other, each of its own kind. Free of torch."""

import math
import types
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Union, get_args, get_origin, get_type_hints

from toast_core.errors import CertificateError, ScheduleError
from toast_core.schedule.schedule import MAX_INTEGER, Schedule


def read_fields(kind: Any, value: object, where: str) -> Any:
    """Return a JSON value as an annotated type, all the way down: a frozen dataclass, a tuple, text, a number, or None where allowed.

    Nothing is converted but whole numbers where any number may stand. A class whose form in the file is another reads itself, by
    `from_fields(value, where)`. `where` names the place of `value`, empty at the top.

    Raises:
        CertificateError: a field is missing, unknown, or of another kind.
    """
    if kind is Schedule:
        try:
            return Schedule.from_dict(value)
        except ScheduleError as error:
            raise CertificateError(f"certificate {where}: {error}") from error
    if get_origin(kind) in (Union, types.UnionType):
        return None if value is None else read_fields(next(one for one in get_args(kind) if one is not type(None)), value, where)
    if get_origin(kind) is tuple:
        return _read_tuple(get_args(kind), value, where)
    if get_origin(kind) is dict:
        if not isinstance(value, Mapping):
            raise _wrong(value, where, "an object")
        return {str(name): read_fields(get_args(kind)[1], one, f"{where}.{name}") for name, one in value.items()}
    if kind is str:
        if not isinstance(value, str):
            raise _wrong(value, where, "text")
        return value
    if kind is bool:
        if not isinstance(value, bool):
            raise _wrong(value, where, "true or false")
        return value
    if kind is int:
        if type(value) is not int or not 0 <= value < MAX_INTEGER:
            raise _wrong(value, where, "a whole number of at least 0 and below 2**63")
        return value
    if kind is float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300 or not math.isfinite(value):
            raise _wrong(value, where, "a finite number")
        return float(value)
    if hasattr(kind, "from_fields"):
        return kind.from_fields(value, where)
    hints = get_type_hints(kind)
    return kind(**read_object({field.name: hints[field.name] for field in fields(kind)}, value, where))


def read_object(kinds: Mapping[str, Any], value: object, where: str) -> dict[str, Any]:
    """Return the fields of a JSON object, each as the type that `kinds` has for its name; see `read_fields`.

    Raises:
        CertificateError: no object, or a field is missing, unknown or of another kind.
    """
    if not isinstance(value, Mapping):
        raise _wrong(value, where, "an object")
    prefix = f"{where}." if where else ""
    if unknown := sorted(map(str, set(value) - kinds.keys())):
        raise CertificateError(f"certificate has an unknown field {prefix}{unknown[0]:.80}; certify again")
    if lacking := [name for name in kinds if name not in value]:
        raise CertificateError(f"certificate lacks {prefix}{lacking[0]}; certify again")
    return {name: read_fields(kind, value[name], f"{prefix}{name}") for name, kind in kinds.items()}


def _read_tuple(kinds: tuple[Any, ...], value: object, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _wrong(value, where, "a list")
    kinds = (kinds[0],) * len(value) if kinds[-1] is ... else kinds
    if len(kinds) != len(value):
        raise _wrong(value, where, f"a list of {len(kinds)}")
    return tuple(read_fields(kind, one, f"{where}[{index}]") for index, (kind, one) in enumerate(zip(kinds, value, strict=True)))


def _wrong(value: object, where: str, wanted: str) -> CertificateError:
    shown = f"{value!r:.40}" if not isinstance(value, int) or abs(value) < 10 * MAX_INTEGER else "a number of many digits"
    return CertificateError(f"certificate {where} is {shown}, not {wanted}; certify again")
