"""The replica: a plyvel-shaped database that is one of many masters."""

import atexit
import logging
from concurrent.futures import CancelledError
from typing import Any

import plyvel

from level_replicator.core.entry import Bytes
from level_replicator.core.errors import ClosedError
from level_replicator.face.config import Config
from level_replicator.face.database import Database
from level_replicator.face.events import Callback
from level_replicator.face.status import status_of
from level_replicator.runtime.node import Node
from level_replicator.runtime.peers import PeerEvent
from level_replicator.storage.writer import LocalWriter, Operation

_log = logging.getLogger("level_replicator.face")


class NotifyingWriter:
    """A local write, and then a word to the event loop, which never waits and is never waited for."""

    def __init__(self, writer: LocalWriter, node: Node) -> None:
        self._write = writer.write
        self._local_change = node.local_change

    def put(self, key: bytes, value: Bytes, sync: bool) -> None:
        self._write([(key, value)], sync)
        self._local_change()

    def delete(self, key: bytes, sync: bool) -> None:
        self._write([(key, None)], sync)
        self._local_change()

    def write(self, operations: list[Operation], sync: bool) -> None:
        self._write(operations, sync)
        self._local_change()


class Replica(Database):
    """A plyvel.DB in behaviour, and a master in replication. Made by `install` or `open`.

    Writes raise LimitError for keys and values that are too large, StorageError when a LevelDB failed; calls
    after `close` raise ClosedError, calls in a forked child ForkError.
    """

    def __init__(
        self, db: plyvel.DB, rs: plyvel.DB, node: Node, config: Config, events: Callback[PeerEvent] | None
    ) -> None:
        super().__init__(db, NotifyingWriter(node.store.writer, node), sync_default=config.sync)
        self._node = node
        self._events = events
        self._gate.keep_in_child(rs)
        # it lives, and replicates, until it is closed, also when the program keeps no reference to it
        atexit.register(self._close_at_exit)

    @property
    def address(self) -> tuple[str, int] | None:
        """(host, port) where it listens; None when it only dials."""
        return self._node.address

    def status(self) -> dict[str, Any]:
        """Plain data, ready for JSON.

        `origin`, `address`, `vector` (origin → stamp), `keys`, `entries` (of the log), `failed` (why no writes are
        taken, or None) and `peers`: a list with, each, `address`, `name`, `origin`, `state` (runtime.peers.PeerState),
        `last_error`, `behind` (entries of our log that it is not known to have, counted up to BEHIND_COUNT_CAP;
        None while it has never told what it has), `connections`, and since this replica was opened `bytes_in`,
        `bytes_out`, `entries_in`, `entries_out`."""
        return self._gate.call(status_of, self._node)

    def wait_synced(self, timeout: float | None = None) -> bool:
        """Waits until this node covers all that its connected peers had when this was called.

        With servers to dial and nobody connected yet it first waits for a connection; a peer that leaves before it
        has told what it has is not waited for. `timeout` in seconds, None: for ever. False when the time ran out.
        Raises RuntimeError on the replica's own event loop, where it could never end, ClosedError when the replica
        is or gets closed."""
        if self._node.on_own_thread():
            raise RuntimeError("wait_synced would wait for its own thread")
        answer = self._gate.call(self._node.begin_wait, timeout)
        try:
            return answer.result()
        except CancelledError as error:
            raise ClosedError("the replica was closed") from error

    def _close_engines(self) -> None:
        self._node.stop()
        try:
            self._node.store.close()
        finally:
            if self._events is not None:
                self._events.close()
        atexit.unregister(self._close_at_exit)

    def _close_at_exit(self) -> None:
        try:
            self.close()
        except Exception:
            _log.exception("closing %s at exit failed", self.name)
