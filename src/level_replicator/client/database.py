"""A database in another process, with the interface of plyvel.DB."""

from collections.abc import Callable
from os import PathLike
from types import TracebackType
from typing import Any, Self, Unpack, overload
from weakref import WeakSet

from level_replicator.api.status import Status
from level_replicator.client import requests
from level_replicator.client.backends import Backend, ClientGate, perform
from level_replicator.client.changes import RemoteChanges
from level_replicator.client.iterators import RemoteIterator, RemoteRawIterator, RemoteSnapshot
from level_replicator.core.records import Change
from level_replicator.database.arguments import Bytes, resolve_flag
from level_replicator.database.batch import WriteBatch
from level_replicator.database.items import PublicNames, ReadableItems, WritableItems
from level_replicator.database.iterators import IteratorOptions, ReadOptions
from level_replicator.database.prefixed import PrefixedDB
from level_replicator.storage.maintenance.verify import Report
from level_replicator.storage.reconcile.comparison import Difference


class RemoteDatabase(ReadableItems, WritableItems, PublicNames):
    """plyvel.DB in behaviour, with most of the methods of a Replica. `connect` and `open(share=True)` return one.

    Usable from any thread. Its methods raise what those of the replica raise, and ConnectionLostError. Snapshots and
    iterators end with the connection over which they were opened: they raise ClosedError then."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._gate = ClientGate(backend)
        self._feeds: WeakSet[RemoteChanges] = WeakSet()

    @property
    def name(self) -> Any:
        """Where the database is: an address, or a path."""
        return self._backend.name

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._gate.shut

    def __repr__(self) -> str:
        closed = " (closed)" if self.closed else ""
        return f"<level_replicator.{type(self).__name__} of {self.name!r}{closed} at {id(self):#x}>"

    # -- one key

    def get(self, key: bytes, default: Any = None, *, verify_checksums: bool = False, fill_cache: bool = True) -> Any:
        """Return the value, `default` if the key is missing."""
        return self._run(requests.get(key, default, verify_checksums=verify_checksums, fill_cache=fill_cache))

    def put(self, key: bytes, value: Bytes, *, sync: bool | None = None) -> None:
        """See Replica.put."""
        self._run(requests.put(key, value, sync=sync))

    def delete(self, key: bytes, *, sync: bool | None = None) -> None:
        """See Replica.delete."""
        self._run(requests.delete(key, sync=sync))

    # -- many keys

    def write_batch(self, *, transaction: bool = False, sync: bool | None = None) -> WriteBatch:
        """See Replica.write_batch. The node applies the batch as one request, so it must not exceed MAX_FRAME_BYTES."""
        return self._batch(b"", transaction, sync)

    def __iter__(self) -> RemoteIterator:
        return self.iterator()

    def iterator(self, **options: Unpack[IteratorOptions]) -> RemoteIterator:
        """See Replica.iterator."""
        return self._prefixed_iterator(b"", options)

    def raw_iterator(self, **options: Unpack[ReadOptions]) -> RemoteRawIterator:
        """See Replica.raw_iterator."""
        self._gate.check()
        return RemoteRawIterator(self._backend, 0, options)

    def snapshot(self) -> RemoteSnapshot:
        """See Replica.snapshot."""
        return self._prefixed_snapshot(b"")

    def prefixed_db(self, prefix: bytes) -> "PrefixedDB[Self, RemoteIterator, RemoteSnapshot]":
        """See Replica.prefixed_db."""
        return PrefixedDB(db=self, prefix=prefix)

    # -- the LevelDB itself

    def get_property(self, name: bytes) -> bytes | None:
        """See Replica.get_property."""
        return self._run(requests.get_property(name))

    def approximate_size(self, start: bytes, stop: bytes) -> int:
        """See Replica.approximate_size."""
        return self.approximate_sizes((start, stop))[0]

    def approximate_sizes(self, *ranges: tuple[bytes, bytes]) -> list[int]:
        """See Replica.approximate_sizes."""
        return self._run(requests.approximate_sizes(ranges))

    def compact_range(self, *, start: bytes | None = None, stop: bytes | None = None) -> None:
        """See Replica.compact_range."""
        self._run(requests.compact_range(start, stop))

    # -- the replica

    def changes(
        self, since: str | None = None, *, prefix: bytes = b"", live: bool = True, now: bool = False
    ) -> RemoteChanges:
        """See Replica.changes. The feed has a connection of its own, and opens a new one when that is lost."""
        self._gate.check()
        feed = RemoteChanges(self._backend, since, prefix, live=live, now=now)
        self._feeds.add(feed)
        return feed

    def status(self) -> Status:
        """See Replica.status."""
        return self._run(requests.status())

    def wait_synced(self, timeout: float | None = None, *, peers: int | None = None) -> bool:
        """See Replica.wait_synced."""
        return self._run(requests.wait_synced(timeout, peers))

    def truncate(self, *, max_bytes: int | None = None, max_age: float | None = None) -> int:
        """See Replica.truncate."""
        return self._run(requests.truncate(max_bytes, max_age))

    @overload
    def verify(
        self, peer: None = None, *, repair: bool = False, progress: Callable[[int], None] | None = None
    ) -> Report: ...

    @overload
    def verify(self, peer: str) -> Difference: ...

    def verify(
        self, peer: str | None = None, *, repair: bool = False, progress: Callable[[int], None] | None = None
    ) -> Report | Difference:
        """See Replica.verify."""
        return self._run(requests.verify(peer, repair=repair), progress)

    def backup(self, path: "str | PathLike[str]", *, progress: Callable[[int], None] | None = None) -> int:
        """See Replica.backup. The node writes the files, for clients of its Unix socket only: others get
        ReadOnlyError."""
        return self._run(requests.backup(path), progress)

    def disconnect(self, peer: str) -> int:
        """See Replica.disconnect."""
        return self._run(requests.disconnect(peer))

    def history(
        self, before: tuple[int, int] | None = None, *, prefix: bytes = b"", most: int = 100
    ) -> tuple[list[Change], tuple[int, int] | None]:
        """See Replica.history. The node bounds the bytes of its answer."""
        return self._run(requests.history(before, prefix=prefix, most=most))

    # -- the end

    def close(self) -> None:
        """Close the connection, and end the feeds. The node keeps running. Idempotent; from any thread."""
        for feed in list(self._feeds):
            feed.close()
        self._backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- for batches and prefixed views

    def _batch(self, prefix: bytes, transaction: bool, sync: bool | None) -> WriteBatch:
        transaction = resolve_flag("transaction", transaction, False)
        if sync is not None:
            resolve_flag("sync", sync, False)
        self._gate.check()

        def write(operations: list[Any]) -> None:
            self._run(requests.write(operations, sync=sync))

        return WriteBatch(self._gate, write, prefix, transaction)

    def _prefixed_iterator(self, prefix: bytes, options: IteratorOptions) -> RemoteIterator:
        self._gate.check()
        return RemoteIterator(self._backend, prefix, 0, options)

    def _prefixed_snapshot(self, prefix: bytes) -> RemoteSnapshot:
        return RemoteSnapshot(self._backend, self._run(requests.take_snapshot()), prefix)

    def _run(self, steps: "requests.Steps[requests.T]", progress: Callable[[int], None] | None = None) -> "requests.T":
        self._gate.check()
        return perform(self._backend, steps, progress)
