"""The destination of local writes, and checks of arguments that raise the errors that plyvel raises."""

import math
from typing import NoReturn, Protocol

from level_replicator.core.errors import ConfigError

Bytes = bytes | bytearray | memoryview


class Writer(Protocol):
    """Does the local writes of one database, from any thread. Raises the errors of core.errors."""

    def put(self, key: bytes, value: Bytes, sync: bool) -> None: ...

    def delete(self, key: bytes, sync: bool) -> None: ...

    def write(self, operations: list[tuple[bytes, Bytes | None]], sync: bool) -> None:
        """Write all operations, in order, together or not at all. A value of None deletes the key."""


def refuse_argument(name: str, wanted: str, value: object) -> NoReturn:
    """Raise the TypeError that plyvel raises."""
    raise TypeError(f"Argument '{name}' has incorrect type (expected {wanted}, got {type(value).__name__})")


def check_bytes(name: str, value: bytes) -> bytes:
    """Return an argument that must be bytes, and no subclass of it. Raises TypeError, as plyvel does."""
    if type(value) is not bytes:
        refuse_argument(name, "bytes", value)
    return value


def copy_value(value: Bytes) -> bytes:
    """Return a copy of a bytes-like object. Raises TypeError or BufferError, as plyvel does."""
    view = memoryview(value)
    if not view.c_contiguous:
        raise BufferError("memoryview: underlying buffer is not C-contiguous")
    return bytes(view)


def check_timeout(timeout: float | None) -> None:
    """Raise ConfigError for a timeout that is not a number of seconds, or None. A timer that is due at NaN would also
    delay other timers of its event loop, because their heap cannot order it."""
    if timeout is None:
        return
    try:
        wrong = not isinstance(timeout, int | float) or math.isnan(timeout)
    except OverflowError:  # an int above the largest float
        wrong = True
    if wrong:
        raise ConfigError(f"timeout: this {type(timeout).__name__} is not a number of seconds: expected one, or None")


def resolve_flag(name: str, value: object, default: bool) -> bool:
    """Return a flag, `default` for None. Raises TypeError for a value that is not a bool, as plyvel does."""
    if value is None:
        return default
    if value is True or value is False:
        return bool(value)
    refuse_argument(name, "bool", value)
