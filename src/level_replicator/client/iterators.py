"""Iterators and snapshots of a client, with the behaviour of plyvel's.

The classes ...Base are shared with the asyncio client: arguments, positions, bounds and the release of snapshots. The
subclasses add the I/O: they answer the Scans of a Pager."""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Generic, NoReturn, Protocol, Self, TypeVar, Unpack

from level_replicator.client import requests
from level_replicator.client.backends import Backend, perform
from level_replicator.client.pager import BEGIN, END, Item, KeyPosition, Pager, after, before, bounds_of
from level_replicator.core.errors import ClosedError
from level_replicator.database.arguments import check_bytes, resolve_flag
from level_replicator.database.items import ReadableItems
from level_replicator.database.iterators import IteratorOptions, ReadOptions
from level_replicator.leveldb import IteratorInvalidError
from level_replicator.protocol.client_messages import Page, Scan


class SnapshotOwner(Protocol):
    """What iterators and snapshots need of a backend beyond its calls."""

    closed: bool

    def forget(self, snapshot: int) -> None: ...


_B = TypeVar("_B", bound=SnapshotOwner)
Move = Callable[[], Item | Scan | None]


def _refuse() -> NoReturn:
    raise ClosedError("Database or iterator is closed")


def resolve_read_options(options: ReadOptions) -> tuple[bool, bool]:
    """Return verify_checksums and fill_cache. Raises TypeError for other options and for values that are no bool."""
    unknown = options.keys() - ReadOptions.__annotations__.keys()
    if unknown:
        raise TypeError(f"{min(unknown)!r} is an invalid keyword argument")
    verify = _flag(options, "verify_checksums", False)
    return verify, _flag(options, "fill_cache", True)


def _flag(options: Mapping[str, object], name: str, default: bool) -> bool:
    """Return an option that is a bool. None counts as False, as plyvel has it."""
    return resolve_flag(name, options.get(name, default), False)


class _Handle(Generic[_B]):
    """Releases its snapshot at `close`, or when nothing refers to the handle any more."""

    __slots__ = ("__weakref__", "_backend")

    def __init__(self, backend: _B) -> None:
        self._backend = backend

    def close(self) -> None:
        """Idempotent. Later calls raise ClosedError."""
        raise NotImplementedError

    def __del__(self) -> None:
        self.close()


class _PagerHandle(_Handle[_B]):
    """A handle on a Pager. `_pager` is None once it is closed."""

    __slots__ = ("_pager",)

    def __init__(self, backend: _B) -> None:
        self._pager: Pager | None = None  # until the arguments are checked: `__del__` runs after a TypeError as well
        super().__init__(backend)

    def close(self) -> None:
        """Idempotent. Later calls raise ClosedError."""
        pager, self._pager = self._pager, None
        if pager is not None and pager.own_snapshot:
            self._backend.forget(pager.own_snapshot)

    def _open(self) -> Pager:
        if self._pager is None or self._backend.closed:
            _refuse()
        return self._pager


class IteratorBase(_PagerHandle[_B]):
    """An iterator over the keys that begin with `inside`, which it leaves out of the keys that it returns.

    The options are checked as plyvel checks them, with the same errors."""

    __slots__ = ("_back", "_inside", "_keys", "_next", "_values")

    def __init__(self, backend: _B, inside: bytes, snapshot: int, options: IteratorOptions) -> None:
        super().__init__(backend)
        unknown = options.keys() - _OPTIONS
        if unknown:
            raise TypeError(f"{min(unknown)!r} is an invalid keyword argument")
        start, stop, prefix = options.get("start"), options.get("stop"), options.get("prefix")
        for name, value in (("start", start), ("stop", stop), ("prefix", prefix)):
            if value is not None:
                check_bytes(name, value)
        if prefix is not None and (start is not None or stop is not None):
            raise TypeError("'prefix' cannot be used together with 'start' or 'stop'")
        include_start = _flag(options, "include_start", True)
        include_stop = _flag(options, "include_stop", False)
        self._inside = inside
        reverse = _flag(options, "reverse", False)
        self._keys = _flag(options, "include_key", True)
        self._values = _flag(options, "include_value", True)
        verify = _flag(options, "verify_checksums", False)
        fill = _flag(options, "fill_cache", True)
        low, high = bounds_of(inside + (prefix or b""), start, stop, include_start, include_stop)
        pager = Pager(low, high, snapshot=snapshot, reverse=reverse, values=self._values, flags=(verify, fill))
        self._next, self._back = (pager.backward, pager.forward) if reverse else (pager.forward, pager.backward)
        self._pager = pager

    def close(self) -> None:
        """Idempotent. Later calls raise ClosedError."""
        super().close()
        self._next = self._back = _refuse

    def seek(self, target: bytes) -> None:
        """Move right before the first key that is not less than `target`."""
        check_bytes("target", target)
        self._open().seek(before(self._inside + target))

    def seek_to_start(self) -> None:
        """Move before the first key, with `reverse` too."""
        self._open().seek_to_low()

    def seek_to_stop(self) -> None:
        """Move after the last key, with `reverse` too."""
        self._open().seek_to_high()

    def _shown(self, item: Item) -> Any:
        """Return an item as the options want it."""
        key, value = item
        if self._inside:
            key = key[len(self._inside) :]
        if self._keys:
            return (key, value) if self._values else key
        return value if self._values else None


_OPTIONS = IteratorOptions.__annotations__.keys()


class RawIteratorBase(_PagerHandle[_B]):
    """plyvel's RawIterator without its moves: it is on an item, or it is not valid."""

    __slots__ = ("_item",)

    def __init__(self, backend: _B, snapshot: int, options: ReadOptions) -> None:
        super().__init__(backend)
        self._item: Item | None = None
        self._pager = Pager(BEGIN, END, snapshot=snapshot, flags=resolve_read_options(options))

    def valid(self) -> bool:
        """Return whether it is on an item."""
        self._open()
        return self._item is not None

    def key(self) -> bytes:
        """Return the current key. Raises plyvel.IteratorInvalidError if there is no current item."""
        return self.item()[0]

    def value(self) -> bytes:
        """Return the current value. Raises plyvel.IteratorInvalidError if there is no current item."""
        return self.item()[1]

    def item(self) -> tuple[bytes, bytes]:
        """Return the current key and value. Raises plyvel.IteratorInvalidError if it is not valid."""
        self._open()
        if self._item is None:
            raise IteratorInvalidError
        return self._item

    def _forward_from(self, position: KeyPosition) -> Move:
        """Return the move to the first item after a position."""
        pager = self._open()
        pager.seek(position)
        return pager.forward

    def _backward_from(self, position: KeyPosition) -> Move:
        """Return the move to the last item before a position."""
        pager = self._open()
        pager.seek(position)
        return pager.backward

    def _be_on(self, item: Item | None) -> None:
        """Make an item the current one. The pager is right after it: it has moved over it, in either direction."""
        self._item = item
        if item is not None:
            self._open().seek(after(item[0]))

    @staticmethod
    def _before_target(target: bytes) -> KeyPosition:
        return before(check_bytes("target", target))

    def _before_item(self) -> KeyPosition:
        return before(self.key())

    def _after_item(self) -> KeyPosition:
        return after(self.key())


class SnapshotBase(_Handle[_B]):
    """A snapshot of the keys with a prefix. `number` identifies it at the node; 0 once it is closed."""

    __slots__ = ("_number", "_prefix")

    def __init__(self, backend: _B, number: int, prefix: bytes) -> None:
        self._number = number
        self._prefix = prefix
        super().__init__(backend)

    def close(self) -> None:
        """Idempotent. Later calls raise ClosedError."""
        number, self._number = self._number, 0
        if number:
            self._backend.forget(number)

    def release(self) -> None:
        """As `close`."""
        self.close()

    def _open(self) -> int:
        if not self._number or self._backend.closed:
            raise ClosedError("Database, iterator or snapshot is closed")
        return self._number


# -- synchronous


class _Block:
    """`with`: closed at the end of the block."""

    __slots__ = ()

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _answer(backend: Backend, pager: Pager, scan: Scan) -> None:
    page = backend.call(scan)
    assert isinstance(page, Page)
    pager.accept(scan, page)


class RemoteIterator(IteratorBase[Backend], _Block):
    """plyvel's Iterator. It shows the database as it was when the iterator was made."""

    __slots__ = ()

    def __init__(self, backend: Backend, inside: bytes, snapshot: int, options: IteratorOptions) -> None:
        super().__init__(backend, inside, snapshot, options)
        pager = self._open()
        scan = pager.first_scan()
        if scan is not None:
            _answer(backend, pager, scan)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        return self._step(self._next)

    def prev(self) -> Any:
        """Move back over an item, and return it. Raises StopIteration before the first one."""
        return self._step(self._back)

    def _step(self, move: Move) -> Any:
        if self._backend.closed:  # keys in memory are not returned either once the database is closed
            _refuse()
        while isinstance(found := move(), Scan):
            _answer(self._backend, self._open(), found)
        if found is None:
            raise StopIteration
        return self._shown(found)


class RemoteRawIterator(RawIteratorBase[Backend], _Block):
    """plyvel's RawIterator."""

    __slots__ = ()

    def __init__(self, backend: Backend, snapshot: int, options: ReadOptions) -> None:
        super().__init__(backend, snapshot, options)
        pager = self._open()
        scan = pager.first_scan()
        if scan is not None:
            _answer(backend, pager, scan)

    def seek_to_first(self) -> None:
        """Move to the first item."""
        self._go(self._forward_from(BEGIN))

    def seek_to_last(self) -> None:
        """Move to the last item."""
        self._go(self._backward_from(END))

    def seek(self, target: bytes) -> None:
        """Move to the first item whose key is not less than `target`."""
        self._go(self._forward_from(self._before_target(target)))

    def next(self) -> None:
        """Move to the next item. Raises plyvel.IteratorInvalidError if there is no current one."""
        self._go(self._forward_from(self._after_item()))

    def prev(self) -> None:
        """Move to the previous item. Raises plyvel.IteratorInvalidError if there is no current one."""
        self._go(self._backward_from(self._before_item()))

    def _go(self, move: Move) -> None:
        while isinstance(found := move(), Scan):
            _answer(self._backend, self._open(), found)
        self._be_on(found)


class RemoteSnapshot(SnapshotBase[Backend], _Block, ReadableItems):
    """plyvel's Snapshot: the database as it was. For any thread."""

    __slots__ = ()

    def get(self, key: bytes, default: Any = None, *, verify_checksums: bool = False, fill_cache: bool = True) -> Any:
        """Return the value that the key had, `default` if it was missing."""
        steps = requests.get(
            key,
            default,
            verify_checksums=verify_checksums,
            fill_cache=fill_cache,
            prefix=self._prefix,
            snapshot=self._open(),
        )
        return perform(self._backend, steps)

    def __iter__(self) -> RemoteIterator:
        return self.iterator()

    def iterator(self, **options: Unpack[IteratorOptions]) -> RemoteIterator:
        """Return an iterator over the snapshot. The options are those of Replica.iterator."""
        return RemoteIterator(self._backend, self._prefix, self._open(), options)

    def raw_iterator(self, **options: Unpack[ReadOptions]) -> RemoteRawIterator:
        """Return a plyvel RawIterator over the snapshot."""
        return RemoteRawIterator(self._backend, self._open(), options)
