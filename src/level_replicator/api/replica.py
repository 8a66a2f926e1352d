"""The replica: a database with the interface of plyvel.DB that is replicated with its peers."""

import atexit
import logging
import math
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import CancelledError, Future
from functools import partial
from os import PathLike
from typing import Any, TypeVar, overload

from level_replicator.api.callbacks import Callbacks
from level_replicator.api.changes import Changes, open_reader
from level_replicator.api.config import Config
from level_replicator.api.monitoring.server import MetricsServer
from level_replicator.api.status import Status, status_of
from level_replicator.core.entry import Bytes
from level_replicator.core.errors import ClosedError, ConfigError, ReadOnlyError
from level_replicator.core.hlc import stamp_at
from level_replicator.core.limits import PAGE_BYTES, PAGE_ENTRIES
from level_replicator.core.records import Change
from level_replicator.core.version_vector import origin_name
from level_replicator.database.arguments import check_timeout
from level_replicator.database.database import Database
from level_replicator.leveldb import plyvel
from level_replicator.node.maintenance_thread import MaintenanceThread
from level_replicator.node.node import Node
from level_replicator.replication.peer_diff import compare
from level_replicator.storage.maintenance.verify import Report
from level_replicator.storage.reconcile.comparison import Difference
from level_replicator.storage.write.local_writer import Operation

_log = logging.getLogger("level_replicator.api")
_T = TypeVar("_T")


_ALIVE_WITHIN_S = 5.0


async def _nothing() -> None:
    """Return at once: a running event loop completes this immediately."""


class RefusingWriter:
    """The writer of a replica with `pull_only`: every local write raises ReadOnlyError."""

    def put(self, key: bytes, value: Bytes, sync: bool) -> None:
        self.write([], sync)

    def delete(self, key: bytes, sync: bool) -> None:
        self.write([], sync)

    def write(self, operations: list[Operation], sync: bool) -> None:
        raise ReadOnlyError("this replica has `pull_only`: it takes the writes of its peers, and no local writes")


class Replica(Database):
    """A database that is replicated. It behaves as a plyvel.DB. `install` and `open` create it.

    Writes raise LimitError for keys and values that are too large, and StorageError when a LevelDB has failed. Calls
    after `close` raise ClosedError, calls in a forked child ForkError.
    """

    def __init__(
        self,
        db: plyvel.DB,
        rs: plyvel.DB,
        node: Node,
        maintenance: MaintenanceThread,
        config: Config,
        callbacks: Callbacks,
        rs_options: Mapping[str, Any],
        metrics: MetricsServer | None,
    ) -> None:
        writer = RefusingWriter() if config.pull_only else node.store.writer
        super().__init__(db, writer, sync_default=config.sync)
        self._node = node
        self._maintenance = maintenance
        self._callbacks = callbacks
        self._rs_options = dict(rs_options)
        self._gate.keep_in_child(rs)
        self._metrics = metrics

    def _start(self) -> None:
        """Listen, dial and start all threads. `install` calls this once.

        Raises ConfigError if an address cannot be listened at; then nothing runs."""
        self._node.start()
        self._maintenance.start()
        if self._metrics is not None:
            self._metrics.start()
        self._callbacks.start()
        # the replica lives and replicates until it is closed, even if the program keeps no reference to it
        atexit.register(self._close_at_exit)

    @property
    def metrics_address(self) -> tuple[str, int] | None:
        """(host, port) where the node answers `/metrics`; None: nowhere."""
        return None if self._metrics is None else self._metrics.address

    @property
    def origin(self) -> str:
        """The origin, 16 hexadecimal digits: the identity under which this node writes."""
        return origin_name(self._node.store.origin)

    @property
    def address(self) -> tuple[str, int] | None:
        """(host, port) where the node listens; None: it only dials."""
        return self._node.address

    def status(self) -> Status:
        """Return the status of this node and of its peers, as plain data for JSON. `Status` and `PeerStatus` describe
        the keys."""
        status: Status = self._gate.call(status_of, self._node)
        return status

    def wait_synced(self, timeout: float | None = None, *, peers: int | None = None) -> bool:
        """Wait until this node has everything that its peers had at the time of the call.

        timeout  in seconds; None: no limit
        peers    wait until this node has everything of at least this many connected peers, whichever they are

        Without `peers` the call waits for all peers that are connected, and for all `servers` that can be reached: it
        dials the others within a second, and waits until each attempt has ended. A server whose attempt fails, because
        it is down or refuses, is not waited for; one that does not answer is, for at most 20 s. If there are `servers`,
        at least one peer must be connected, so the call waits while none is. Peers of which this node takes no changes
        (`read_only`) do not count, nor does a peer that disconnects before it has sent its version vector.

        Returns False if the timeout expires first. Raises ConfigError if `timeout` is not a number or `peers` is not a
        whole number from 1, RuntimeError on the event loop of the replica, which would wait for itself, and ClosedError
        when the replica is closed."""
        if peers is not None and (isinstance(peers, bool) or not isinstance(peers, int) or peers < 1):
            raise ConfigError(f"peers: {peers!r} is not a number of peers: expected a whole number from 1, or None")
        check_timeout(timeout)
        if self._node.on_own_thread():
            raise RuntimeError("wait_synced was called on the event loop of the replica: call it from another thread")
        answer = self._gate.call(self._node.begin_wait, timeout, peers)
        return self._wait_for(answer)

    def disconnect(self, peer: str) -> int:
        """Close all connections of the peer with this address, name, origin or fingerprint at once, without sending
        anything more. Connections of clients over the port are included, and connections that are not accepted yet.
        Returns the number of connections.

        The peer may connect again; then it is accepted or refused anew, by `identify` too. Raises ConfigError."""
        if not isinstance(peer, str):
            raise ConfigError(f"peer: {peer!r} is not a str: expected an address, name, origin or fingerprint")
        return self._wait_for(self._gate.call(self._node.disconnect, peer))

    # -- changes

    def changes(
        self, since: str | None = None, *, prefix: bytes = b"", live: bool = True, now: bool = False
    ) -> Changes:
        """Return the changes feed: the latest change of each key, beginning after `since`, which is the `cursor` of an
        earlier feed. Without `since` the feed begins with all keys, or, with `now`, with the next change.

        prefix  only keys with this prefix
        live    whether the feed waits for further changes at its end

        If the log does not reach back to `since`, the feed contains a `Rescan`, and then changes from the index. A feed
        that is not read costs nothing, because the log is its queue. Raises ConfigError."""
        store = self._node.store
        return Changes(store, self._gate, open_reader(store, self._gate, since, prefix, now=now), live=live)

    def history(
        self,
        before: tuple[int, int] | None = None,
        *,
        prefix: bytes = b"",
        most: int = 100,
        most_bytes: int = PAGE_BYTES,
    ) -> tuple[list[Change], tuple[int, int] | None]:
        """Return the newest entries of the log, of all origins, in descending order of their dots; and the position to
        pass as `before` to the next call, None at the end.

        most, most_bytes  bounds of the number and of the bytes of the entries that are returned. `most` is at
                          least 1 and at most PAGE_ENTRIES; other numbers are replaced by these bounds

        This is for people: overwritten and truncated entries are not in the log. Programs use `changes`. Raises
        StorageError."""
        most = min(max(most, 1), PAGE_ENTRIES)
        return self._gate.call(self._node.store.history, before, prefix, most, most_bytes)

    # -- maintenance

    def truncate(self, *, max_bytes: int | None = None, max_age: float | None = None) -> int:
        """Remove entries from the log, oldest first, until it takes at most `max_bytes` on the disk, or those that are
        older than `max_age` seconds; without bounds all of them. Returns the number of removed entries.

        No data is lost: a peer that lacks removed entries reconciles its index with that of this node instead. This
        runs in the caller's thread, while reads and writes continue. Raises StorageError, ConfigError."""
        retention = self._node.store.retention
        bounds: dict[str, int] = {}
        for name, value in (("max_bytes", max_bytes), ("max_age", max_age)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0):
                raise ConfigError(f"{name}: {value!r} is not a bound: expected a number from 0")
        if math.inf in (max_bytes, max_age):
            raise ConfigError("max_bytes, max_age: inf would remove nothing: expected a finite number")
        if max_age is not None:
            bounds["before"] = stamp_at(int(self._node.coordinator.wall_ms() - max_age * 1000))
        if max_bytes is not None:
            bounds["most_bytes"] = max(0, self._gate.call(retention.log_bytes) - int(max_bytes))
        return self._gate.call(partial(retention.truncate, **bounds, pause=self._still_open))

    @overload
    def verify(
        self, peer: None = None, *, repair: bool = False, progress: Callable[[int], None] | None = None
    ) -> Report: ...

    @overload
    def verify(self, peer: str) -> Difference: ...

    def verify(
        self, peer: str | None = None, *, repair: bool = False, progress: Callable[[int], None] | None = None
    ) -> Report | Difference:
        """Check this node, or compare it with a peer.

        Without `peer`: check that the database agrees with the index, and the log with both. With `repair` the findings
        are repaired, from the log or else from peers, and keys that were written without the replica are adopted. A
        value that is neither in the log nor in the database is `lost` until a peer sends it; a second call with
        `repair` gives it up. `progress` is called with the number of keys that were checked.

        With `peer`, the address, name or origin of a connected peer: return how the two nodes differ at this moment.
        The cost is proportional to the differences, and nothing is changed.

        Raises StorageError, ConfigError if the peer is not connected, ReplicationError if it disconnects."""
        if peer is not None:
            if not isinstance(peer, str):
                raise ConfigError(f"peer: {peer!r} is not a str: expected an address, name or origin")
            if repair:
                raise ConfigError(
                    "repair: replication repairs two nodes that differ; verify each of them alone, without `peer`"
                )
            return self._wait_for(self._gate.call(lambda: self._node.call(compare(self._node.coordinator, peer))))
        store = self._node.store
        return self._gate.call(
            partial(store.verify, repair=repair, progress=self._progress(progress), alone=self._alone)
        )

    def backup(self, path: "str | PathLike[str]", *, progress: Callable[[int], None] | None = None) -> int:
        """Copy a snapshot of database and replication set to `path`/db and `path`/rs, while writes continue. Returns
        the number of keys.

        `path` must not exist or be empty. `progress` is called with the number of keys that were copied. To restore the
        backup, put it in the place of the directory: it gets a new origin when it is opened. Raises ConfigError,
        StorageError."""
        return self._gate.call(self._node.store.backup, path, self._rs_options, self._progress(progress))

    def _reload_credentials(self, trusted: Collection[str] | None) -> None:
        """Read the key file and the trusted file again, now. `trusted`: the new list, if it is not a file."""
        self._wait_for(self._node.reload_credentials(trusted))

    def _progress(self, report: Callable[[int], None] | None) -> Callable[[int], None]:
        """Return a progress function that ends the work when the replica is being closed: `close` must not wait for
        it."""

        def progress(keys: int) -> None:
            if self._gate.shut:
                self._gate.refuse()
            if report is not None:
                report(keys)

        return progress

    def _alone(self, work: Callable[[], None]) -> None:
        self._wait_for(self._node.change_origin(work))

    def _still_open(self) -> bool:
        return not self._gate.shut

    def _wait_for(self, answer: "Future[_T]") -> _T:
        try:
            return answer.result()
        except CancelledError as error:
            raise ClosedError("the replica was closed") from error

    def _check_alive(self) -> None:
        """Raise TimeoutError if the event loop does not respond."""
        self._gate.call(lambda: self._node.call(_nothing())).result(_ALIVE_WITHIN_S)

    def _close_engines(self) -> None:
        if self._metrics is not None:
            self._metrics.close()
        self._maintenance.stop()
        self._node.stop()
        self._callbacks.stop_conflicts()
        try:
            self._node.store.close()
        finally:
            self._callbacks.close()
        atexit.unregister(self._close_at_exit)

    def _close_at_exit(self) -> None:
        try:
            self.close()
        except Exception:
            _log.exception("closing %s at exit failed", self.name)
