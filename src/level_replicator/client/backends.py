"""The way of a request to a database: over a connection to a node, or to a replica of this process."""

import contextlib
import os
import threading
from collections.abc import Callable
from typing import Any, NoReturn, Protocol, TypeVar

from level_replicator.api.request_handler import RequestHandler
from level_replicator.client.connection import ClientConnection, ProgressCallback
from level_replicator.client.requests import Steps
from level_replicator.client.retry import is_long, is_repeatable
from level_replicator.core.errors import ClosedError, ConnectionLostError
from level_replicator.protocol.client_messages import AnyAnswer, AnyRequest, Follow, Number, Release, Unfollow

_T = TypeVar("_T")
_kept_after_fork: list[object] = []
"""Connections of the parent process: closing them in the child would end them in the parent."""


class Backend(Protocol):
    """Answers the requests of a RemoteDatabase. `name` is that of the database, in messages."""

    closed: bool

    @property
    def name(self) -> str: ...

    def call(self, request: AnyRequest, progress: ProgressCallback | None = None) -> AnyAnswer:
        """Return the answer. `progress` is called with the amount of work that a long command has done.

        Raises ConnectionLostError, what the node raised, and ClosedError for a snapshot or feed that was opened over a
        connection that is gone."""

    def forget(self, snapshot: int) -> None:
        """Release a snapshot soon. Never raises or waits: finalizers call it."""

    def apart(self) -> "Backend":
        """Return a backend for the same database with a connection of its own, for requests that wait or take long."""

    def close(self) -> None:
        """Idempotent."""


class Closable(Protocol):
    closed: bool


class ClientGate:
    """Refuses calls to a closed database; for batches, see database.batch.Entrance."""

    def __init__(self, backend: Closable) -> None:
        self._backend = backend

    @property
    def shut(self) -> bool:
        return self._backend.closed

    def refuse(self) -> NoReturn:
        raise ClosedError("Database is closed")

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call the function. Raises ClosedError once the database is closed."""
        self.check()
        return function(*args)

    def check(self) -> None:
        """Raise ClosedError if the database is closed."""
        if self._backend.closed:
            self.refuse()


def perform(backend: Backend, steps: Steps[_T], progress: ProgressCallback | None = None) -> _T:
    """Run one method of client.requests: answer each of its requests, and return its result."""
    answer = None
    while True:
        try:
            request = steps.send(answer)
        except StopIteration as end:
            result: _T = end.value
            return result
        answer = backend.call(request, progress)


class RemoteBackend:
    """A node, over a connection that is dialed again after it was lost, unless `once`.

    Requests that may be repeated are then sent once more (see client.retry); others raise ConnectionLostError."""

    def __init__(self, name: str, dial: Callable[[], ClientConnection], *, once: bool = False) -> None:
        self.closed = False
        self._once = once
        self._name = name
        self._dial = dial
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._connection: ClientConnection | None = dial()

    @property
    def name(self) -> str:
        return self._name

    def call(self, request: AnyRequest, progress: ProgressCallback | None = None) -> AnyAnswer:
        if not self._once and is_long(request):
            return self._call_apart(request, progress)
        connection = self._connect()
        try:
            return connection.call(request, progress)
        except ConnectionLostError:
            if self.closed:
                raise ClosedError("Database is closed") from None
            if self._once or not is_repeatable(request):
                raise
        return self._connect().call(request, progress)

    def forget(self, snapshot: int) -> None:
        connection = self._connection
        if connection is not None and not connection.lost:
            connection.forget(snapshot)

    def apart(self) -> "RemoteBackend":
        return RemoteBackend(self._name, self._dial, once=True)

    def close(self) -> None:
        self.closed = True
        connection = self._connection
        if connection is not None and self._pid == os.getpid():
            connection.close()

    def _call_apart(self, request: AnyRequest, progress: ProgressCallback | None) -> AnyAnswer:
        own = self.apart()
        try:
            return own.call(request, progress)
        finally:
            own.close()

    def _connect(self) -> ClientConnection:
        """Return the connection, dialed anew if it was lost or belongs to the parent process.

        Raises ClosedError, ConnectionLostError."""
        connection = self._connection
        if connection is not None and not connection.lost and self._pid == os.getpid():
            return connection
        if self._pid != os.getpid():
            _kept_after_fork.append(connection)
            self._lock, self._pid, self._connection = threading.Lock(), os.getpid(), None
        with self._lock:
            if self.closed:
                raise ClosedError("Database is closed")
            if self._connection is None or self._connection.lost:
                if self._once:
                    raise ConnectionLostError(f"the connection to {self._name} is lost")
                self._connection = self._dial()
            return self._connection


class LocalBackend:
    """A replica of this process. Its requests are done in the caller's thread."""

    def __init__(self, name: str, request_handler: RequestHandler) -> None:
        self.closed = False
        self._name = name
        self._request_handler = request_handler

    @property
    def name(self) -> str:
        return self._name

    def call(self, request: AnyRequest, progress: ProgressCallback | None = None) -> AnyAnswer:
        return self._request_handler.answer_or_wait(request, progress or ignore_progress)

    def forget(self, snapshot: int) -> None:
        with contextlib.suppress(ClosedError):
            self._request_handler.answer(Release(0, snapshot), ignore_progress)

    def apart(self) -> "LocalBackend":
        return _LocalPart(self._name, self._request_handler)

    def close(self) -> None:
        self.closed = True
        self._request_handler.close()


class _LocalPart(LocalBackend):
    """The `apart` of a LocalBackend: closing it closes its changes feed, and leaves the request handler open."""

    def __init__(self, name: str, request_handler: RequestHandler) -> None:
        super().__init__(name, request_handler)
        self._feed: int | None = None

    def call(self, request: AnyRequest, progress: ProgressCallback | None = None) -> AnyAnswer:
        answer = super().call(request, progress)
        if isinstance(request, Follow) and isinstance(answer, Number):
            self._feed = answer.number
        return answer

    def close(self) -> None:
        self.closed = True
        feed, self._feed = self._feed, None
        if feed is not None:
            with contextlib.suppress(ClosedError):
                self._request_handler.answer(Unfollow(0, feed), ignore_progress)

    def __del__(self) -> None:
        self.close()


def ignore_progress(_done: int) -> None:
    """The progress callback of callers that gave none."""
