"""One database for many processes of a machine: whoever comes first holds it, the others use it through its Unix
socket, and when the holder ends another one takes over.

The forked child of a holder uses it like the others, but cannot take over: LevelDB remembers its parent's lock."""

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from level_replicator.api.replica import Replica
from level_replicator.api.request_handler import open_request_handler
from level_replicator.client.backends import ClientBackend, Connection, Local, ProgressCallback
from level_replicator.client.connect import call_local
from level_replicator.client.connection import ClientConnection
from level_replicator.client.database import RemoteDatabase
from level_replicator.core.errors import (
    ClosedError,
    ConnectionLostError,
    ForkError,
    LockedError,
    ReplicationError,
)
from level_replicator.protocol.client_messages import AnyAnswer, Request

_log = logging.getLogger("level_replicator.api")
_T = TypeVar("_T")
_FIRST_PAUSE_S = 0.01
_LONGEST_PAUSE_S = 0.25
_of_the_parent: list[object] = []


class SharedBackend:
    """The backend of a SharedDatabase. `open_replica` raises LockedError while another process holds the database."""

    def __init__(self, path: Path, socket: Path, open_replica: Callable[[], Replica], timeout_s: float) -> None:
        self.closed = False
        self._path = path
        self._socket = socket
        self._open_replica = open_replica
        self._timeout_s = timeout_s
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._replica: Replica | None = None
        self._current: ClientBackend | None = None
        self._watching: ClientConnection | None = None
        self.backend()

    @property
    def name(self) -> str:
        return str(self._path)

    @property
    def holds(self) -> bool:
        """Whether it is this process that has the database open."""
        replica = self._replica
        return replica is not None and self._pid == os.getpid() and not replica.closed

    def backend(self) -> ClientBackend:
        """Where requests go now. Raises LockedError when there is no way in for `timeout_s`."""
        current = self._current
        if current is not None and self._pid == os.getpid():
            return current
        if self._pid != os.getpid():
            # what a forked child has of its parent is not to be touched
            _of_the_parent.append((self._replica, self._current))
            self._lock, self._pid = threading.Lock(), os.getpid()
            self._replica = self._current = None
        with self._lock:
            if self.closed:
                raise ClosedError("Database is closed")
            if self._current is None:
                self._attach()
            assert self._current is not None
            return self._current

    def call(self, kind: type[Request], *arguments: Any) -> AnyAnswer:
        return self._insist(lambda backend: backend.call(kind, *arguments))

    def do(self, verb: str, progress: ProgressCallback | None = None, **arguments: Any) -> Any:
        return self._insist(lambda backend: backend.do(verb, progress, **arguments))

    def apart(self) -> ClientBackend:
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

    # -- who holds it

    def _insist(self, work: Callable[[ClientBackend], _T]) -> _T:
        """Asks whoever holds the database, and when that one has ended the next."""
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

    def _leave(self, backend: ClientBackend) -> None:
        with self._lock:
            if self._current is backend and self._pid == os.getpid():
                self._current = self._replica = None
                backend.close()

    def _attach(self) -> None:
        """Under the lock."""
        end = time.monotonic() + self._timeout_s
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                self._hold(self._open_replica())
                return
            except LockedError as error:
                locked = error
            try:
                self._current = Connection(str(self._path), lambda: call_local(self._socket, self._timeout_s))
                threading.Thread(
                    target=self._watch, args=(self._current,), name="level-replicator-share", daemon=True
                ).start()
                return
            except ConnectionLostError:
                # it has just ended, or does not listen yet
                if time.monotonic() >= end:
                    raise LockedError(
                        f"{self._path} is held by a process that offers no Unix socket at {self._socket}, so that it"
                        " cannot be shared"
                    ) from locked
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _hold(self, replica: Replica) -> None:
        self._replica = replica
        self._current = Local(str(self._path), open_request_handler(replica, read_only=False, local=True))
        _log.info("this process holds %s now", self._path)

    def _watch(self, backend: Connection) -> None:
        """Takes over when the holder ends, also while nobody asks for anything: peers are not to wait for that."""
        with suppress(ReplicationError):
            self._watching = watching = call_local(self._socket, self._timeout_s)
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
                _log.warning("%s has no holder now, and it could not be opened: %s", self._path, error)


class SharedDatabase(RemoteDatabase):
    """Made by `open(..., share=True)`: as a Client; `holder` tells whether it is this process that replicates.

    When the holder ends, calls wait until another process has taken over. A write that was under way is then made
    once more: it may have been done twice, with another one in between."""

    _backend: SharedBackend

    def __init__(self, shared: SharedBackend) -> None:
        super().__init__(shared)

    @property
    def holder(self) -> bool:
        return self._backend.holds
