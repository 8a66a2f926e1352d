"""What clients say to a node, and nodes to clients."""

import atexit
import tempfile
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import level_replicator as lrep
from level_replicator.api.request_handler import open_request_handler
from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.limits import MAX_FRAME_BYTES
from level_replicator.node.client_session import ClientSession
from level_replicator.protocol.client_messages import (
    PREAMBLE,
    Attach,
    Attached,
    Failed,
    decode_answer,
    decode_request,
    encode,
)
from level_replicator.protocol.framing import FrameReader
from tests.fuzz.source import Source

_MAY_FAIL_WITH = {
    *(name for name in vars(lrep) if name.endswith("Error")),
    "RemoteProtocolError",
    "TypeError",
    "ValueError",
    "OverflowError",
}


def requests(data: bytes) -> None:
    """Requests and answers: what is read is written as it was read, or it is refused."""
    for decode in (decode_request, decode_answer):
        try:
            message: Any = decode(data)
        except RemoteProtocolError:
            continue
        again = encode(message)[4:]
        assert repr(decode(again)) == repr(message)  # NaN is not equal to itself


class _Loop:
    """Time that passes when it is told to; threads that are not there."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_soon(self, work: Callable[..., None], *args: Any) -> Any:
        return self.call_later(0, work, *args)

    call_soon_threadsafe = call_soon

    def call_later(self, delay: float, work: Callable[..., None], *args: Any) -> Any:
        each = (self.now + delay, lambda: work(*args))
        self.due.append(each)
        loop = self

        class Handle:
            def cancel(self) -> None:
                if each in loop.due:
                    loop.due.remove(each)

        return Handle()

    def turn(self, seconds: float) -> None:
        self.now += seconds
        for _ in range(1_000):
            ready = [each for each in self.due if each[0] <= self.now]
            if not ready:
                return
            for each in ready:
                if each in self.due:
                    self.due.remove(each)
                    each[1]()
        raise AssertionError("the link does not come to rest")


class _Clients:
    """What a session needs of node.client_registry.ClientRegistry."""

    def __init__(self, loop: _Loop, replica: lrep.Replica) -> None:
        self.loop = loop
        self.open_request_handler = partial(open_request_handler, replica)

    def beside(self, _lane: str, work: Callable[..., None], *arguments: Any) -> None:
        work(*arguments)

    def left(self, _link: ClientSession) -> None:
        return


class _Wire:
    def __init__(self) -> None:
        self.full = False
        self.paused = False
        self.closed = False
        self.sent: list[bytes] = []
        self.address = "client"

    def send(self, frames: list[bytes]) -> None:
        assert not self.closed
        self.sent.extend(frames)

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def close(self) -> None:
        self.closed = True

    abort = close


@cache
def _replica() -> lrep.Replica:
    folder = tempfile.TemporaryDirectory(prefix="fuzz-clients-")
    replica = lrep.open(folder.name, {"port": None, "socket": False})

    def close() -> None:
        replica.close()
        folder.cleanup()

    atexit.register(close)
    return replica


def client(data: bytes) -> None:
    """A whole link on a real replica: any bytes, in any pieces, from one that may read only or everything. It answers
    or ends, each answer is one, and a reader changes nothing."""
    source = Source(data)
    replica = _replica()
    read_only, opened = source.flag(), source.flag()
    replica.put(b"key", b"value")
    before = replica.status()["vector"]
    loop, wire = _Loop(), _Wire()
    link = ClientSession(
        _Clients(loop, replica),  # type: ignore[arg-type]
        wire,  # type: ignore[arg-type]
        fingerprint=None,
        read_only=read_only,
        local=False,
    )
    if opened:
        link.received(PREAMBLE + encode(Attach(0)))
    while source.left and not link.ended:
        how = source.byte()
        if how == 0xFF:
            wire.full = not wire.full
            if not wire.full:
                link.drained()
        elif how == 0xFE:
            loop.turn(31)
        elif how & 1:
            link.received(source.take(how >> 1))
        else:
            body = source.take(how >> 1)
            link.received(len(body).to_bytes(4, "big") + body)
    wire.full = False
    if not link.ended:
        link.drained()
    loop.turn(31)
    assert not (link._queue and not link.ended)
    _check(b"".join(wire.sent))
    if read_only:
        assert replica.status()["vector"] == before
    link.lost("the end")
    assert not loop.due
    assert link.ended
    if replica.status()["keys"] > 100:
        for key in list(replica.iterator(include_value=False)):
            replica.delete(key)


def _check(sent: bytes) -> None:
    frames = FrameReader()
    frames.limit = MAX_FRAME_BYTES
    for number, body in enumerate(frames.feed(sent)):
        answer = decode_answer(body)
        assert number == 0 or not isinstance(answer, Attached)
        if isinstance(answer, Failed):
            assert answer.kind in _MAY_FAIL_WITH
            assert answer.text
