"""The changes feed of a node, in another process."""

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Self

from level_replicator.core.cursor import decode_cursor, encode_cursor
from level_replicator.core.errors import ClosedError, ConfigError, ConnectionLostError
from level_replicator.core.limits import MAX_CLIENT_WAITS_MS
from level_replicator.core.requests import Follow, Items, Number, Read
from level_replicator.core.versions import Vector, decode_vector, origin_name
from level_replicator.storage.changes import Change, Item, Rescan

if TYPE_CHECKING:
    from level_replicator.face.backends import ClientBackend


class RemoteChanges:
    """As face.changes.Changes. A connection that is lost is made anew at the cursor: some changes come twice then."""

    def __init__(self, backend: "ClientBackend", since: str | None, prefix: bytes, *, live: bool, now: bool) -> None:
        if since is not None and now:
            raise ConfigError("since, now: one of the two")
        if not isinstance(prefix, bytes):
            raise TypeError(f"prefix: bytes are wanted, not {type(prefix).__name__}")
        self._backend = backend
        self._prefix = prefix
        self._live = live
        self._now = now
        self._started = since is not None
        self._passed: Vector = {} if since is None else decode_cursor(since)
        self._behind: Vector = dict(self._passed)
        self._waiting: deque[Item] = deque()
        self._ordered = True
        self._news = True
        self._closed = False
        self._lock = threading.Lock()
        self._own: ClientBackend | None = None
        self._feed = 0
        self._connect()
        if now:
            self._read(0)  # so that there is a cursor to go on with, whatever happens

    @property
    def cursor(self) -> str:
        """Covers what was given so far. Within a part that is read from the index it stands still."""
        return encode_cursor(self._passed)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Item:
        while not self._waiting:
            if self._closed or not (self._read(0) or (self._live and self._read_live())):
                self.close()  # the cursor stays
                raise StopIteration
        item = self._waiting.popleft()
        self._started = True
        if not self._waiting:
            self._passed = dict(self._behind)
        elif self._ordered and isinstance(item, Change):
            self._passed[int(item.origin, 16)] = item.stamp
        return item

    def wait(self, timeout: float | None = None) -> bool:
        """Until there is more, `timeout` seconds at the longest; False when there is not."""
        end = None if timeout is None else time.monotonic() + timeout
        while not self._waiting and not self._closed:
            left_ms = MAX_CLIENT_WAITS_MS if end is None else int((end - time.monotonic()) * 1000)
            self._read(max(0, min(left_ms, MAX_CLIENT_WAITS_MS)))
            if not self._waiting and end is not None and time.monotonic() >= end:
                return False
        return bool(self._waiting)

    def close(self) -> None:
        """Ends the iteration, also one that waits in another thread. Idempotent."""
        with self._lock:
            self._closed = True
            own, self._own = self._own, None
        if own is not None:
            own.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connect(self) -> None:
        own = self._backend.apart()
        with self._lock:
            self._own = own
        began_anew = self._started or not self._now
        cursor = self.cursor if self._started else None
        number = own.call(Follow, cursor, self._prefix, not began_anew)
        assert isinstance(number, Number)
        self._feed = number.number

    def _read_live(self) -> bool:
        while not self._closed:
            if self._read(MAX_CLIENT_WAITS_MS):
                return True
        return False

    def _read(self, wait_ms: int) -> bool:
        """Whether there is something now, or may be at once."""
        own = self._own
        if own is None:
            return False
        try:
            items = own.call(Read, self._feed, wait_ms)
        except (ConnectionLostError, ClosedError) as error:
            if self._closed:
                return False
            if isinstance(error, ClosedError):
                raise
            self._connect()
            return True
        assert isinstance(items, Items)
        if items.rescan:
            self._waiting.append(Rescan(items.rescan > 1))
        for key, value, origin, stamp in items.changes:
            self._waiting.append(Change(key, value, origin_name(origin), stamp))
        self._ordered = items.ordered
        self._behind = decode_vector(items.cursor)
        if not self._waiting:
            self._passed = dict(self._behind)
            self._started = True
        return bool(self._waiting) or items.news
