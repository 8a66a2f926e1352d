"""Iterators and snapshots: plyvel's own, with each call passing the gate of their database.

As with plyvel, a snapshot may be shared by threads, an iterator may not.
"""

from collections.abc import Callable
from threading import get_ident
from types import TracebackType
from typing import Any, NoReturn, Self, TypedDict, Unpack

from level_replicator.core.errors import ClosedError
from level_replicator.database.gate import Gate
from level_replicator.database.items import ReadableItems


class _ClosedHandle:
    """Replaces a handle that is closed: every attribute raises ClosedError."""

    __slots__ = ()

    def __getattr__(self, name: str) -> NoReturn:
        raise ClosedError("Database, iterator or snapshot is closed")


_CLOSED = _ClosedHandle()


def _refuse() -> NoReturn:
    raise ClosedError("Database or iterator is closed")


class ReadOptions(TypedDict, total=False):
    """The options of every read, as plyvel documents them."""

    verify_checksums: bool
    fill_cache: bool


class IteratorOptions(ReadOptions, total=False):
    """The options of an iterator, as plyvel documents them."""

    reverse: bool
    start: bytes | None
    stop: bytes | None
    include_start: bool
    include_stop: bool
    prefix: bytes | None
    include_key: bool
    include_value: bool


class _Handle:
    """Owns one plyvel handle, and drops it inside the gate only, because deleting it is a call into LevelDB too.

    It never calls the handle's own `close`, since another thread may be inside: the handle is deleted with its last
    reference."""

    __slots__ = ("__weakref__", "_calls", "_gate", "_raw")

    def __init__(self, gate: Gate, opener: Callable[[], object]) -> None:
        self._gate = gate
        self._calls = gate.calls
        self._raw: Any = _CLOSED  # remains if opening fails
        self._raw = opener()

    def close(self) -> None:
        """Idempotent. Later calls raise ClosedError."""
        calls = self._calls
        me = get_ident()
        try:
            calls.append(me)
            if self._gate.shut and self._raw is not _CLOSED:
                self._gate.park(self._raw)
            self._forget()
        finally:
            calls.remove(me)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def _forget(self) -> None:
        self._raw = _CLOSED

    def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return self._gate.call(self._call_raw, name, *args, **kwargs)

    def _call_raw(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return getattr(self._raw, name)(*args, **kwargs)


class Iterator(_Handle):
    """plyvel's Iterator."""

    __slots__ = ("_next",)

    def __init__(self, gate: Gate, opener: Callable[[], object]) -> None:
        super().__init__(gate, opener)
        self._next = self._raw.__next__

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        calls = self._calls
        me = get_ident()
        try:
            calls.append(me)
            if self._gate.shut:
                self._gate.refuse()
            return self._next()
        finally:
            calls.remove(me)

    def prev(self) -> Any:
        """Move back over an item, and return it. Raises StopIteration before the first one."""
        return self._call("prev")

    def seek(self, target: bytes) -> None:
        """Move right before the first key that is not less than `target`."""
        self._call("seek", target)

    def seek_to_start(self) -> None:
        """Move before the first key, with `reverse` too."""
        self._call("seek_to_start")

    def seek_to_stop(self) -> None:
        """Move after the last key, with `reverse` too."""
        self._call("seek_to_stop")

    def _forget(self) -> None:
        self._raw = _CLOSED
        self._next = _refuse


class RawIterator(_Handle):
    """plyvel's RawIterator."""

    __slots__ = ()

    def valid(self) -> bool:
        """Return whether there is a current item."""
        return bool(self._call("valid"))

    def seek_to_first(self) -> None:
        """Move to the first item."""
        self._call("seek_to_first")

    def seek_to_last(self) -> None:
        """Move to the last item."""
        self._call("seek_to_last")

    def seek(self, target: bytes) -> None:
        """Move to the first item whose key is not less than `target`."""
        self._call("seek", target)

    def next(self) -> None:
        """Move to the next item. Raises plyvel.IteratorInvalidError if there is no current one."""
        self._call("next")

    def prev(self) -> None:
        """Move to the previous item. Raises plyvel.IteratorInvalidError if there is no current one."""
        self._call("prev")

    def key(self) -> bytes:
        """Return the current key. Raises plyvel.IteratorInvalidError if there is no current item."""
        return bytes(self._call("key"))

    def value(self) -> bytes:
        """Return the current value. Raises plyvel.IteratorInvalidError if there is no current item."""
        return bytes(self._call("value"))

    def item(self) -> tuple[bytes, bytes]:
        """Return the current key and value. Raises plyvel.IteratorInvalidError if there is no current item."""
        key, value = self._call("item")
        return key, value


class Snapshot(_Handle, ReadableItems):
    """plyvel's Snapshot: the database as it was, also after later writes."""

    __slots__ = ()

    def release(self) -> None:
        """As `close`."""
        self.close()

    def get(self, key: bytes, default: Any = None, *, verify_checksums: bool = False, fill_cache: bool = True) -> Any:
        """Return the value that the key had, `default` if it was missing."""
        return self._call("get", key, default, verify_checksums=verify_checksums, fill_cache=fill_cache)

    def __iter__(self) -> Iterator:
        return self.iterator()

    def iterator(self, **options: Unpack[IteratorOptions]) -> Iterator:
        """Return an iterator over the snapshot. The options are those of Replica.iterator."""
        return self._gate.call(Iterator, self._gate, lambda: self._call_raw("iterator", **options))

    def raw_iterator(self, **options: Unpack[ReadOptions]) -> RawIterator:
        """Return a plyvel RawIterator over the snapshot."""
        return self._gate.call(RawIterator, self._gate, lambda: self._call_raw("raw_iterator", **options))
