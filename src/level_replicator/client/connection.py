"""A client's connection to a node: one request, one answer, in the caller's thread."""

import contextlib
import socket
import threading
from collections.abc import Callable, Collection
from itertools import count
from typing import TYPE_CHECKING, Any

from level_replicator.core import errors
from level_replicator.core.errors import (
    ConnectionLostError,
    LimitError,
    RemoteProtocolError,
    ReplicationError,
)
from level_replicator.core.fingerprint import fingerprint_of
from level_replicator.core.limits import MAX_FRAME_BYTES
from level_replicator.protocol.client_messages import (
    PREAMBLE,
    VERSION,
    AnyAnswer,
    Attach,
    Attached,
    Failed,
    Number,
    Page,
    Progress,
    Release,
    Request,
    decode_answer,
    encode,
)
from level_replicator.protocol.framing import FrameReader

if TYPE_CHECKING:
    from level_replicator.security.tls import Channel, Contexts

_RECEIVE_BYTES = 256 * 1024
_OF_PYTHON: dict[str, type[Exception]] = {each.__name__: each for each in (TypeError, ValueError, OverflowError)}
NotCalled = Callable[[int], None]


def error_of(failed: Failed) -> Exception:
    """What the node raised. An error that only a later version knows is a ReplicationError."""
    kind = _OF_PYTHON.get(failed.kind) or getattr(errors, failed.kind, None)
    if not isinstance(kind, type) or not issubclass(kind, Exception):
        kind = ReplicationError
    return kind(failed.text)


class Credentials:
    """Our key, and the certificates that the node may show."""

    def __init__(self, contexts: "Contexts", fingerprints: Collection[str]) -> None:
        self._contexts = contexts
        self._fingerprints = frozenset(fingerprints)

    def channel(self) -> "Channel":
        return self._contexts.channel(dialled=True, client=True)

    def check(self, channel: "Channel") -> None:
        """Raises ReplicationError for a node that is another one. Nothing has been said to it until then."""
        found = fingerprint_of(channel.certificate())
        if found not in self._fingerprints:
            raise ReplicationError(f"this node has the fingerprint {found}, which is not the one that it should have")


class ClientConnection:
    """Connected when made. For any thread; calls wait for each other. `address`: for messages.

    Raises ConnectionLostError when the node cannot be reached, ReplicationError when it does not take us."""

    def __init__(
        self, address: str, dial: Callable[[float], socket.socket], credentials: Credentials | None, timeout_s: float
    ) -> None:
        self.address = address
        self.origin = 0
        self.read_only = False
        self.lost = False
        self._forgotten: list[int] = []
        self._numbers = count(1)
        self._lock = threading.Lock()
        self._frames = FrameReader()
        self._frames.limit = MAX_FRAME_BYTES
        self._ready: list[bytes] = []
        self._channel: Channel | None = None
        self._socket: socket.socket | None = None
        try:
            self._socket = dial(timeout_s)
        except OSError as error:
            reason = error.strerror or error
            raise ConnectionLostError(f"{address} cannot be reached: {reason}. Does the node run?") from error
        try:
            self._introduce(credentials, timeout_s)
        except BaseException:
            self.close()
            raise

    def _introduce(self, credentials: Credentials | None, timeout_s: float) -> None:
        self._open.settimeout(timeout_s)
        if credentials is not None:
            self._channel = credentials.channel()
            self._shake(credentials)
        self._send(PREAMBLE + encode(Attach(0)))
        answer = self._receive(0, None)
        if not isinstance(answer, Attached):
            raise RemoteProtocolError(f"{self.address} does not answer as a node does")
        if answer.version != VERSION:
            raise RemoteProtocolError(f"{self.address} speaks version {answer.version} with clients, not {VERSION}")
        self.origin, self.read_only = answer.origin, answer.read_only
        self._open.settimeout(None)

    def call(self, kind: type[Request], *arguments: Any, progress: NotCalled | None = None) -> AnyAnswer:
        """The answer. Raises what the node raised, ConnectionLostError when the connection ends before it."""
        with self._lock:
            if self.lost:
                raise ConnectionLostError(f"the connection to {self.address} is lost")
            number = next(self._numbers)
            frame = encode(kind(number, *arguments))
            if len(frame) > MAX_FRAME_BYTES:
                raise LimitError(f"a request of {len(frame)} bytes, {MAX_FRAME_BYTES} are allowed: write it in parts")
            try:
                self._send(self._releases() + frame)
            except BaseException:
                self.close()  # part of a frame may have left
                raise
            # an interrupt in here leaves an answer behind, which the next call passes over
            return self._receive(number, progress)

    def forget(self, snapshot: int) -> None:
        """Gives a snapshot back with the next call: from where no call can be made, as in a finalizer."""
        self._forgotten.append(snapshot)

    def close(self) -> None:
        """From any thread; one that waits for an answer gets ConnectionLostError."""
        self.lost = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()

    def __del__(self) -> None:
        if self._socket is not None:  # without shutting it down, which a forked child would do to its parent
            self._socket.close()

    def wait_lost(self) -> None:
        """Until the node is gone. For a connection that nobody calls over."""
        with contextlib.suppress(ReplicationError):
            while True:
                self._more()

    # -- bytes

    @property
    def _open(self) -> socket.socket:
        assert self._socket is not None
        return self._socket

    def _releases(self) -> bytes:
        frames = b""
        while self._forgotten:
            number = self._forgotten.pop()
            frames += encode(Release(next(self._numbers), number)) if number else b""
        return frames

    def _shake(self, credentials: Credentials) -> None:
        channel = self._channel
        assert channel is not None
        channel.begin()
        while not channel.established:
            self._flush()
            channel.receive(self._from_socket())
        self._flush()
        credentials.check(channel)

    def _send(self, data: bytes) -> None:
        try:
            if self._channel is None:
                self._open.sendall(data)
            else:
                self._channel.write(data)
                self._flush()
        except OSError as error:
            raise self._gone(error) from error

    def _flush(self) -> None:
        assert self._channel is not None
        try:
            self._open.sendall(self._channel.take())
        except OSError as error:
            raise self._gone(error) from error

    def _receive(self, number: int, progress: NotCalled | None) -> AnyAnswer:
        while True:
            while self._ready:
                answer = decode_answer(self._ready.pop(0))
                if isinstance(answer, Failed) and answer.id in (0, number):
                    if answer.id == 0:
                        self.close()
                        if answer.kind == "ClosedError":
                            raise ConnectionLostError(f"{self.address}: {answer.text}")
                    raise error_of(answer)
                if answer.id != number:
                    if isinstance(answer, Number | Page):  # of one that was interrupted
                        self._forgotten.append(answer.number if isinstance(answer, Number) else answer.snapshot)
                    continue
                if isinstance(answer, Progress):
                    if progress is not None:
                        progress(answer.done)
                    continue
                return answer
            self._more()

    def _more(self) -> None:
        data = self._from_socket()
        if self._channel is not None:
            self._channel.receive(data)
            data = b"".join(iter(self._channel.read, b""))
        try:
            self._ready.extend(self._frames.feed(data))
        except RemoteProtocolError:
            self.close()
            raise

    def _from_socket(self) -> bytes:
        try:
            data = self._open.recv(_RECEIVE_BYTES)
        except OSError as error:
            raise self._gone(error) from error
        if not data:
            raise self._gone(None)
        return data

    def _gone(self, error: OSError | None) -> ConnectionLostError:
        self.close()
        reason = "it did not answer in time" if isinstance(error, TimeoutError) else "the node went away"
        return ConnectionLostError(f"the connection to {self.address} is lost: {reason}")
