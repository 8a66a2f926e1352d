"""One database for several processes of a machine: the first one holds it, the others use it through the holder's Unix
socket, and when the holder ends another process takes over.

A forked child of the holder uses the database like the others, but cannot take over: LevelDB's file locks belong to
the process, so its library in the child believes that it still has the lock of its parent."""

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from level_replicator.api.replica import Replica
from level_replicator.api.request_handler import open_request_handler
from level_replicator.client.backends import Backend, LocalBackend, RemoteBackend
from level_replicator.client.connect import open_unix_socket
from level_replicator.client.connection import ClientConnection, ProgressCallback
from level_replicator.client.database import RemoteDatabase
from level_replicator.core.errors import (
    ClosedError,
    ConnectionLostError,
    ForkError,
    LockedError,
    ReplicationError,
)
from level_replicator.protocol.client_messages import AnyAnswer, AnyRequest

_log = logging.getLogger("level_replicator.api")
_T = TypeVar("_T")
_FIRST_PAUSE_S = 0.01
_LONGEST_PAUSE_S = 0.25
_kept_after_fork: list[object] = []


class SharedBackend:
    """The backend of a SharedDatabase: the replica of this process if it holds the database, else the holder.

    `open_replica` raises LockedError while another process holds the database. `timeout_s`, in seconds, bounds the
    search for a holder and the repetition of one request."""

    def __init__(self, path: Path, socket: Path, open_replica: Callable[[], Replica], timeout_s: float) -> None:
        self.closed = False
        self._path = path
        self._socket = socket
        self._open_replica = open_replica
        self._timeout_s = timeout_s
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._replica: Replica | None = None
        self._current: Backend | None = None
        self._watching: ClientConnection | None = None
        self.backend()

    @property
    def name(self) -> str:
        return str(self._path)

    @property
    def holds(self) -> bool:
        """Whether this process holds the database."""
        replica = self._replica
        return replica is not None and self._pid == os.getpid() and not replica.closed

    def backend(self) -> Backend:
        """Return the current backend.

        Raises LockedError if within `timeout_s` neither the database could be opened nor its holder be reached,
        ClosedError."""
        current = self._current
        if current is not None and self._pid == os.getpid():
            return current
        if self._pid != os.getpid():
            # In a forked child: closing the parent's handles would harm the parent.
            _kept_after_fork.append((self._replica, self._current))
            self._lock, self._pid = threading.Lock(), os.getpid()
            self._replica = self._current = None
        with self._lock:
            if self.closed:
                raise ClosedError("Database is closed")
            if self._current is None:
                self._attach()
            assert self._current is not None
            return self._current

    def call(self, request: AnyRequest, progress: ProgressCallback | None = None) -> AnyAnswer:
        return self._insist(lambda backend: backend.call(request, progress))

    def apart(self) -> Backend:
        return self._insist(lambda backend: backend.apart())

    def forget(self, snapshot: int) -> None:
        current = self._current
        if current is not None and self._pid == os.getpid():
            current.forget(snapshot)

    def close(self) -> None:
        self.closed = True
        if self._pid != os.getpid():
            return
        with self._lock:
            current, replica = self._current, self._replica
            self._current = self._replica = None
        for each in (current, self._watching):
            if each is not None:
                each.close()
        if replica is not None:
            replica.close()

    # -- the holder

    def _insist(self, work: Callable[[Backend], _T]) -> _T:
        """Ask the holder, and after its end the next holder, until `timeout_s` has passed."""
        end = time.monotonic() + self._timeout_s
        while True:
            backend = self.backend()
            try:
                return work(backend)
            except (ConnectionLostError, ForkError):
                if time.monotonic() >= end:
                    raise
            except ClosedError:
                left = backend is not self._current or (self._replica is not None and self._replica.closed)
                if self.closed or not left:
                    raise
            self._leave(backend)

    def _leave(self, backend: Backend) -> None:
        with self._lock:
            if self._current is backend and self._pid == os.getpid():
                self._current = self._replica = None
                backend.close()

    def _attach(self) -> None:
        """Open the database, or else connect to its holder. Called with the lock held."""
        end = time.monotonic() + self._timeout_s
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                self._hold(self._open_replica())
                return
            except LockedError as error:
                locked = error
            try:
                self._current = RemoteBackend(str(self._path), lambda: open_unix_socket(self._socket, self._timeout_s))
                threading.Thread(
                    target=self._watch, args=(self._current,), name="level-replicator-share", daemon=True
                ).start()
                return
            except ConnectionLostError:
                # the holder has just ended, or does not listen yet
                if time.monotonic() >= end:
                    raise LockedError(
                        f"{self._path} is held by a process that does not listen at the Unix socket {self._socket}:"
                        " open it there with share=True, or with the same `socket`"
                    ) from locked
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _hold(self, replica: Replica) -> None:
        self._replica = replica
        self._current = LocalBackend(str(self._path), open_request_handler(replica, read_only=False, local=True))
        _log.info("this process holds %s from now on", self._path)

    def _watch(self, backend: RemoteBackend) -> None:
        """Take over when the holder ends, even if this process has no requests: peers wait for a new holder."""
        with suppress(ReplicationError):
            self._watching = watching = open_unix_socket(self._socket, self._timeout_s)
            if not self.closed:
                watching.wait_lost()
            watching.close()
        if self.closed or self._pid != os.getpid():
            return
        self._leave(backend)
        try:
            self.backend()
        except ReplicationError as error:
            if not self.closed:
                _log.warning(
                    "the holder of %s has ended, and this process could not open the database: %s", self._path, error
                )


class SharedDatabase(RemoteDatabase):
    """A database that several processes share. `open(..., share=True)` returns one; it is used like a Client.

    When the holder ends, calls wait until another process has taken over. A write that was under way is then repeated:
    it may be applied twice, with writes of others in between."""

    _backend: SharedBackend

    def __init__(self, shared: SharedBackend) -> None:
        super().__init__(shared)

    @property
    def holder(self) -> bool:
        """Whether this process holds the database, and so replicates it."""
        return self._backend.holds
