"""Where a client's requests go: over a connection to a node, or to a replica of this process."""

import contextlib
import os
import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from level_replicator.api.request_handler import RequestHandler
from level_replicator.client.connection import ClientConnection
from level_replicator.client.pager import Backend
from level_replicator.core.errors import ClosedError, ConnectionLostError
from level_replicator.protocol.client_messages import AnyAnswer, Data, Do, Release, Request, Write

_T = TypeVar("_T")
ProgressCallback = Callable[[int], None]
LONG_VERBS = frozenset({"truncate", "verify", "backup", "wait_synced", "compact"})
_of_the_parent: list[object] = []
"""Connections of before a fork: closing them here would end them there."""


class ClientBackend(Backend, Protocol):
    """What a RemoteDatabase needs beyond reading. `name`: of the database, for people."""

    @property
    def name(self) -> str: ...

    def apart(self) -> "ClientBackend":
        """The same over a connection of its own, for what waits or takes long."""

    def do(self, verb: str, progress: ProgressCallback | None = None, **arguments: Any) -> Any:
        """The answer to a Do."""

    def close(self) -> None:
        """Idempotent."""


class Connection:
    """To one node, dialled again when it was lost, unless `once`. Reads are then asked once more; a write is not, since
    it may have been done: ConnectionLostError."""

    def __init__(self, name: str, dial: Callable[[], ClientConnection], *, once: bool = False) -> None:
        self._once = once
        self._name = name
        self._dial = dial
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self.closed = False
        self._connection: ClientConnection | None = dial()

    @property
    def name(self) -> str:
        return self._name

    @property
    def connection(self) -> ClientConnection:
        """The one that is connected. Raises ClosedError, ConnectionLostError."""
        connection = self._connection
        if connection is not None and not connection.lost and self._pid == os.getpid():
            return connection
        if self._pid != os.getpid():
            _of_the_parent.append(connection)
            self._lock, self._pid, self._connection = threading.Lock(), os.getpid(), None
        with self._lock:
            if self.closed:
                raise ClosedError("Database is closed")
            if self._connection is None or self._connection.lost:
                if self._once:
                    raise ConnectionLostError(f"the connection to {self._name} is lost")
                self._connection = self._dial()
            return self._connection

    def call(self, kind: type[Request], *arguments: Any) -> AnyAnswer:
        try:
            return self.connection.call(kind, *arguments)
        except ConnectionLostError:
            if self.closed:
                raise ClosedError("Database is closed") from None
            if kind is Write or self._once:
                raise
        return self.connection.call(kind, *arguments)

    def forget(self, snapshot: int) -> None:
        connection = self._connection
        if connection is not None and not connection.lost:
            connection.forget(snapshot)

    def apart(self) -> "Connection":
        return Connection(self._name, self._dial, once=True)

    def do(self, verb: str, progress: ProgressCallback | None = None, **arguments: Any) -> Any:
        if verb not in LONG_VERBS:
            return _data(self.call(Do, verb, arguments))
        own = self.apart()
        try:
            return _data(own.connection.call(Do, verb, arguments, progress=progress))
        finally:
            own.close()

    def close(self) -> None:
        self.closed = True
        connection = self._connection
        if connection is not None and self._pid == os.getpid():
            connection.close()


class Local:
    """A replica of this process; what it is asked is done in the caller's thread."""

    def __init__(self, name: str, request_handler: RequestHandler) -> None:
        self.closed = False
        self._name = name
        self._request_handler = request_handler

    @property
    def name(self) -> str:
        return self._name

    def call(self, kind: type[Request], *arguments: Any) -> AnyAnswer:
        return self._request_handler.answer_or_wait(kind(0, *arguments), _nobody)  # type: ignore[arg-type]

    def forget(self, snapshot: int) -> None:
        with contextlib.suppress(ClosedError):
            self._request_handler.answer(Release(0, snapshot), _nobody)

    def apart(self) -> "Local":
        return _Part(self._name, self._request_handler)

    def do(self, verb: str, progress: ProgressCallback | None = None, **arguments: Any) -> Any:
        return _data(self._request_handler.answer(Do(0, verb, arguments), progress or _nobody))

    def close(self) -> None:
        self.closed = True
        self._request_handler.close()


class _Part(Local):
    """Closing it leaves the rest open."""

    def close(self) -> None:
        return


def _data(answer: AnyAnswer | None) -> Any:
    assert isinstance(answer, Data)
    return answer.data


def _nobody(_done: int) -> None:
    """Progress that nobody wants to hear of."""
