"""A link's transport on asyncio: a TCP connection."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from level_replicator.core.limits import SEND_BUFFER_BYTES

if TYPE_CHECKING:
    from level_replicator.runtime.link import Link

CLOSE_LINGER_S = 2.0
"""How long a farewell may take to leave. A peer that does not read would otherwise keep its socket for ever."""


def host_port(address: Any) -> str:
    """host:port of a socket's address; IPv6 in brackets."""
    host, port = address[0], address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Wire(asyncio.Protocol):
    """`attach` makes the link when the connection stands, or gives None to turn it away."""

    def __init__(self, attach: Callable[["Wire", str], "Link | None"]) -> None:
        self.full = False
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._attach = attach
        self._link: Link | None = None
        self._socket: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._socket = transport
        transport.set_write_buffer_limits(high=SEND_BUFFER_BYTES)
        self._link = self._attach(self, host_port(transport.get_extra_info("peername") or ("?", 0)))
        if self._link is None:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._link is not None and not self._link.ended:
            self._link.received(data)

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        if self._link is not None and not self._link.ended:
            self._link.drained()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)
        if self._link is not None:
            self._link.lost("the connection was lost" + (f": {exc}" if exc else ""))

    # -- what the link asks for

    def send(self, frames: list[bytes]) -> None:
        if self._socket is not None and not self._socket.is_closing():
            # not writelines: before Python 3.12.8 it never says that the buffer is full (CVE-2024-12254)
            self._socket.write(b"".join(frames))

    def close(self) -> None:
        if self._socket is None:
            return
        self._socket.close()
        if self.full:
            # a peer that does not read would never let the buffer run empty
            self._socket.abort()
        else:
            asyncio.get_running_loop().call_later(CLOSE_LINGER_S, self._socket.abort)
