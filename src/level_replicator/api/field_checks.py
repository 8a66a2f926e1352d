"""Checks of the values of settings against the types of their fields.

A field is annotated with `Annotated[type, expected(title, description)]`. msgspec checks its value strictly: no
conversion between strings and numbers, and a bool is not an int. A value of another type or out of range raises
ConfigError: `FIELD: VALUE is not TITLE: expected DESCRIPTION`.
"""

import difflib
import math
import operator
import os
import re
from collections.abc import Iterable, Mapping
from functools import cache, reduce
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec

from level_replicator.core.errors import ConfigError

_MAX_SHOWN = 100
"""Characters of a value in a message."""


def expected(title: str, description: str, *, secret: bool = False) -> msgspec.Meta:
    """Return the annotation of a field: the two parts of its message. A secret value is never shown."""
    return msgspec.Meta(title=title, description=description, extra={"secret": secret})


@cache
def types_of(kind: type) -> Mapping[str, Any]:
    """Return field → type of a class, as msgspec can check it."""
    return {name: _without_paths(hint) for name, hint in get_type_hints(kind, include_extras=True).items()}


_SIZE_UNITS = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_DURATION_UNITS = {"ms": 0.001, "s": 1, "min": 60, "m": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400}
_QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.ASCII | re.IGNORECASE)


def parse_size(text: str) -> int:
    """Return the bytes of a text such as "1MB" (10**6), "64 KiB" (2**16) or "1000". Raises ValueError."""
    wanted = "a size: expected bytes, or a number with B, kB, MB, GB, KiB, MiB or GiB"
    return int(_quantity(text, _SIZE_UNITS, "b", wanted))


def parse_duration(text: str) -> float:
    """Return the seconds of a text such as "30d", "1h", "500ms" or "1.5". Raises ValueError."""
    return _quantity(text, _DURATION_UNITS, "s", "a duration: expected seconds, or a number with ms, s, min, h, d or w")


def _quantity(text: str, units: Mapping[str, float], default: str, wanted: str) -> float:
    found = _QUANTITY.fullmatch(text)
    unit = None if found is None else units.get(found[2].lower() or default)
    number = math.inf if found is None or unit is None else float(found[1]) * unit
    if math.isinf(number):  # too many digits, too
        raise ValueError(f"{show(text)} is not {wanted}")
    return number


def check_names(names: Iterable[object], known: Iterable[str], what: str) -> None:
    """Raise ConfigError for the first name that is not known, with the most similar known name."""
    choices = sorted(known)
    for name in names:
        if name in choices:
            continue
        similar = difflib.get_close_matches(str(name), choices, n=1)
        advice = f"did you mean {similar[0]!r}?" if similar else f"expected one of {', '.join(choices)}"
        raise ConfigError(f"{what} {name!r}: {advice}")


def check_value(field: str, value: object, kind: Any) -> None:
    """Raise ConfigError if the value does not fit the type, which is one of `types_of`."""
    try:
        msgspec.convert(_plain(value), kind, strict=True, dec_hook=_check_callable)
    except (msgspec.ValidationError, ValueError, ArithmeticError, AttributeError):
        # not only ValidationError: msgspec encodes a str, and converts a Decimal, before it looks at the type
        raise refuse_value(field, value, kind) from None


def refuse_value(field: str, value: object, kind: Any) -> ConfigError:
    """Return the error for a value that does not fit the type, which is one of `types_of`."""
    meta = next(each for each in get_args(kind) if isinstance(each, msgspec.Meta) and each.title is not None)
    shown, type_name = show(value), type(value).__name__
    if meta.extra is not None and meta.extra["secret"]:
        shown, type_name = "this value", f"{type_name}, not shown: it may be a key"
    return ConfigError(f"{field}: {shown} ({type_name}) is not {meta.title}: expected {meta.description}")


def show(value: object) -> str:
    """Return a value as a message shows it: its representation, cut after _MAX_SHOWN characters."""
    try:
        shown = repr(value)
    except ValueError:  # an int of more digits than Python converts to a str
        return "this value"
    return shown if len(shown) <= _MAX_SHOWN else shown[:_MAX_SHOWN] + "…"


def _plain(value: object) -> object:
    """Return a path as a str, and a number of a subclass of float (NumPy has one) as a float."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return float(value) if isinstance(value, float) else value


def _without_paths(kind: Any) -> Any:
    """Return the type without PathLike, which msgspec refuses in unions: `_plain` turns paths into str."""
    if get_origin(kind) is Annotated:
        inner, *annotations = get_args(kind)
        return Annotated[(_without_paths(inner), *annotations)]
    if get_origin(kind) in (Union, UnionType):
        return reduce(operator.or_, (each for each in get_args(kind) if get_origin(each) is not os.PathLike))
    return kind


def _check_callable(_kind: type, value: object) -> object:
    """Decode the only type that msgspec does not know: functions."""
    if not callable(value):
        raise ValueError("not callable")
    return value
