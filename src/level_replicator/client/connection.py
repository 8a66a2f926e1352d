"""A client's connection to a node, synchronous: one request at a time, in the caller's thread."""

import contextlib
import socket
import threading
from collections import deque
from collections.abc import Callable

from level_replicator.client.credentials import Credentials
from level_replicator.client.protocol import (
    Answered,
    ClientProtocol,
    Event,
    Lost,
    Opened,
    Refused,
    unreachable,
)
from level_replicator.core.errors import ConnectionLostError, ReplicationError
from level_replicator.protocol.client_messages import AnyAnswer, AnyRequest

_RECEIVE_BYTES = 256 * 1024
ProgressCallback = Callable[[int], None]


class ClientConnection:
    """The I/O for a ClientProtocol: a blocking socket. Usable from any thread; calls wait for each other.

    The constructor connects: `dial` gets the timeout in seconds and returns a connected socket. `timeout_s` also bounds
    the wait until the node has accepted this client. `address` is the name of the node in error messages.
    `local`: the socket is a Unix socket.

    Raises ConnectionLostError when the node cannot be reached, ReplicationError when it does not accept this client."""

    def __init__(
        self,
        address: str,
        dial: Callable[[float], socket.socket],
        credentials: Credentials | None,
        timeout_s: float,
        *,
        local: bool = False,
    ) -> None:
        self._socket: socket.socket | None = None
        self._protocol = ClientProtocol(address, credentials, local=local)
        self._lock = threading.Lock()
        self._events: deque[Event] = deque()
        try:
            self._socket = dial(timeout_s)
        except OSError as error:
            raise unreachable(address, error) from error
        try:
            self._socket.settimeout(timeout_s)
            self._send()
            while not isinstance(self._next_event(), Opened):
                pass
            self._socket.settimeout(None)
        except BaseException:
            self.close()
            raise

    @property
    def address(self) -> str:
        return self._protocol.address

    @property
    def origin(self) -> int:
        """The origin of the node."""
        return self._protocol.origin

    @property
    def read_only(self) -> bool:
        """Whether the node refuses the writes of this client."""
        return self._protocol.read_only

    @property
    def lost(self) -> bool:
        return self._protocol.lost

    def call(self, request: AnyRequest, progress: ProgressCallback | None = None) -> AnyAnswer:
        """Send a request and wait for its answer.

        Raises what the node raised, LimitError for a request that is too large, ConnectionLostError when the
        connection ends before the answer."""
        with self._lock:
            number = self._protocol.request(request)
            try:
                self._send()
                return self._wait_for(number, progress)
            finally:
                self._protocol.abandon(number)  # it is still open only after an interrupt, or an error of `progress`

    def forget(self, snapshot: int) -> None:
        """Release a snapshot with the next call. Never raises or blocks: finalizers call it."""
        self._protocol.forget(snapshot)

    def close(self) -> None:
        """Close the connection. Idempotent; from any thread. A thread that waits for an answer gets
        ConnectionLostError."""
        self._protocol.connection_lost("it was closed")
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()

    def __del__(self) -> None:
        if self._socket is not None:  # no shutdown: in a forked child it would end the connection of the parent
            self._socket.close()

    def wait_lost(self) -> None:
        """Wait until the node is gone. For a connection that nobody else calls over."""
        with contextlib.suppress(ReplicationError):
            while True:
                self._next_event()

    # -- I/O

    def _wait_for(self, number: int, progress: ProgressCallback | None) -> AnyAnswer:
        while True:
            event = self._next_event()
            if isinstance(event, Opened | Lost) or event.number != number:
                continue  # of a call that was interrupted after its answer had been decoded
            if isinstance(event, Answered):
                return event.answer
            if isinstance(event, Refused):
                raise event.error
            if progress is not None:
                progress(event.done)

    def _next_event(self) -> Event:
        while not self._events:
            self._receive()
        event = self._events.popleft()
        if isinstance(event, Lost):
            self.close()
            raise event.error
        return event

    def _receive(self) -> None:
        """Read from the socket, and send what the protocol wants to answer at once."""
        # In one step of C: a signal handler that raises does so before bytes were read, or after they are in the list.
        # An interrupted wait leaves the connection usable; bytes that were read and then dropped would not.
        received: list[bytes] = []
        try:
            received.extend(map(self._open_socket.recv, (_RECEIVE_BYTES,)))
            if not received[0]:
                lost = self._protocol.node_gone()
                self.close()
                raise lost
            self._events.extend(self._protocol.receive(received[0]))
            self._send()
        except OSError as error:
            raise self._os_error(error) from error
        except BaseException:
            if received:
                self.close()
            raise

    def _send(self) -> None:
        try:
            data = self._protocol.data_to_send()
            if data:
                self._open_socket.sendall(data)
        except OSError as error:
            raise self._os_error(error) from error
        except BaseException:
            self.close()  # part of a frame may have been sent
            raise

    @property
    def _open_socket(self) -> socket.socket:
        assert self._socket is not None
        return self._socket

    def _os_error(self, error: OSError) -> ConnectionLostError:
        if isinstance(error, ConnectionLostError):
            return error
        lost = (
            self._protocol.connection_lost("it did not answer in time")
            if isinstance(error, TimeoutError)
            else self._protocol.node_gone()
        )
        self.close()
        return lost
