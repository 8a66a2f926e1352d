"""The same verbs as coroutines: `lrep.aio.connect(...)`, a client; `lrep.aio.wrap(replica)`, a replica of this process.

    async with await lrep.aio.connect("/tmp/notes") as db:
        await db.put(b"key", b"value")
        async for key, value in db.iterator(prefix=b"k"):
            ...

A client has many requests under way at once, without threads. A replica's are done by a few threads that it shares with
all others of this process: LevelDB knows no other way not to stand still.
"""

from collections.abc import AsyncIterator, Mapping
from os import PathLike, fspath
from types import TracebackType
from typing import Any, Self, Unpack

from level_replicator.api.replica import Replica
from level_replicator.api.request_handler import open_request_handler
from level_replicator.api.status import Status
from level_replicator.client.aio.backends import AsyncBackend, HereBackend, ProgressCallback, RemoteBackend
from level_replicator.client.aio.changes import AsyncChanges
from level_replicator.client.aio.iterators import AsyncSnapshot, check_key, get_value, iterate
from level_replicator.client.connect import target_of
from level_replicator.client.database import dataclass_of
from level_replicator.core.limits import CLIENT_TIMEOUT_S, MAX_CLIENT_WAITS_MS
from level_replicator.database.arguments import Bytes, copy_value, resolve_flag
from level_replicator.database.iterators import IteratorOptions, ReadOptions
from level_replicator.protocol.client_messages import Data, Do, Number, TakeSnapshot, Write
from level_replicator.storage.maintenance.verify import Report
from level_replicator.storage.reconcile.comparison import Difference

__all__ = ["AsyncBatch", "AsyncChanges", "AsyncDatabase", "AsyncSnapshot", "connect", "wrap"]


class AsyncBatch:
    """As database.batch.WriteBatch; `await batch.write()`, or an `async with` block."""

    def __init__(self, database: "AsyncDatabase", transaction: bool, sync: bool | None) -> None:
        self._database = database
        self._transaction = resolve_flag("transaction", transaction, False)
        self._sync = sync
        self._operations: list[tuple[bytes, bytes | None]] = []

    def put(self, key: bytes, value: Bytes) -> None:
        self._operations.append((check_key(key), copy_value(value)))

    def delete(self, key: bytes) -> None:
        self._operations.append((check_key(key), None))

    def clear(self) -> None:
        self._operations.clear()

    async def write(self) -> None:
        await self._database.write(self._operations.copy(), sync=self._sync)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not (self._transaction and kind is not None):
            await self.write()
        self.clear()


class AsyncDatabase:
    """The verbs of a Replica as coroutines; iterators and feeds are for `async for`. Of one event loop.

    Raises what the replica raises, and for a client ConnectionLostError."""

    def __init__(self, backend: AsyncBackend) -> None:
        self._backend = backend

    @property
    def name(self) -> str:
        return self._backend.name

    async def get(self, key: bytes, default: Any = None, **options: Unpack[ReadOptions]) -> Any:
        return await get_value(self._backend, 0, key, default, options)

    async def put(self, key: bytes, value: Bytes, *, sync: bool | None = None) -> None:
        await self.write([(check_key(key), copy_value(value))], sync=sync)

    async def delete(self, key: bytes, *, sync: bool | None = None) -> None:
        await self.write([(check_key(key), None)], sync=sync)

    async def write(self, operations: list[tuple[bytes, bytes | None]], *, sync: bool | None = None) -> None:
        """All of them, in order, together or not at all; None deletes."""
        if sync is not None:
            resolve_flag("sync", sync, False)
        await self._backend.call(Write, operations, sync)

    def write_batch(self, *, transaction: bool = False, sync: bool | None = None) -> AsyncBatch:
        return AsyncBatch(self, transaction, sync)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self.iterator()

    def iterator(self, **options: Unpack[IteratorOptions]) -> AsyncIterator[Any]:
        """As of the moment when its first item is asked for."""
        return iterate(self._backend, 0, options)

    async def snapshot(self) -> AsyncSnapshot:
        number = await self._backend.call(TakeSnapshot)
        assert isinstance(number, Number)
        return AsyncSnapshot(self._backend, number.number)

    def changes(
        self, since: str | None = None, *, prefix: bytes = b"", live: bool = True, now: bool = False
    ) -> AsyncChanges:
        return AsyncChanges(self._backend, since, prefix, live=live, now=now)

    async def status(self) -> Status:
        found: Status = await self._do("status")
        return found

    async def wait_synced(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109
        left = timeout
        while left is None or left > 0:
            part = MAX_CLIENT_WAITS_MS / 1000 if left is None else min(left, MAX_CLIENT_WAITS_MS / 1000)
            if await self._do("wait_synced", timeout=part):
                return True
            left = None if left is None else left - part
        return False

    async def truncate(self, *, max_bytes: int | None = None, max_age: float | None = None) -> int:
        count: int = await self._do("truncate", max_bytes=max_bytes, max_age=max_age)
        return count

    async def verify(
        self, peer: str | None = None, *, repair: bool = False, progress: ProgressCallback | None = None
    ) -> Report | Difference:
        if peer is not None:
            return dataclass_of(Difference, await self._do("verify", peer=peer))
        return dataclass_of(Report, await self._do("verify", progress, repair=repair))

    async def backup(self, path: "str | PathLike[str]", *, progress: ProgressCallback | None = None) -> int:
        count: int = await self._do("backup", progress, path=fspath(path))
        return count

    async def disconnect(self, peer: str) -> int:
        count: int = await self._do("disconnect", peer=peer)
        return count

    async def close(self) -> None:
        """Idempotent. A wrapped replica stays open: it is its owner's."""
        self._backend.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _do(self, verb: str, progress: ProgressCallback | None = None, **arguments: Any) -> Any:
        answer = await self._backend.call(Do, verb, arguments, progress=progress)
        assert isinstance(answer, Data)
        return answer.data


async def connect(
    where: "str | PathLike[str]",
    *,
    pems: "str | PathLike[str] | Mapping[str, Any] | None" = None,
    fingerprint: "str | list[str] | None" = None,
    timeout: float = CLIENT_TIMEOUT_S,  # noqa: ASYNC109 - as level_replicator.connect has it
    insecure: bool = False,
) -> AsyncDatabase:
    """As level_replicator.connect."""
    target = target_of(where, pems=pems, fingerprint=fingerprint, timeout_s=timeout, insecure=insecure)
    remote = RemoteBackend(target)
    await remote.connection()
    return AsyncDatabase(remote)


def wrap(replica: Replica) -> AsyncDatabase:
    """The verbs of a replica of this process as coroutines."""
    return AsyncDatabase(HereBackend(replica, open_request_handler(replica, read_only=False, local=True)))
