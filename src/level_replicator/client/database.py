"""A database that lies in another process, in the shape of plyvel's."""

import dataclasses
from collections.abc import Callable
from os import PathLike, fspath
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar, Unpack, overload
from weakref import WeakSet

from level_replicator.client.backends import ClientBackend
from level_replicator.client.changes import RemoteChanges
from level_replicator.client.iterators import RemoteIterator, RemoteRawIterator, RemoteSnapshot, flags_of
from level_replicator.client.pager import Source
from level_replicator.core.errors import ClosedError, ConfigError
from level_replicator.core.limits import MAX_CLIENT_WAITS_MS
from level_replicator.core.records import Change
from level_replicator.database.arguments import Bytes, copy_value, refuse_argument, resolve_flag
from level_replicator.database.batch import WriteBatch
from level_replicator.database.iterators import IteratorOptions, ReadOptions
from level_replicator.database.prefixed import PrefixedDB
from level_replicator.protocol.client_messages import Get, Value, Write
from level_replicator.storage.maintenance.verify import Report
from level_replicator.storage.reconcile.comparison import Difference

_ASK_AGAIN_S = MAX_CLIENT_WAITS_MS / 1000


class RemoteDatabase:
    """plyvel.DB in behaviour, and with what a replica has besides; `connect` and `open(share=True)` make one.

    For any thread. Raises what the replica raises, and ConnectionLostError. Snapshots and iterators end with the
    connection over which they were opened: ClosedError then."""

    def __init__(self, backend: ClientBackend) -> None:
        self._backend = backend
        self._feeds: WeakSet[RemoteChanges] = WeakSet()
        self.shut = False

    @property
    def name(self) -> str:
        """Where the database is: an address, or a path."""
        return self._backend.name

    @property
    def closed(self) -> bool:
        return self.shut

    def __repr__(self) -> str:
        closed = " (closed)" if self.shut else ""
        return f"<level_replicator.{type(self).__name__} of {self.name!r}{closed} at {id(self):#x}>"

    # -- one key

    def get(self, key: bytes, default: Any = None, **options: Unpack[ReadOptions]) -> Any:
        if type(key) is not bytes:
            refuse_argument("key", "bytes", key)
        if self.shut:
            self.refuse()
        answer = self._backend.call(Get, key, 0, *flags_of(options)) if options else self._backend.call(Get, key)
        assert isinstance(answer, Value)
        return default if answer.value is None else answer.value

    def put(self, key: bytes, value: Bytes, *, sync: bool | None = None) -> None:
        if type(key) is not bytes:
            refuse_argument("key", "bytes", key)
        self._write([(key, copy_value(value))], sync)

    def delete(self, key: bytes, *, sync: bool | None = None) -> None:
        if type(key) is not bytes:
            refuse_argument("key", "bytes", key)
        self._write([(key, None)], sync)

    # -- many keys

    def write_batch(self, *, transaction: bool = False, sync: bool | None = None) -> WriteBatch:
        """Atomic on the node, as anywhere."""
        return self._batch(b"", transaction, sync)

    def __iter__(self) -> RemoteIterator:
        return self.iterator()

    def iterator(self, **options: Unpack[IteratorOptions]) -> RemoteIterator:
        return self._prefixed_iterator(b"", options)

    def raw_iterator(self, **options: Unpack[ReadOptions]) -> RemoteRawIterator:
        return RemoteRawIterator(self._source(), options)

    def snapshot(self) -> RemoteSnapshot:
        return self._prefixed_snapshot(b"")

    def prefixed_db(self, prefix: bytes) -> "PrefixedDB[Self, RemoteIterator, RemoteSnapshot]":
        return PrefixedDB(db=self, prefix=prefix)

    # -- the LevelDB itself

    def get_property(self, name: bytes) -> bytes | None:
        if type(name) is not bytes:
            refuse_argument("name", "bytes", name)
        found: bytes | None = self._do("property", name=name)
        return found

    def approximate_size(self, start: bytes, stop: bytes) -> int:
        return self.approximate_sizes((start, stop))[0]

    def approximate_sizes(self, *ranges: tuple[bytes, bytes]) -> list[int]:
        for start, stop in ranges:
            for each in (start, stop):
                if type(each) is not bytes:
                    refuse_argument("range", "bytes", each)
        sizes: list[int] = self._do("sizes", ranges=[list(each) for each in ranges])
        return sizes

    def compact_range(self, *, start: bytes | None = None, stop: bytes | None = None) -> None:
        self._do("compact", start=start, stop=stop)

    # -- what a replica has besides

    def changes(
        self, since: str | None = None, *, prefix: bytes = b"", live: bool = True, now: bool = False
    ) -> RemoteChanges:
        """See Replica.changes. Over a connection of its own; when that is lost, it goes on over the next one."""
        if self.shut:
            self.refuse()
        feed = RemoteChanges(self._backend, since, prefix, live=live, now=now)
        self._feeds.add(feed)
        return feed

    def status(self) -> dict[str, Any]:
        """See Replica.status."""
        found: dict[str, Any] = self._do("status")
        return found

    def wait_synced(self, timeout: float | None = None) -> bool:
        """See Replica.wait_synced."""
        left = timeout
        while left is None or left > 0:
            part = _ASK_AGAIN_S if left is None else min(left, _ASK_AGAIN_S)
            if self._do("wait_synced", timeout=part):
                return True
            left = None if left is None else left - part
        return False

    def truncate(self, *, max_bytes: int | None = None, max_age: float | None = None) -> int:
        """See Replica.truncate."""
        count: int = self._do("truncate", max_bytes=max_bytes, max_age=max_age)
        return count

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
        if peer is not None:
            if repair:
                raise ConfigError(
                    "repair: two nodes that differ are repaired by replication; verify each of them alone"
                )
            return dataclass_of(Difference, self._do("verify", peer=peer))
        return dataclass_of(Report, self._do("verify", progress, repair=repair))

    def backup(self, path: "str | PathLike[str]", *, progress: Callable[[int], None] | None = None) -> int:
        """See Replica.backup: `path` is one of the node, which writes there for programs of its own machine only, that
        came over its Unix socket. Raises ReadOnlyError for others."""
        count: int = self._do("backup", progress, path=fspath(path))
        return count

    def disconnect(self, peer: str) -> int:
        """See Replica.disconnect."""
        count: int = self._do("disconnect", peer=peer)
        return count

    def history(
        self, before: tuple[int, int] | None = None, *, prefix: bytes = b"", most: int = 100
    ) -> tuple[list[Change], tuple[int, int] | None]:
        """See Replica.history."""
        found = self._do("log", before=None if before is None else list(before), prefix=prefix, most=most)
        onward = found["before"]
        return [Change(*each) for each in found["entries"]], None if onward is None else (onward[0], onward[1])

    # -- the end

    def close(self) -> None:
        """Idempotent; from any thread. Its feeds end. The node goes on."""
        self.shut = True
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

    def refuse(self) -> NoReturn:
        """Raises what a caller of a closed database is to get."""
        raise ClosedError("Database is closed")

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        if self.shut:
            self.refuse()
        return function(*args)

    def _batch(self, prefix: bytes, transaction: bool, sync: bool | None) -> WriteBatch:
        transaction = resolve_flag("transaction", transaction, False)
        if sync is not None:
            resolve_flag("sync", sync, False)
        if self.shut:
            self.refuse()
        return WriteBatch(self, lambda operations: self._write(operations, sync), prefix, transaction)

    def _prefixed_iterator(self, prefix: bytes, options: IteratorOptions) -> RemoteIterator:
        return RemoteIterator(self._source(), prefix, **options)

    def _prefixed_snapshot(self, prefix: bytes) -> RemoteSnapshot:
        if self.shut:
            self.refuse()
        return RemoteSnapshot(self._backend, prefix)

    def _source(self) -> Source:
        if self.shut:
            self.refuse()
        return Source(self._backend)

    def _write(self, operations: list[Any], sync: bool | None) -> None:
        if sync is not None:
            resolve_flag("sync", sync, False)
        if self.shut:
            self.refuse()
        self._backend.call(Write, operations, sync)

    def _do(self, verb: str, progress: Callable[[int], None] | None = None, **arguments: Any) -> Any:
        if self.shut:
            self.refuse()
        return self._backend.do(verb, progress, **arguments)


_R = TypeVar("_R", Report, Difference)


def dataclass_of(kind: type[_R], found: dict[str, Any]) -> _R:
    """What the node told, of a later version perhaps."""
    known = {field.name for field in dataclasses.fields(kind)}
    made = kind(**{name: value for name, value in found.items() if name in known})
    made.examples = [(kind_of, key) for kind_of, key in made.examples]
    return made
