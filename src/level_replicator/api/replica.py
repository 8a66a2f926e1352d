"""The replica: a plyvel-shaped database that is one of many masters."""

import atexit
import logging
import math
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future
from functools import partial
from os import PathLike
from typing import Any, TypeVar, overload

import plyvel

from level_replicator.api.callbacks import Callbacks
from level_replicator.api.changes import Changes, open_reader
from level_replicator.api.config import Config
from level_replicator.api.monitoring.server import MetricsServer
from level_replicator.api.status import Status, status_of
from level_replicator.core.entry import Bytes
from level_replicator.core.errors import ClosedError, ConfigError, ReadOnlyError
from level_replicator.core.hlc import stamp_at
from level_replicator.core.limits import PAGE_BYTES
from level_replicator.core.records import Change
from level_replicator.core.version_vector import origin_name
from level_replicator.database.database import Database
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
        """(host, port) where `/metrics` is answered, if anywhere."""
        return None if self._metrics is None else self._metrics.address

    @property
    def origin(self) -> str:
        """This incarnation of this node: 16 hexadecimal digits."""
        return origin_name(self._node.store.origin)

    @property
    def address(self) -> tuple[str, int] | None:
        """(host, port) where it listens; None when it only dials."""
        return self._node.address

    def status(self) -> Status:
        """Return the status of this node and of its peers, as plain data for JSON. `Status` and `PeerStatus` describe
        the keys."""
        status: Status = self._gate.call(status_of, self._node)
        return status

    def wait_synced(self, timeout: float | None = None) -> bool:
        """Waits until this node covers all that its connected peers had when this was called.

        With servers to dial and nobody connected yet it first waits for a connection; a peer that leaves before it
        has told what it has is not waited for. `timeout` in seconds, None: for ever. False when the time ran out.
        Raises RuntimeError on the replica's own event loop, where it could never end, ClosedError when the replica
        is or gets closed."""
        if self._node.on_own_thread():
            raise RuntimeError("wait_synced would wait for its own thread")
        answer = self._gate.call(self._node.begin_wait, timeout)
        return self._wait_for(answer)

    def disconnect(self, peer: str) -> int:
        """Cuts off whoever has this address, name, origin or fingerprint, at once: not one more byte is sent. Clients
        of the port as well, and who still waits for a decision. How many connections that were.

        It may connect again, and is judged again then: for an `identify` that changed its mind. Raises ConfigError."""
        if not isinstance(peer, str):
            raise ConfigError(f"peer: an address, name, origin or fingerprint is wanted, not {peer!r}")
        return self._wait_for(self._gate.call(self._node.disconnect, peer))

    # -- what changes

    def changes(
        self, since: str | None = None, *, prefix: bytes = b"", live: bool = True, now: bool = False
    ) -> Changes:
        """The changes feed: every key's latest change that `since`, the `cursor` of an earlier feed, does not cover;
        all there is without it, or, with `now`, what comes from here on. `prefix`: of the keys.

        With `live` it then waits for more; else it ends. Where the log does not reach back to `since`, a `Rescan` says
        so and the index bridges the gap. Costs nothing while nobody reads: the log is the queue. Raises ConfigError."""
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
        """The log as it stands, all origins together, the newest entries first: `most` of them, or as many as go into
        `most_bytes`. `before`: where an earlier call said to go on, the second thing that it gave; None at the end.

        For people. What was overwritten or truncated is not there; programs want `changes`. Raises StorageError."""
        return self._gate.call(self._node.store.history, before, prefix, most, most_bytes)

    # -- care

    def truncate(self, *, max_bytes: int | None = None, max_age: float | None = None) -> int:
        """Takes entries out of the log, oldest first, until it takes `max_bytes` on the disk, or those older than
        `max_age` seconds; without either, all of it. Gives their number.

        Nothing is lost by it: a peer that still needs them compares its index with ours instead. Runs beside reads and
        writes, in the caller's thread. Raises StorageError."""
        retention = self._node.store.retention
        bounds: dict[str, int] = {}
        for name, value in (("max_bytes", max_bytes), ("max_age", max_age)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0):
                raise ConfigError(f"{name}: {value!r} is no number from 0")
        if math.inf in (max_bytes, max_age):
            raise ConfigError("max_bytes, max_age: without bound nothing would leave; leave the argument out")
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
        """The audit. Without `peer`: whether the database holds what the index says, and the log what it should; with
        `repair` what is found is repaired: from the log, else from peers; a key that was written around the replica is
        adopted. A value that is nowhere on this node is `lost` until a peer brings it; a second audit with `repair`
        gives it up. `progress` is told the keys looked at. With `peer`, the address, name or origin of a connected one:
        how the two nodes differ at this moment, at the cost of what differs; nothing is changed.

        Raises StorageError, ConfigError for a peer that is not connected, ReplicationError when it leaves."""
        if peer is not None:
            if not isinstance(peer, str):
                raise ConfigError(f"peer: an address, name or origin is wanted, not {peer!r}")
            if repair:
                raise ConfigError(
                    "repair: two nodes that differ are repaired by replication; verify each of them alone"
                )
            return self._wait_for(self._gate.call(self._node.call, compare(self._node.coordinator, peer)))
        store = self._node.store
        return self._gate.call(
            partial(store.verify, repair=repair, progress=self._progress(progress), alone=self._alone)
        )

    def backup(self, path: "str | PathLike[str]", *, progress: Callable[[int], None] | None = None) -> int:
        """Copies database and replication set, as of one instant, to `path`/db and `path`/rs; gives the number of keys.

        Writes go on meanwhile. `path` must not exist, or be empty. To restore it, put it in the place of the directory:
        it goes on as a new origin by itself. `progress` is told the keys copied. Raises ConfigError, StorageError."""
        return self._gate.call(self._node.store.backup, path, self._rs_options, self._progress(progress))

    def _progress(self, told: Callable[[int], None] | None) -> Callable[[int], None]:
        """`close` does not wait for long work: it ends at its next progress."""

        def progress(keys: int) -> None:
            if self._gate.shut:
                self._gate.refuse()
            if told is not None:
                told(keys)

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
        """Raises TimeoutError when the event loop stands still."""
        self._gate.call(self._node.call, _nothing()).result(_ALIVE_WITHIN_S)

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
