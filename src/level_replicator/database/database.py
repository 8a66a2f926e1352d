"""A database with the interface of plyvel.DB: reads go to a plyvel.DB, writes to a writer."""

from threading import get_ident
from types import TracebackType
from typing import Any, Self, Unpack

from level_replicator.database.arguments import Bytes, Writer, copy_value, refuse_argument, resolve_flag
from level_replicator.database.batch import WriteBatch
from level_replicator.database.gate import Gate
from level_replicator.database.items import PublicNames, ReadableItems, WritableItems
from level_replicator.database.iterators import Iterator, IteratorOptions, RawIterator, ReadOptions, Snapshot
from level_replicator.database.prefixed import PrefixedDB
from level_replicator.leveldb import plyvel


class Database(ReadableItems, WritableItems, PublicNames):
    """plyvel.DB with three differences: writes go through a writer; `sync=None`, the default of every write, means
    `sync_default`; and `close` may be called at any moment, from any thread.

    After `close` every call raises ClosedError, a RuntimeError as in plyvel; in a forked child, ForkError."""

    def __init__(self, db: plyvel.DB, writer: Writer, *, sync_default: bool) -> None:
        self._db = db
        self._gate = Gate(db)
        self._writer = writer
        self._sync = sync_default
        # bound once: looking them up would be a large part of the cost of a call
        self._calls = self._gate.calls
        self._get = db.get
        self._put = writer.put
        self._delete = writer.delete

    @property
    def name(self) -> Any:
        """The name that the plyvel.DB was opened with."""
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
        """Return the value, `default` if the key is missing.

        Raises TypeError for a key that is not bytes, and plyvel's errors."""
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
        """Set the value of a key.

        value  bytes or another contiguous bytes-like object
        sync   return only when the write is on the disk; None: as the setting `sync` says

        Raises TypeError for a key that is not bytes or a value that is not bytes-like, and the writer's errors."""
        if type(key) is not bytes:
            refuse_argument("key", "bytes", key)
        if type(value) is not bytes:
            value = copy_value(
                value
            )  # a copy: the writer writes the value twice, and the caller may change it in between
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
        """Delete a key, which may be missing.

        Raises TypeError for a key that is not bytes, and the writer's errors."""
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
        """Return an empty batch, whose operations are written together or not at all.

        transaction  a `with` block that ends in an exception writes nothing
        sync         as in `put`, for the whole batch

        Raises TypeError for a flag that is not a bool, ClosedError."""
        return self._batch(b"", transaction, sync)

    def __iter__(self) -> Iterator:
        return self.iterator()

    def iterator(self, **options: Unpack[IteratorOptions]) -> Iterator:
        """Return an iterator over (key, value) pairs in the order of the keys, as of now.

        reverse                      begin at the greatest key
        start, stop                  bounds of the keys, bytes; None: unbounded
        include_start, include_stop  whether a bound itself belongs to the range; by default only `start` does
        prefix                       only keys with this prefix, bytes; not together with `start` or `stop`
        include_key, include_value   without one of them the iterator returns the other alone
        verify_checksums             check the checksums of all blocks that are read
        fill_cache                   keep blocks that are read in the cache

        Raises TypeError for options of a wrong type, ClosedError."""
        return self._gate.call(Iterator, self._gate, lambda: self._db.iterator(**options))

    def raw_iterator(self, **options: Unpack[ReadOptions]) -> RawIterator:
        """Return plyvel's RawIterator."""
        return self._gate.call(RawIterator, self._gate, lambda: self._db.raw_iterator(**options))

    def snapshot(self) -> Snapshot:
        """Return a view of the database as it is now, also after later writes.

        Close it: LevelDB keeps overwritten values until then. Raises ClosedError."""
        return self._gate.call(Snapshot, self._gate, self._db.snapshot)

    def prefixed_db(self, prefix: bytes) -> "PrefixedDB[Self, Iterator, Snapshot]":
        """Return a view of the keys that begin with `prefix`, which it leaves out of them.

        Raises TypeError for a prefix that is not bytes."""
        return PrefixedDB(db=self, prefix=prefix)

    # -- the LevelDB itself

    def get_property(self, name: bytes) -> bytes | None:
        """Return a property of the LevelDB, such as b"leveldb.stats"; None for an unknown name."""
        return self._gate.call(self._db.get_property, name)

    def approximate_size(self, start: bytes, stop: bytes) -> int:
        """Return about how many bytes the keys of a range take on the disk."""
        return self._gate.call(self._db.approximate_size, start, stop)

    def approximate_sizes(self, *ranges: tuple[bytes, bytes]) -> list[int]:
        """Return `approximate_size` of several ranges."""
        return self._gate.call(self._db.approximate_sizes, *ranges)

    def compact_range(self, *, start: bytes | None = None, stop: bytes | None = None) -> None:
        """Compact a range of keys. As in plyvel, a call without bounds compacts next to nothing."""
        self._gate.call(self._db.compact_range, start=start, stop=stop)

    # -- the end

    def close(self) -> None:
        """Wait for the calls that run now, then close. Idempotent; from any thread.

        Raises ForkError in a forked child, ReplicationError in a signal handler that interrupted a call."""
        self._gate.close(self._close_engines)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._gate.forked:  # a forked child that leaves the block has nothing to close
            self.close()

    def _close_engines(self) -> None:
        """Close the database, when no call runs any more. Subclasses that have more to close override it."""
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
