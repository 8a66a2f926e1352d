"""A whole plyvel.DB in behaviour: reads go to the plyvel.DB, writes to a writer."""

from threading import get_ident
from types import TracebackType
from typing import Any, Self, Unpack

from level_replicator.database.arguments import Bytes, Writer, copy_value, refuse_argument, resolve_flag
from level_replicator.database.batch import WriteBatch
from level_replicator.database.gate import Gate
from level_replicator.database.iterators import Iterator, IteratorOptions, RawIterator, ReadOptions, Snapshot
from level_replicator.database.prefixed import PrefixedDB
from level_replicator.leveldb import plyvel


class Database:
    """plyvel.DB, with three differences: writes go through a writer; `sync=None`, the default of every write,
    means `sync_default`; and `close` may come at any moment, from any thread.

    After `close` every call raises ClosedError, a RuntimeError as in plyvel; in a forked child, ForkError."""

    def __init__(self, db: plyvel.DB, writer: Writer, *, sync_default: bool) -> None:
        self._db = db
        self._gate = Gate(db)
        self._writer = writer
        self._sync = sync_default
        # bound once: looking them up at each call is a good part of what a call costs here
        self._calls = self._gate.calls
        self._get = db.get
        self._put = writer.put
        self._delete = writer.delete

    @property
    def name(self) -> Any:
        """What the plyvel.DB was opened with."""
        return self._db.name

    @property
    def closed(self) -> bool:
        """Whether `close` was called; True in a forked child too."""
        return self._gate.shut

    def __repr__(self) -> str:
        closed = " (closed)" if self.closed else ""
        return f"<level_replicator.{type(self).__name__} with name {self.name!r}{closed} at {id(self):#x}>"

    # -- one key

    def get(self, key: bytes, default: Any = None, *, verify_checksums: bool = False, fill_cache: bool = True) -> Any:
        """The value, or `default`. Raises TypeError for a key that is not bytes, and plyvel's errors."""
        calls = self._calls
        me = get_ident()
        try:
            calls.append(me)
            if self._gate.shut:
                self._gate.refuse()
            if verify_checksums is False and fill_cache is True:
                return self._get(key, default)
            return self._get(key, default, verify_checksums=verify_checksums, fill_cache=fill_cache)
        finally:
            calls.remove(me)

    def put(self, key: bytes, value: Bytes, *, sync: bool | None = None) -> None:
        """Raises TypeError for a key that is not bytes or a value that is not bytes-like; writer's errors."""
        if type(key) is not bytes:
            refuse_argument("key", "bytes", key)
        if type(value) is not bytes:
            value = copy_value(value)  # the writer writes twice, and must write the same
        sync = self._sync if sync is None else resolve_flag("sync", sync, False)
        calls = self._calls
        me = get_ident()
        try:
            calls.append(me)
            if self._gate.shut:
                self._gate.refuse()
            self._put(key, value, sync)
        finally:
            calls.remove(me)

    def delete(self, key: bytes, *, sync: bool | None = None) -> None:
        """Raises TypeError for a key that is not bytes, and the writer's errors; none for a missing key."""
        if type(key) is not bytes:
            refuse_argument("key", "bytes", key)
        sync = self._sync if sync is None else resolve_flag("sync", sync, False)
        calls = self._calls
        me = get_ident()
        try:
            calls.append(me)
            if self._gate.shut:
                self._gate.refuse()
            self._delete(key, sync)
        finally:
            calls.remove(me)

    # -- many keys

    def write_batch(self, *, transaction: bool = False, sync: bool | None = None) -> WriteBatch:
        """An empty batch. With `transaction`, a `with` block that ends in an exception writes nothing."""
        return self._batch(b"", transaction, sync)

    def __iter__(self) -> Iterator:
        return self.iterator()

    def iterator(self, **options: Unpack[IteratorOptions]) -> Iterator:
        """plyvel's iterator, also in what its options do."""
        return self._gate.call(Iterator, self._gate, lambda: self._db.iterator(**options))

    def raw_iterator(self, **options: Unpack[ReadOptions]) -> RawIterator:
        return self._gate.call(RawIterator, self._gate, lambda: self._db.raw_iterator(**options))

    def snapshot(self) -> Snapshot:
        return self._gate.call(Snapshot, self._gate, self._db.snapshot)

    def prefixed_db(self, prefix: bytes) -> "PrefixedDB[Self, Iterator, Snapshot]":
        return PrefixedDB(db=self, prefix=prefix)

    # -- the LevelDB itself

    def get_property(self, name: bytes) -> bytes | None:
        return self._gate.call(self._db.get_property, name)

    def approximate_size(self, start: bytes, stop: bytes) -> int:
        return self._gate.call(self._db.approximate_size, start, stop)

    def approximate_sizes(self, *ranges: tuple[bytes, bytes]) -> list[int]:
        return self._gate.call(self._db.approximate_sizes, *ranges)

    def compact_range(self, *, start: bytes | None = None, stop: bytes | None = None) -> None:
        """Compacts the range, as plyvel does: without bounds that is next to nothing."""
        self._gate.call(self._db.compact_range, start=start, stop=stop)

    # -- the end

    def close(self) -> None:
        """Waits for the calls that are inside, then closes. Idempotent; from any thread.

        Raises ForkError in a forked child, ReplicationError in a signal handler that interrupted a call."""
        self._gate.close(self._close_engines)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._gate.forked:  # a child that leaves its parent's block has nothing to close
            self.close()

    def _close_engines(self) -> None:
        """What `close` does once nobody is inside; a subclass that has more to close overrides it."""
        self._db.close()

    def _prefixed_iterator(self, prefix: bytes, options: IteratorOptions) -> Iterator:
        return self._gate.call(Iterator, self._gate, lambda: self._db.prefixed_db(prefix).iterator(**options))

    def _prefixed_snapshot(self, prefix: bytes) -> Snapshot:
        return self._gate.call(Snapshot, self._gate, lambda: self._db.prefixed_db(prefix).snapshot())

    def _batch(self, prefix: bytes, transaction: bool, sync: bool | None) -> WriteBatch:
        transaction = resolve_flag("transaction", transaction, False)
        sync = resolve_flag("sync", sync, self._sync)
        if self._gate.shut:
            self._gate.refuse()
        writer = self._writer
        return WriteBatch(self._gate, lambda operations: writer.write(operations, sync), prefix, transaction)
