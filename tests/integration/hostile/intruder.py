"""A peer that sends any message that a test wants, over a real socket."""

import socket
from collections.abc import Iterator

from level_replicator.core.limits import MAX_FRAME_BYTES
from level_replicator.protocol.framing import FrameReader
from level_replicator.protocol.messages import (
    MAGIC,
    VERSION,
    AnyMessage,
    Bye,
    Hello,
    Message,
    StartPull,
    Welcome,
    decode,
    encode,
)

ORIGIN = 0xBAD


class Intruder:
    """Connects when it is constructed. `timeout_s` only ends a test that would hang."""

    def __init__(
        self,
        address: tuple[str, int],
        *,
        timeout_s: float = 30.0,
        receive_buffer: int | None = None,
        source: str | None = None,
    ) -> None:
        self.socket = socket.socket()
        if source is not None:
            self.socket.bind((source, 0))
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(timeout_s)
        self.socket.connect(address)
        self._frames = FrameReader()
        self._frames.limit = MAX_FRAME_BYTES
        self._messages = self._read()

    def __enter__(self) -> "Intruder":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send as much as possible: the other side may hang up before it has read all."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return

    def say(self, *messages: Message) -> None:
        self.send(b"".join(map(encode, messages)))

    def hear(self, kind: type[AnyMessage] | type[Message]) -> AnyMessage | None:
        """Return the next message of that kind, or None when the connection ends first."""
        return next((message for message in self._messages if isinstance(message, kind)), None)

    def farewell(self) -> Bye | None:
        """Return the Bye that ends the connection, or None if the connection ends without one."""
        bye = self.hear(Bye)
        assert bye is None or isinstance(bye, Bye)
        assert next(self._messages, None) is None, "something came after the Bye"
        return bye

    def enter(self, origin: int = ORIGIN) -> None:
        """Do a correct handshake, up to the node's StartPull."""
        self.say(Hello(MAGIC, VERSION, origin, b"intruder"))
        assert self.hear(Welcome) is not None
        self.say(Welcome())
        assert self.hear(StartPull) is not None

    def _read(self) -> Iterator[AnyMessage]:
        while True:
            try:
                data = self.socket.recv(1 << 16)
            except ConnectionResetError:
                return
            if not data:
                return
            for body in self._frames.feed(data):
                yield decode(body)
