"""Iterators and snapshots of a client: plyvel's, on pages."""

from types import TracebackType
from typing import Any, NoReturn, Self, Unpack

from level_replicator.client.pager import BEGIN, END, Backend, KeyPosition, Pager, Source, before, behind
from level_replicator.core.errors import ClosedError
from level_replicator.database.arguments import refuse_argument, resolve_flag
from level_replicator.database.iterators import IteratorOptions, ReadOptions
from level_replicator.leveldb import IteratorInvalidError
from level_replicator.protocol.client_messages import Get, Number, TakeSnapshot, Value


def _refuse() -> NoReturn:
    raise ClosedError("Database or iterator is closed")


def bounds_of(
    prefix: bytes, start: bytes | None, stop: bytes | None, include_start: bool, include_stop: bool
) -> tuple[KeyPosition, KeyPosition]:
    """Of an iterator over the keys with this prefix, in whose names its own bounds are said without it."""
    low, high = before(prefix) if prefix else BEGIN, _end_of(prefix)
    if start is not None:
        low = before(prefix + start) if include_start else behind(prefix + start)
    if stop is not None:
        high = behind(prefix + stop) if include_stop else before(prefix + stop)
    return low, high


def flags_of(options: ReadOptions) -> tuple[bool, bool]:
    """verify_checksums and fill_cache, as plyvel takes them."""
    unknown = options.keys() - {"verify_checksums", "fill_cache"}
    if unknown:
        raise TypeError(f"{min(unknown)!r} is an invalid keyword argument")
    verify = resolve_flag("verify_checksums", options.get("verify_checksums"), False)
    return verify, resolve_flag("fill_cache", options.get("fill_cache"), True)


def _end_of(prefix: bytes) -> KeyPosition:
    """Behind all keys with the prefix."""
    head = prefix.rstrip(b"\xff")
    return before(head[:-1] + bytes([head[-1] + 1])) if head else END


class _Handle:
    """Closed by `close`, at the end of a `with` block, or when nobody refers to it any more."""

    __slots__ = ("_closed",)
    _closed: bool

    def close(self) -> None:
        """Idempotent. Later calls raise ClosedError."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


class RemoteIterator(_Handle):
    """plyvel's Iterator, over the keys that begin with `inside`, which is left out of them."""

    __slots__ = ("__weakref__", "_back", "_inside", "_keys", "_next", "_pager", "_values")

    def __init__(
        self,
        source: Source,
        inside: bytes,
        /,
        *,
        reverse: bool = False,
        start: bytes | None = None,
        stop: bytes | None = None,
        include_start: bool = True,
        include_stop: bool = False,
        prefix: bytes | None = None,
        include_key: bool = True,
        include_value: bool = True,
        verify_checksums: bool = False,
        fill_cache: bool = True,
    ) -> None:
        self._pager: Pager | None = None
        for name, value in (("start", start), ("stop", stop), ("prefix", prefix)):
            if value is not None and type(value) is not bytes:
                refuse_argument(name, "bytes", value)
        if prefix is not None and (start is not None or stop is not None):
            raise TypeError("'prefix' cannot be used together with 'start' or 'stop'")
        low, high = bounds_of(inside + (prefix or b""), start, stop, include_start, include_stop)
        self._keys = include_key
        self._values = include_value
        self._inside = inside
        self._pager = Pager(
            source,
            low,
            high,
            reverse=reverse,
            values=include_value,
            flags=flags_of({"verify_checksums": verify_checksums, "fill_cache": fill_cache}),
        )
        self._next, self._back = self._pager.forward, self._pager.backward
        if reverse:
            self._next, self._back = self._back, self._next

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        return self._shown(self._next())

    def prev(self) -> Any:
        return self._shown(self._back())

    def seek(self, target: bytes) -> None:
        if type(target) is not bytes:
            refuse_argument("target", "bytes", target)
        self._open().seek(before(self._inside + target))

    def seek_to_start(self) -> None:
        self._open().seek_to_low()

    def seek_to_stop(self) -> None:
        self._open().seek_to_high()

    def close(self) -> None:
        if self._pager is not None:
            self._pager.close()
            self._pager = None
            self._next = self._back = _refuse

    def _open(self) -> Pager:
        if self._pager is None:
            _refuse()
        return self._pager

    def _shown(self, item: tuple[bytes, bytes] | None) -> Any:
        if item is None:
            raise StopIteration
        key, value = item
        if self._inside:
            key = key[len(self._inside) :]
        if self._keys:
            return (key, value) if self._values else key
        return value if self._values else None


class RemoteRawIterator(_Handle):
    """plyvel's RawIterator."""

    __slots__ = ("__weakref__", "_item", "_pager")

    def __init__(self, source: Source, options: ReadOptions) -> None:
        self._pager: Pager | None = None
        self._pager = Pager(source, BEGIN, END, flags=flags_of(options))
        self._item: tuple[bytes, bytes] | None = None

    def valid(self) -> bool:
        self._open()
        return self._item is not None

    def seek_to_first(self) -> None:
        pager = self._open()
        pager.seek_to_low()
        self._item = pager.forward()

    def seek_to_last(self) -> None:
        pager = self._open()
        pager.seek_to_high()
        self._stand_on(pager.backward())

    def seek(self, target: bytes) -> None:
        if type(target) is not bytes:
            refuse_argument("target", "bytes", target)
        pager = self._open()
        pager.seek(before(target))
        self._item = pager.forward()

    def next(self) -> None:
        self.item()
        self._item = self._open().forward()

    def prev(self) -> None:
        key, _ = self.item()
        pager = self._open()
        pager.seek(before(key))
        self._stand_on(pager.backward())

    def key(self) -> bytes:
        return self.item()[0]

    def value(self) -> bytes:
        return self.item()[1]

    def item(self) -> tuple[bytes, bytes]:
        self._open()
        if self._item is None:
            raise IteratorInvalidError
        return self._item

    def close(self) -> None:
        if self._pager is not None:
            self._pager.close()
            self._pager = None

    def _stand_on(self, item: tuple[bytes, bytes] | None) -> None:
        self._item = item
        if item is not None:
            self._open().seek(behind(item[0]))

    def _open(self) -> Pager:
        if self._pager is None:
            _refuse()
        return self._pager


class RemoteSnapshot(_Handle):
    """plyvel's Snapshot, of the keys with a prefix. For any thread."""

    __slots__ = ("__weakref__", "_prefix", "_source")

    def __init__(self, backend: Backend, prefix: bytes) -> None:
        self._source: Source | None = None
        self._prefix = prefix
        number = backend.call(TakeSnapshot)
        assert isinstance(number, Number)
        self._source = Source(backend, number.number)

    def release(self) -> None:
        self.close()

    def close(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            source.backend.forget(source.snapshot)

    def get(self, key: bytes, default: Any = None, **options: Unpack[ReadOptions]) -> Any:
        if type(key) is not bytes:
            refuse_argument("key", "bytes", key)
        source = self._open()
        found = source.backend.call(Get, self._prefix + key, source.snapshot, *flags_of(options))
        assert isinstance(found, Value)
        return default if found.value is None else found.value

    def __iter__(self) -> RemoteIterator:
        return self.iterator()

    def iterator(self, **options: Unpack[IteratorOptions]) -> RemoteIterator:
        return RemoteIterator(self._open(), self._prefix, **options)

    def raw_iterator(self, **options: Unpack[ReadOptions]) -> RemoteRawIterator:
        return RemoteRawIterator(self._open(), options)

    def _open(self) -> Source:
        if self._source is None:
            raise ClosedError("Database, iterator or snapshot is closed")
        return self._source
