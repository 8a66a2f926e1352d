"""Executes the requests of one client on a replica, with the permissions of the client.

Clients are programs in other processes, over the port of the node or its Unix socket, and the coroutines and shared
databases of this process.
"""

import secrets
import threading
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

from level_replicator.api.admin_commands import LANES, VERBS, ClientPermissions
from level_replicator.api.changes import open_reader
from level_replicator.api.replica import Replica
from level_replicator.core.errors import ClosedError, ConfigError, LimitError, ReadOnlyError, RemoteProtocolError
from level_replicator.core.limits import (
    BACKGROUND_WRITE_BYTES,
    MAX_CLIENT_FEEDS,
    MAX_CLIENT_SNAPSHOTS,
    MAX_CLIENT_WAITS_MS,
    PAGE_BYTES,
    PAGE_ENTRIES,
)
from level_replicator.core.records import Change, Rescan
from level_replicator.core.version_vector import encode_vector, newer
from level_replicator.database.gate import Gate
from level_replicator.database.iterators import Snapshot
from level_replicator.protocol.client_messages import (
    AnyAnswer,
    AnyRequest,
    Data,
    Do,
    Done,
    Follow,
    Get,
    Items,
    Number,
    Page,
    Read,
    Release,
    Scan,
    TakeSnapshot,
    Unfollow,
    Value,
    Write,
)
from level_replicator.storage.feed.change_feed import ChangeReader
from level_replicator.storage.store import Store

_EMPTY_READS = 16
"""Chunks of the log without a key of the prefix that one request reads at most."""


def open_request_handler(replica: Replica, *, read_only: bool, local: bool) -> "RequestHandler":
    """Return a handler for the requests of a new client. See ClientPermissions."""
    permissions = ClientPermissions(read_only=read_only, local=local)
    return RequestHandler(replica, replica._node.store, replica._gate, permissions, sync_default=replica._sync)


class RequestHandler:
    """Executes the requests of one client. Several threads may call it at once; requests to one feed wait for each
    other."""

    def __init__(
        self, replica: Replica, store: Store, gate: Gate, permissions: ClientPermissions, *, sync_default: bool
    ) -> None:
        self.origin = store.origin
        self.read_only = permissions.read_only
        self._permissions = permissions
        self._replica = replica
        self._store = store
        self._gate = gate
        self._sync = sync_default
        # numbers begin at random, so that a number from an earlier connection is not valid on this one
        self._numbers = count(secrets.randbits(48) + 1)
        self._snapshots: dict[int, Snapshot] = {}
        self._feeds: dict[int, tuple[ChangeReader, threading.Lock]] = {}
        self._closed = False

    def lane(self, request: AnyRequest) -> str | None:
        """Return the group of threads for a request that may take long; None: execute it on the event loop."""
        if isinstance(request, Write):
            sync = self._sync if request.sync is None else request.sync
            large = sum(len(key) + len(value or b"") for key, value in request.operations) > BACKGROUND_WRITE_BYTES
            return "write" if sync or large else None
        if isinstance(request, Do):
            return LANES.get(request.verb, "care")
        return None

    def answer(self, request: AnyRequest, progress: Callable[[int], None]) -> AnyAnswer | None:
        """Execute a request. Returns None for a Read without changes that may wait: ask again after `call_at_news`.

        Raises the errors of the methods of Replica; ReadOnlyError and LimitError; ClosedError for a snapshot or feed
        that does not exist; RemoteProtocolError for an invalid request."""
        match request:
            case Get():
                options = {"verify_checksums": request.verify_checksums, "fill_cache": request.fill_cache}
                source = self._snapshot(request.snapshot) if request.snapshot else self._replica
                return Value(request.id, source.get(request.key, **options))
            case Write():
                return self._write(request)
            case Scan():
                return self._scan(request)
            case TakeSnapshot():
                return Number(request.id, self._keep(self._replica.snapshot()))
            case Release():
                snapshot = self._snapshots.pop(request.snapshot, None)
                if snapshot is not None:
                    snapshot.close()
                return Done(request.id)
            case Follow():
                return self._follow(request)
            case Read():
                return self._read(request)
            case Unfollow():
                self._feeds.pop(request.feed, None)
                return Done(request.id)
            case Do():
                return self._do(request, progress)
            case _:
                raise RemoteProtocolError("Attach may only be the first request")

    @property
    def stopping(self) -> bool:
        return self._gate.shut

    def call_at_news(self, call: Callable[[], None]) -> None:
        self._store.notifier.call_at_next(call)

    def answer_or_wait(self, request: AnyRequest, progress: Callable[[int], None]) -> AnyAnswer:
        """Execute a request, and wait for changes if it is a Read that may wait. For callers with a thread of their
        own."""
        answer = self.answer(request, progress)
        if answer is None:
            assert isinstance(request, Read)
            reader, _ = self._feeds[request.feed]
            self._store.notifier.wait(lambda: self._has_news(reader), min(request.wait_ms, MAX_CLIENT_WAITS_MS) / 1000)
            answer = self.answer(Read(request.id, request.feed), progress)
            assert answer is not None
        return answer

    def _has_news(self, reader: ChangeReader) -> bool:
        return self._closed or self._gate.shut or self._gate.call(reader.has_news)

    def dont_call(self, call: Callable[[], None]) -> None:
        self._store.notifier.dont_call(call)

    def close(self) -> None:
        self._closed = True
        self._feeds.clear()
        while self._snapshots:
            self._snapshots.popitem()[1].close()
        self._store.notifier.ring()

    # -- keys

    def _write(self, request: Write) -> Done:
        if self.read_only:
            raise ReadOnlyError("this client has read-only access")
        batch = self._replica.write_batch(transaction=True, sync=request.sync)
        with batch:
            for key, value in request.operations:
                if value is None:
                    batch.delete(key)
                else:
                    batch.put(key, value)
        return Done(request.id)

    def _scan(self, request: Scan) -> Page:
        if not (request.keys or request.values):
            raise RemoteProtocolError("a Scan without keys and values: expected one of them, or both")
        fresh = not request.snapshot
        snapshot = self._replica.snapshot() if fresh else self._snapshot(request.snapshot)
        try:
            keys, values, more = self._page(snapshot, request)
            if fresh and more:
                return self._answer_page(request, keys, values, self._keep(snapshot))
        except BaseException:
            if fresh:
                snapshot.close()
            raise
        if fresh:
            snapshot.close()
        return self._answer_page(request, keys, values, request.snapshot if more else 0)

    @staticmethod
    def _page(snapshot: Snapshot, request: Scan) -> tuple[list[bytes], list[bytes], bool]:
        options: dict[str, Any] = {"verify_checksums": request.verify_checksums, "fill_cache": request.fill_cache}
        if request.low is not None:
            options |= {"start": request.low[0], "include_start": not request.low[1]}
        if request.high is not None:
            options |= {"stop": request.high[0], "include_stop": request.high[1]}
        keys: list[bytes] = []
        values: list[bytes] = []
        size = 0
        with snapshot.iterator(reverse=request.reverse, include_value=request.values, **options) as found:
            for item in found:
                key, value = item if request.values else (item, b"")
                keys.append(key)
                values.append(value)
                size += len(key) + len(value)
                if len(keys) >= PAGE_ENTRIES or size >= PAGE_BYTES:
                    return keys, values, True
        return keys, values, False

    @staticmethod
    def _answer_page(request: Scan, keys: list[bytes], values: list[bytes], snapshot: int) -> Page:
        """Return a page. `snapshot`: the number of the snapshot for the next page; 0: this is the last page."""
        end = (keys[-1], not request.reverse) if snapshot else None
        return Page(request.id, keys if request.keys else [], values if request.values else [], end, snapshot)

    def _keep(self, snapshot: Snapshot) -> int:
        if self._closed or len(self._snapshots) >= MAX_CLIENT_SNAPSHOTS:
            snapshot.close()
            raise LimitError(
                f"{MAX_CLIENT_SNAPSHOTS} snapshots and iterators of this client are open, the most allowed: close some"
            )
        number = next(self._numbers)
        self._snapshots[number] = snapshot
        return number

    def _snapshot(self, number: int) -> Snapshot:
        snapshot = self._snapshots.get(number)
        if snapshot is None:
            raise ClosedError("Database, iterator or snapshot is closed, or the connection over which it was opened")
        return snapshot

    # -- changes

    def _follow(self, request: Follow) -> Number:
        if len(self._feeds) >= MAX_CLIENT_FEEDS:
            raise LimitError(f"{MAX_CLIENT_FEEDS} changes feeds of this client are open, the most allowed: close some")
        number = next(self._numbers)
        reader = open_reader(self._store, self._gate, request.cursor, request.prefix, now=request.now)
        self._feeds[number] = (reader, threading.Lock())
        return Number(request.id, number)

    def _read(self, request: Read) -> Items | None:
        if request.feed not in self._feeds:
            raise ClosedError("this changes feed is closed")
        reader, lock = self._feeds[request.feed]
        with lock:
            for _ in range(_EMPTY_READS):
                chunk = self._gate.call(reader.read)
                news = self._gate.call(reader.has_news)
                if chunk.items or not news:
                    break
            if not chunk.items and not news and request.wait_ms > 0:
                return None
            rescan = 0
            changes = []
            for item in chunk.items:
                if isinstance(item, Rescan):
                    rescan = 2 if item.complete else 1
                elif isinstance(item, Change):
                    changes.append((item.key, item.value, int(item.origin, 16), item.stamp))
            cursor = reader.cursor
            ahead = encode_vector(newer(cursor.ahead, cursor.vector))
            dots = [] if chunk.dots == [(stamp, origin) for _, _, origin, stamp in changes] else chunk.dots
            vector = encode_vector(cursor.vector)
            return Items(request.id, changes, chunk.ordered, rescan, vector, news, cursor.node, ahead, dots)

    # -- everything else

    def _do(self, request: Do, progress: Callable[[int], None]) -> Data:
        verb = VERBS.get(request.verb)
        if verb is None:
            raise ConfigError(f"this node has no command {request.verb!r}: does the client have a later version?")
        if not isinstance(request.arguments, Mapping):
            raise RemoteProtocolError("the arguments of a command are not a map")
        return Data(request.id, verb(self._replica, self._permissions, progress, request.arguments))
