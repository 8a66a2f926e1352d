"""The connection of one client: receives requests and sends answers, on the event loop of the node.

Requests that may take long are executed on threads, so answers may overtake each other. While a client does not read
its answers, its requests are not read either. So it occupies at most one frame, the buffers of the kernel, and its
snapshots.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from level_replicator.core.errors import (
    ClosedError,
    LimitError,
    RemoteProtocolError,
    ReplicationError,
    StorageError,
)
from level_replicator.core.limits import (
    MAX_ANSWER_BYTES,
    MAX_CLIENT_BACKGROUND_REQUESTS,
    MAX_CLIENT_PENDING_WRITE_BYTES,
    MAX_CLIENT_WAITS_MS,
    MAX_FRAME_BYTES,
    REQUESTS_PER_TURN,
)
from level_replicator.leveldb import error_text
from level_replicator.node.stream import StreamTransport
from level_replicator.protocol.client_messages import (
    PREAMBLE,
    VERSION,
    Answer,
    AnyAnswer,
    AnyRequest,
    Attach,
    Attached,
    Failed,
    Progress,
    Read,
    Write,
    decode_request,
    encode,
)
from level_replicator.protocol.framing import FrameReader
from level_replicator.protocol.messages import ByeCode
from level_replicator.storage.engine.plyvel import ENGINE_ERRORS

_log = logging.getLogger("level_replicator.node")
_PROGRESS_EVERY_S = 0.2


class RequestHandler(Protocol):
    """Answers the requests of one client. Its methods may be called from any thread, several at once."""

    origin: int
    read_only: bool

    def lane(self, request: AnyRequest) -> str | None:
        """Return the lane (group of threads) of a request that may take long; None: execute it on the event loop. Each
        lane has its own threads, so that a write does not wait for an audit."""

    def answer(self, request: AnyRequest, progress: Callable[[int], None]) -> AnyAnswer | None:
        """Return the answer; None for a Read that may wait, if there are no changes yet.

        Raises the errors that are sent to the client."""

    def call_at_news(self, call: Callable[[], None]) -> None:
        """Call `call` once, from any thread, when a Read whose answer was None may have changes."""

    def dont_call(self, call: Callable[[], None]) -> None:
        """Cancel `call_at_news`."""

    @property
    def stopping(self) -> bool:
        """Whether the replica is being closed: requests that fail now would fail again."""

    def close(self) -> None: ...


class OpenRequestHandler(Protocol):
    """Return a handler of the requests of one client with these permissions."""

    def __call__(self, *, read_only: bool, local: bool) -> RequestHandler: ...


class ClientSessionHost(Protocol):
    """The registry of all sessions, as one session sees it."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    @property
    def open_request_handler(self) -> OpenRequestHandler: ...

    def beside(self, lane: str, work: Callable[..., None], *arguments: Any) -> None:
        """Run work that may take long on a thread of this lane."""

    def left(self, session: "ClientSession") -> None:
        """The session has ended."""


def failure_of(request: int, error: BaseException) -> Failed:
    """Return the answer for an error. The texts of errors of this library and of wrong arguments are sent to the
    client, those of other errors are only logged."""
    if isinstance(error, ENGINE_ERRORS):
        return Failed(request, StorageError.__name__, f"a LevelDB of the node failed: {error_text(error)}")
    if isinstance(error, ReplicationError | TypeError | ValueError | OverflowError):
        return Failed(request, type(error).__name__, str(error))
    _log.error("a request of a client failed", exc_info=error)
    return Failed(request, ReplicationError.__name__, "the node failed: see its log")


class ClientSession:
    """A session, from its first byte to its end. `read_only`: the client may not write; `local`: it has connected over
    the Unix socket."""

    def __init__(
        self,
        host: ClientSessionHost,
        transport: StreamTransport,
        *,
        fingerprint: str | None,
        read_only: bool,
        local: bool,
    ) -> None:
        self.ended = False
        self.is_open = False
        self.transport = transport
        self.fingerprint = fingerprint
        self.read_only = read_only
        self.local = local
        self._host = host
        self._frames = FrameReader()
        self._preamble = bytearray()
        self._request_handler: RequestHandler | None = None
        self._queue: deque[AnyRequest] = deque()
        self._out: list[bytes] = []
        self._long = 0
        self._long_bytes = 0
        self._again: asyncio.Handle | None = None
        self._waiting: dict[int, tuple[Read, asyncio.TimerHandle]] = {}
        self._bell = False
        self._progress_at = 0.0

    # -- from the transport

    def received(self, data: bytes) -> None:
        """Handle received bytes. Never raises for bytes that a client can send."""
        if len(self._preamble) < len(PREAMBLE):
            missing = len(PREAMBLE) - len(self._preamble)
            self._preamble += data[:missing]
            data = data[missing:]
            if not PREAMBLE.startswith(self._preamble):
                self._fail(
                    RemoteProtocolError("expected the preamble of a client, since the TLS handshake announced one")
                )
                return
        try:
            for body in self._frames.feed(data):
                request = decode_request(body)
                if self.is_open and not isinstance(request, Attach):
                    self._queue.append(request)
                else:
                    self._attach(request)
        except RemoteProtocolError as error:
            self._fail(error)
            return
        self._turn()

    def drained(self) -> None:
        self._turn()

    def lost(self, why: str) -> None:
        if not self.ended:
            self._finish()
            _log.debug("a client at %s left: %s", self.transport.address, why)

    def end(self, code: ByeCode, text: str) -> None:
        """Send the client the reason, and close."""
        kind = ClosedError if code is ByeCode.STOPPING else ReplicationError
        self._fail(kind(text))

    def cut(self, why: str) -> None:
        """Close at once. Answers that wait to be sent are discarded."""
        if not self.ended:
            self.transport.abort()
            self._finish()
            _log.info("cut off a client at %s: %s", self.transport.address, why)

    # -- requests

    def _attach(self, request: AnyRequest) -> None:
        if self.is_open or not isinstance(request, Attach):
            raise RemoteProtocolError(
                f"unexpected {type(request).__name__}: a client sends Attach first, and only once"
            )
        if request.version != VERSION:
            raise RemoteProtocolError(
                f"the client has version {request.version} of the protocol of clients, this node {VERSION}: upgrade the"
                " older one"
            )
        self._frames.limit = MAX_FRAME_BYTES
        self.is_open = True

    def _turn(self) -> None:
        """Serve some of the queued requests, then let other clients have their turn."""
        self._again = None
        if self.ended:
            return
        if self._request_handler is None:
            if not self.is_open:
                return
            self._open_request_handler()
        done = 0
        while self._queue and self._may_go_on() and done < REQUESTS_PER_TURN:
            self._serve(self._queue.popleft())
            done += 1
            if len(self._out) >= 8:
                self._flush()
        self._flush()
        if self._queue:
            self.transport.pause()
            if done == REQUESTS_PER_TURN:
                self._again = self._again or self._host.loop.call_soon(self._turn)
        else:
            self.transport.resume()

    def _may_go_on(self) -> bool:
        if self.ended or self.transport.full:
            return False
        return self._long < MAX_CLIENT_BACKGROUND_REQUESTS and self._long_bytes < MAX_CLIENT_PENDING_WRITE_BYTES

    def _open_request_handler(self) -> None:
        handler = self._host.open_request_handler(read_only=self.read_only, local=self.local)
        self._request_handler = handler
        self._send(Attached(0, VERSION, handler.origin, handler.read_only))

    def _serve(self, request: AnyRequest) -> None:
        request_handler = self._request_handler
        assert request_handler is not None
        lane = request_handler.lane(request)
        if lane is not None:
            self._long += 1
            cost = (
                sum(len(key) + len(value or b"") for key, value in request.operations)
                if isinstance(request, Write)
                else 0
            )
            self._long_bytes += cost
            self._host.beside(lane, self._work, request, request_handler, cost)
            return
        answer = self._answer(request, request_handler)
        if answer is not None:
            self._send(answer)
        elif isinstance(request, Read):
            self._wait(request)

    def _answer(self, request: AnyRequest, request_handler: RequestHandler) -> Answer | None:
        try:
            return request_handler.answer(request, lambda _: None)
        except Exception as error:
            return failure_of(request.id, error)

    # -- on other threads

    def _work(self, request: AnyRequest, request_handler: RequestHandler, cost: int) -> None:
        loop = self._host.loop

        def progress(done: int) -> None:
            if self.ended:
                raise ClosedError("the client has left")
            now = loop.time()
            if now - self._progress_at >= _PROGRESS_EVERY_S:
                self._progress_at = now
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(self._tell, Progress(request.id, done))

        try:
            answer: Answer | None = request_handler.answer(request, progress)
        except BaseException as error:
            answer = failure_of(request.id, error)
        assert answer is not None
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(self._worked, answer, cost)

    def _worked(self, answer: Answer, cost: int) -> None:
        self._long -= 1
        self._long_bytes -= cost
        self._tell(answer)
        self._turn()

    def _tell(self, answer: Answer) -> None:
        if not self.ended:
            self._send(answer)
            self._flush()

    # -- Reads that wait for changes

    def _wait(self, request: Read) -> None:
        loop = self._host.loop
        wait_s = min(max(request.wait_ms, 0), MAX_CLIENT_WAITS_MS) / 1000
        timer = loop.call_later(wait_s, self._waited, request.id)
        self._waiting[request.id] = (request, timer)
        self._look()

    def _look(self) -> None:
        """Answer the waiting Reads that have changes now, and ask to be called when the others may have some."""
        request_handler = self._request_handler
        assert request_handler is not None
        for registered in (False, True):  # changes may have come before the registration
            for number, (request, timer) in list(self._waiting.items()):
                answer = self._answer(request, request_handler)
                if answer is not None:
                    timer.cancel()
                    del self._waiting[number]
                    self._tell(answer)
            if not self._waiting or self._bell or registered or self.ended:
                return
            self._bell = True
            request_handler.call_at_news(self._ring)

    def _ring(self) -> None:
        with contextlib.suppress(RuntimeError):
            self._host.loop.call_soon_threadsafe(self._rung)

    def _rung(self) -> None:
        self._bell = False
        if not self.ended:
            self._look()

    def _waited(self, number: int) -> None:
        """The time of a Read has passed without changes: send an empty answer, after which the client reads again."""
        if self.ended or number not in self._waiting:
            return
        request, _ = self._waiting.pop(number)
        assert self._request_handler is not None
        answer = self._answer(Read(number, request.feed, wait_ms=0), self._request_handler)
        assert answer is not None
        self._tell(answer)

    # -- sending, and the end

    def _send(self, answer: Answer) -> None:
        if (
            isinstance(answer, Failed)
            and answer.id
            and self._request_handler is not None
            and self._request_handler.stopping
        ):
            # the client did not close its database: our node stops, and the client may connect to another one
            self.end(ByeCode.STOPPING, "the node stops")
            return
        frame = encode(answer)
        if len(frame) > MAX_ANSWER_BYTES + 4:
            frame = encode(failure_of(answer.id, LimitError(f"an answer of {len(frame)} bytes is too large")))
        self._out.append(frame)

    def _flush(self) -> None:
        if self._out and not self.ended:
            out, self._out = self._out, []
            self.transport.send(out)

    def _fail(self, error: ReplicationError) -> None:
        if not self.ended:
            self._send(failure_of(0, error))
            self._flush()
            self._finish()
            self.transport.close()

    def _finish(self) -> None:
        self.ended = True
        self._queue.clear()
        self._out.clear()
        for _, timer in self._waiting.values():
            timer.cancel()
        self._waiting.clear()
        if self._again is not None:
            self._again.cancel()
        if self._request_handler is not None:
            self._request_handler.dont_call(self._ring)
            self._request_handler.close()
        self._host.left(self)
