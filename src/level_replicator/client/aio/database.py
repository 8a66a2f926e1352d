"""The database for coroutines: `lrep.aio.connect(...)` for a node of another process, `lrep.aio.wrap(replica)` for a
replica of this process.

    async with await lrep.aio.connect("/tmp/notes") as db:
        await db.put(b"key", b"value")
        async for key, value in db.iterator(prefix=b"k"):
            ...

A client can have many requests under way at once, without threads. The requests to a replica of this process are done
by a few threads that all wrapped replicas share, because calls into LevelDB block.
"""

from collections.abc import Callable, Coroutine, Generator, Mapping
from os import PathLike
from typing import Any, Self, Unpack, overload
from weakref import WeakSet

from level_replicator.api.replica import Replica
from level_replicator.api.request_handler import open_request_handler
from level_replicator.api.status import Status
from level_replicator.client import requests
from level_replicator.client.aio.backends import AsyncBackend, AsyncLocalBackend, AsyncRemoteBackend, perform
from level_replicator.client.aio.batch import AsyncBatch
from level_replicator.client.aio.changes import AsyncChanges
from level_replicator.client.aio.iterators import AsyncIterator, AsyncRawIterator, AsyncSnapshot
from level_replicator.client.backends import ClientGate
from level_replicator.client.connect import target_of
from level_replicator.core.limits import CLIENT_TIMEOUT_S
from level_replicator.core.records import Change
from level_replicator.database.arguments import Bytes, resolve_flag
from level_replicator.database.items import AwaitedItems, PublicNames
from level_replicator.database.iterators import IteratorOptions, ReadOptions
from level_replicator.database.prefixed import PrefixView
from level_replicator.storage.maintenance.verify import Report
from level_replicator.storage.reconcile.comparison import Difference

__all__ = [
    "AsyncBatch",
    "AsyncChanges",
    "AsyncDatabase",
    "AsyncIterator",
    "AsyncPrefixedDB",
    "AsyncRawIterator",
    "AsyncSnapshot",
    "connect",
    "wrap",
]


class AsyncDatabase(AwaitedItems, PublicNames):
    """The methods of a Replica as coroutines; iterators and feeds are for `async for`. For one event loop.

    They raise what those of the replica raise, and for a client ConnectionLostError."""

    def __init__(self, backend: AsyncBackend) -> None:
        self._backend = backend
        self._gate = ClientGate(backend)
        self._feeds: WeakSet[AsyncChanges] = WeakSet()

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
        return f"<level_replicator.aio.{type(self).__name__} of {self.name!r}{closed} at {id(self):#x}>"

    # -- one key

    async def get(
        self, key: bytes, default: Any = None, *, verify_checksums: bool = False, fill_cache: bool = True
    ) -> Any:
        """Return the value, `default` if the key is missing."""
        return await self._run(requests.get(key, default, verify_checksums=verify_checksums, fill_cache=fill_cache))

    async def put(self, key: bytes, value: Bytes, *, sync: bool | None = None) -> None:
        """See Replica.put."""
        await self._run(requests.put(key, value, sync=sync))

    async def delete(self, key: bytes, *, sync: bool | None = None) -> None:
        """See Replica.delete."""
        await self._run(requests.delete(key, sync=sync))

    # -- many keys

    async def write(self, operations: list[tuple[bytes, Bytes | None]], *, sync: bool | None = None) -> None:
        """Write all of these keys and values, in order, together or not at all. A value of None deletes the key."""
        await self._run(requests.write(requests.checked_operations(operations), sync=sync))

    def write_batch(self, *, transaction: bool = False, sync: bool | None = None) -> AsyncBatch:
        """See Replica.write_batch. The node applies the batch as one request, so it must not exceed MAX_FRAME_BYTES."""
        return self._batch(b"", transaction, sync)

    def __aiter__(self) -> AsyncIterator:
        return self.iterator()

    def iterator(self, **options: Unpack[IteratorOptions]) -> AsyncIterator:
        """See Replica.iterator. It shows the database as it was when its first item was asked for."""
        return self._prefixed_iterator(b"", options)

    def raw_iterator(self, **options: Unpack[ReadOptions]) -> AsyncRawIterator:
        """See Replica.raw_iterator. It shows the database as it was at its first move."""
        self._gate.check()
        return AsyncRawIterator(self._backend, 0, options)

    async def snapshot(self) -> AsyncSnapshot:
        """See Replica.snapshot."""
        return await self._prefixed_snapshot(b"")

    def prefixed_db(self, prefix: bytes) -> "AsyncPrefixedDB":
        """See Replica.prefixed_db."""
        return AsyncPrefixedDB(db=self, prefix=prefix)

    # -- the LevelDB itself

    async def get_property(self, name: bytes) -> bytes | None:
        """See Replica.get_property."""
        return await self._run(requests.get_property(name))

    async def approximate_size(self, start: bytes, stop: bytes) -> int:
        """See Replica.approximate_size."""
        return (await self.approximate_sizes((start, stop)))[0]

    async def approximate_sizes(self, *ranges: tuple[bytes, bytes]) -> list[int]:
        """See Replica.approximate_sizes."""
        return await self._run(requests.approximate_sizes(ranges))

    async def compact_range(self, *, start: bytes | None = None, stop: bytes | None = None) -> None:
        """See Replica.compact_range."""
        await self._run(requests.compact_range(start, stop))

    # -- the replica

    def changes(
        self, since: str | None = None, *, prefix: bytes = b"", live: bool = True, now: bool = False
    ) -> AsyncChanges:
        """See Replica.changes. The feed begins when it is first read, or at its `start`."""
        self._gate.check()
        feed = AsyncChanges(self._backend, since, prefix, live=live, now=now)
        self._feeds.add(feed)
        return feed

    async def status(self) -> Status:
        """See Replica.status."""
        return await self._run(requests.status())

    async def wait_synced(
        self,
        timeout: float | None = None,  # noqa: ASYNC109 - as Replica.wait_synced
        *,
        peers: int | None = None,
    ) -> bool:
        """See Replica.wait_synced."""
        return await self._run(requests.wait_synced(timeout, peers))

    async def truncate(self, *, max_bytes: int | None = None, max_age: float | None = None) -> int:
        """See Replica.truncate."""
        return await self._run(requests.truncate(max_bytes, max_age))

    @overload
    async def verify(
        self, peer: None = None, *, repair: bool = False, progress: Callable[[int], None] | None = None
    ) -> Report: ...

    @overload
    async def verify(self, peer: str) -> Difference: ...

    async def verify(
        self, peer: str | None = None, *, repair: bool = False, progress: Callable[[int], None] | None = None
    ) -> Report | Difference:
        """See Replica.verify. `progress` is called on the event loop."""
        return await self._run(requests.verify(peer, repair=repair), progress)

    async def backup(self, path: "str | PathLike[str]", *, progress: Callable[[int], None] | None = None) -> int:
        """See Replica.backup. The node writes the files, for clients of its Unix socket only: others get
        ReadOnlyError. `progress` is called on the event loop."""
        return await self._run(requests.backup(path), progress)

    async def disconnect(self, peer: str) -> int:
        """See Replica.disconnect."""
        return await self._run(requests.disconnect(peer))

    async def history(
        self, before: tuple[int, int] | None = None, *, prefix: bytes = b"", most: int = 100
    ) -> tuple[list[Change], tuple[int, int] | None]:
        """See Replica.history. The node bounds the bytes of its answer."""
        return await self._run(requests.history(before, prefix=prefix, most=most))

    # -- the end

    async def close(self) -> None:
        """Close the connection, and end the feeds. The node, or a wrapped replica, stays open. Idempotent."""
        for feed in list(self._feeds):
            feed.end()
        self._backend.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # -- for batches and prefixed views

    def _batch(self, prefix: bytes, transaction: bool, sync: bool | None) -> AsyncBatch:
        transaction = resolve_flag("transaction", transaction, False)
        if sync is not None:
            resolve_flag("sync", sync, False)
        self._gate.check()

        async def write(operations: list[Any]) -> None:
            await self._run(requests.write(operations, sync=sync))

        return AsyncBatch(self._gate, write, prefix, transaction)

    def _prefixed_iterator(self, prefix: bytes, options: IteratorOptions) -> AsyncIterator:
        self._gate.check()
        return AsyncIterator(self._backend, prefix, 0, options)

    async def _prefixed_snapshot(self, prefix: bytes) -> AsyncSnapshot:
        return AsyncSnapshot(self._backend, await self._run(requests.take_snapshot()), prefix)

    async def _run(
        self, steps: "requests.Steps[requests.T]", progress: Callable[[int], None] | None = None
    ) -> "requests.T":
        self._gate.check()
        return await perform(self._backend, steps, progress)


class AsyncPrefixedDB(PrefixView[AsyncDatabase], AwaitedItems):
    """plyvel's PrefixedDB for coroutines. Closed together with its database, `db`."""

    __slots__ = ()

    async def get(
        self, key: bytes, default: Any = None, *, verify_checksums: bool = False, fill_cache: bool = True
    ) -> Any:
        """Return the value of `prefix` + `key`, `default` if it is missing. Raises what the database's `get` raises."""
        return await self._db.get(
            self._with_prefix(key), default, verify_checksums=verify_checksums, fill_cache=fill_cache
        )

    async def put(self, key: bytes, value: Bytes, *, sync: bool | None = None) -> None:
        """Set the value of `prefix` + `key`. Raises what the database's `put` raises."""
        await self._db.put(self._with_prefix(key), value, sync=sync)

    async def delete(self, key: bytes, *, sync: bool | None = None) -> None:
        """Delete `prefix` + `key`, which may be missing. Raises what the database's `delete` raises."""
        await self._db.delete(self._with_prefix(key), sync=sync)

    def write_batch(self, *, transaction: bool = False, sync: bool | None = None) -> AsyncBatch:
        """Return an empty batch whose keys get the prefix. The arguments are those of the database's `write_batch`."""
        return self._db._batch(self._prefix, transaction, sync)

    def __aiter__(self) -> AsyncIterator:
        return self.iterator()

    def iterator(self, **options: Unpack[IteratorOptions]) -> AsyncIterator:
        """Return an iterator over the keys with the prefix, which it leaves out; bounds are without it too."""
        return self._db._prefixed_iterator(self._prefix, options)

    async def snapshot(self) -> AsyncSnapshot:
        """Return a snapshot of the keys with the prefix, which it leaves out of them."""
        return await self._db._prefixed_snapshot(self._prefix)

    def prefixed_db(self, prefix: bytes) -> "AsyncPrefixedDB":
        """Return a view whose prefix is this one followed by `prefix`. Raises TypeError for one that is not bytes."""
        return AsyncPrefixedDB(db=self._db, prefix=self._longer(prefix))


def connect(
    where: "str | PathLike[str]",
    *,
    pems: "str | PathLike[str] | Mapping[str, Any] | None" = None,
    fingerprint: "str | list[str] | None" = None,
    timeout: float = CLIENT_TIMEOUT_S,
    insecure: bool = False,
) -> "Connecting":
    """Connect to a running node: `db = await connect(...)`, or `async with connect(...) as db:`.

    The arguments are those of `level_replicator.connect`; its errors are raised when the connection is awaited."""

    async def connected() -> AsyncDatabase:
        target = target_of(where, pems=pems, fingerprint=fingerprint, timeout_s=timeout, insecure=insecure)
        backend = AsyncRemoteBackend(target)
        await backend.connect()
        return AsyncDatabase(backend)

    return Connecting(connected())


class Connecting(Coroutine[Any, Any, AsyncDatabase]):
    """A connection that is being opened: a coroutine that returns the database, and an `async with` block, at whose end
    the database is closed. For one use."""

    def __init__(self, connected: Coroutine[Any, Any, AsyncDatabase]) -> None:
        self._connected = connected
        self._db: AsyncDatabase | None = None

    def send(self, value: Any, /) -> Any:
        return self._connected.send(value)

    def throw(self, *raised: Any) -> Any:
        return self._connected.throw(*raised)

    def close(self) -> None:
        self._connected.close()

    def __await__(self) -> Generator[Any, Any, AsyncDatabase]:
        return self._connected.__await__()

    async def __aenter__(self) -> AsyncDatabase:
        self._db = await self._connected
        return self._db

    async def __aexit__(self, *_: object) -> None:
        if self._db is not None:
            await self._db.close()


def wrap(replica: Replica) -> AsyncDatabase:
    """Return the methods of a replica of this process as coroutines."""
    return AsyncDatabase(AsyncLocalBackend(replica, open_request_handler(replica, read_only=False, local=True)))
