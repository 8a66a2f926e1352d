"""The client's side of a connection to a node, without I/O.

The synchronous and the asyncio connection both drive one `ClientProtocol`: they write the bytes of `data_to_send` to
their socket, pass all bytes that they read to `receive`, and handle the events that it returns. The protocol does
everything in between: TLS and the check of the node's certificate, attaching and the check of the version, request
numbers, the matching of answers to requests, limits, and the release of snapshots and feeds that nobody uses.

    new ──(TLS established, certificate checked)──▶ attaching ──Attached──▶ open ──▶ lost

Invariants: a number is in `_open` from its request to its last answer; `_abandoned` is a subset of `_open`. No bytes of
a node make `receive` raise: a violation of the protocol gives `Lost` as the last event, and no event follows.
"""

from collections import deque
from itertools import count
from typing import NamedTuple

from msgspec.structs import replace

from level_replicator.client.credentials import Credentials
from level_replicator.core import errors
from level_replicator.core.errors import ConnectionLostError, LimitError, RemoteProtocolError, ReplicationError
from level_replicator.core.limits import MAX_ANSWER_BYTES, MAX_FRAME_BYTES
from level_replicator.protocol.client_messages import (
    PREAMBLE,
    VERSION,
    AnyAnswer,
    AnyRequest,
    Attach,
    Attached,
    Data,
    Do,
    Done,
    Failed,
    Follow,
    Get,
    Items,
    Number,
    Page,
    Progress,
    Read,
    Release,
    Request,
    Scan,
    TakeSnapshot,
    Unfollow,
    Value,
    Write,
    decode_answer,
    encode,
)
from level_replicator.protocol.framing import FrameReader

_PYTHON_ERRORS: dict[str, type[Exception]] = {each.__name__: each for each in (TypeError, ValueError, OverflowError)}
_ANSWERS: dict[type[Request], type[AnyAnswer]] = {
    Get: Value,
    Write: Done,
    Scan: Page,
    TakeSnapshot: Number,
    Release: Done,
    Follow: Number,
    Read: Items,
    Unfollow: Done,
    Do: Data,
}


_NEEDS_TLS = (
    "the node ended it before it accepted this client: does the node expect TLS? Then give `pems` and `fingerprint`"
)
_TLS_ALERT = b"\x15\x03"


class Opened(NamedTuple):
    """The node has accepted this client; requests may be sent."""


class Answered(NamedTuple):
    """The answer to a request. It has the type that belongs to the request."""

    number: int
    answer: AnyAnswer


class Refused(NamedTuple):
    """The node could not do a request. `error` is the one that it raised."""

    number: int
    error: Exception


class Progressed(NamedTuple):
    """A request has done so much of its work; its answer is still to come."""

    number: int
    done: int


class Lost(NamedTuple):
    """The connection is over: no event follows, and all open requests fail with `error`."""

    error: Exception


Event = Opened | Answered | Refused | Progressed | Lost


def error_of(failed: Failed) -> Exception:
    """Return the error that the node raised. A kind that this version does not know becomes a ReplicationError."""
    kind = _PYTHON_ERRORS.get(failed.kind) or getattr(errors, failed.kind, None)
    if not isinstance(kind, type) or not issubclass(kind, Exception):
        kind = ReplicationError
    return kind(failed.text)


def unreachable(address: str, error: OSError) -> ConnectionLostError:
    """Return the error for a node that could not be dialed."""
    return ConnectionLostError(f"{address} cannot be reached: {error.strerror or error}. Does the node run?")


def release_of(request: AnyRequest, answer: AnyAnswer) -> Release | Unfollow | None:
    """Return the request that releases the snapshot or feed that a request has opened, None if it has opened none."""
    match request, answer:
        case (Scan(snapshot=0), Page(snapshot=opened)) if opened:
            return Release(0, opened)
        case (TakeSnapshot(), Number(number=opened)):
            return Release(0, opened)
        case (Follow(), Number(number=opened)):
            return Unfollow(0, opened)
    return None  # a scan in a snapshot that was open before leaves it to its owner


class ClientProtocol:
    """One connection. Not thread-safe, except for `forget` and `forget_feed`.

    `address` is the name of the node in error messages. `origin` and `read_only` are known after `Opened`: the origin
    of the node, and whether it refuses the writes of this client. `lost` is True from the end of the connection on."""

    def __init__(self, address: str, credentials: Credentials | None, *, local: bool = False) -> None:
        """`local`: the connection is a Unix socket, where no node expects TLS."""
        self.address = address
        self._may_need_tls = credentials is None and not local
        self.origin = 0
        self.read_only = False
        self.lost = False
        self._attached = False
        self._credentials = credentials
        self._numbers = count(1)
        self._open: dict[int, AnyRequest] = {}
        self._abandoned: set[int] = set()
        self._forgotten: deque[Release | Unfollow] = deque()
        self._output: list[bytes] = []
        self._frames = FrameReader()
        self._frames.limit = MAX_ANSWER_BYTES
        self._channel = None if credentials is None else credentials.channel()
        if self._channel is None:
            self._attach()
        else:
            self._channel.begin()

    # -- out

    def request(self, request: AnyRequest) -> int:
        """Queue a request under the next number, and return the number. The `id` that the request has is ignored.

        Raises ConnectionLostError, LimitError for a request above MAX_FRAME_BYTES, TypeError for arguments that
        MessagePack cannot hold."""
        if self.lost:
            raise ConnectionLostError(f"the connection to {self.address} is lost")
        self._release_forgotten()  # first: the node may refuse another snapshot before that
        return self._queue_request(request)

    def abandon(self, number: int) -> None:
        """Ignore the answers of a request from now on. A snapshot or feed that it opens is released. Idempotent."""
        if number in self._open:
            self._abandoned.add(number)

    def forget(self, snapshot: int) -> None:
        """Release a snapshot with the bytes that are sent next. Never raises or blocks: finalizers call it, in any
        thread."""
        self._forgotten.append(Release(0, snapshot))

    def forget_feed(self, feed: int) -> None:
        """Close a changes feed, as `forget` releases a snapshot."""
        self._forgotten.append(Unfollow(0, feed))

    def data_to_send(self) -> bytes:
        """Return the bytes that the socket must send next, b"" if there are none. Each byte is returned once.

        After the end there are none: a node with a wrong certificate does not get the one of this client either."""
        if self.lost:
            return b""
        self._release_forgotten()
        if self._channel is not None:
            return self._channel.take()
        data = b"".join(self._output)
        self._output.clear()
        return data

    def _release_forgotten(self) -> None:
        while self._attached and self._forgotten:
            self._release(self._forgotten.popleft())

    def _release(self, request: Release | Unfollow) -> None:
        self.abandon(self._queue_request(request))

    def _queue_request(self, request: AnyRequest) -> int:
        number = next(self._numbers)
        frame = encode(replace(request, id=number))
        if len(frame) > MAX_FRAME_BYTES:
            raise LimitError(f"this request takes {len(frame)} bytes, {MAX_FRAME_BYTES} are allowed: write it in parts")
        self._open[number] = request
        self._queue(frame)
        return number

    def _attach(self) -> None:
        self._queue(PREAMBLE + encode(Attach(0)))

    def _queue(self, data: bytes) -> None:
        if self._channel is None:
            self._output.append(data)
        else:
            self._channel.write(data)

    # -- in

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes of the socket, and return the events that they complete. Call `data_to_send` afterwards."""
        events: list[Event] = []
        if self.lost:
            return events
        try:
            for body in self._frames.feed(self._decrypt(data)):
                event = self._handle(decode_answer(body))
                if event is not None:
                    events.append(event)
                if isinstance(event, Lost):
                    break
        except ReplicationError as error:
            events.append(self._lose(error))
        return events

    def connection_lost(self, reason: str) -> ConnectionLostError:
        """End the connection from this side. Returns the error for open requests."""
        self.lost = True
        return ConnectionLostError(f"the connection to {self.address} is lost: {reason}")

    def node_gone(self) -> ConnectionLostError:
        """End the connection after the node has ended it. Returns the error for open requests."""
        unanswered = self._may_need_tls and not self._attached and not self.lost
        return self.connection_lost(_NEEDS_TLS if unanswered else "the node went away")

    def _lose(self, error: Exception) -> Lost:
        self.lost = True
        return Lost(error)

    def _decrypt(self, data: bytes) -> bytes:
        channel = self._channel
        if channel is None:
            if self._may_need_tls and not self._attached and data.startswith(_TLS_ALERT):
                raise self.node_gone()
            return data
        handshake = not channel.established
        channel.receive(data)
        if not channel.established:
            return b""
        if handshake:
            assert self._credentials is not None
            self._credentials.check(channel)
            self._attach()
        return b"".join(iter(channel.read, b""))

    def _handle(self, answer: AnyAnswer) -> Event | None:
        number = answer.id
        if number == 0:
            return self._handle_attached(answer)
        request = self._open.get(number)
        if request is None:
            raise RemoteProtocolError(f"{self.address} answered request {number}, which is not open")
        if isinstance(answer, Progress):
            return None if number in self._abandoned else Progressed(number, answer.done)
        expected = _ANSWERS[type(request)]
        if not isinstance(answer, (expected, Failed)):
            raise RemoteProtocolError(
                f"{self.address} answered a {type(request).__name__} request with {type(answer).__name__}, expected"
                f" {expected.__name__}"
            )
        del self._open[number]
        if number in self._abandoned:
            self._abandoned.discard(number)
            release = release_of(request, answer)
            if release is not None:
                self._release(release)
            return None
        return Refused(number, error_of(answer)) if isinstance(answer, Failed) else Answered(number, answer)

    def _handle_attached(self, answer: AnyAnswer) -> Event:
        """Handle a message about the connection itself, which has the number 0."""
        if isinstance(answer, Failed):
            if answer.kind == "ClosedError":  # the database is closed over there; ours is not
                return self._lose(ConnectionLostError(f"{self.address}: {answer.text}"))
            return self._lose(error_of(answer))
        if self._attached or not isinstance(answer, Attached):
            raise RemoteProtocolError(
                f"{self.address} sent {type(answer).__name__} instead of accepting this client: is it a node?"
            )
        if answer.version != VERSION:
            raise RemoteProtocolError(
                f"{self.address} has version {answer.version} of the client protocol, this client has {VERSION}:"
                " use the same release on both sides"
            )
        self._attached = True
        self.origin, self.read_only = answer.origin, answer.read_only
        return Opened()
