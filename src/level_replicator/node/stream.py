"""The transport of a connection on asyncio: over TCP, with or without TLS, or over the Unix socket.

Admission accepts or refuses each connection. Until it has attached a session, received bytes are used only for the TLS
handshake, and to tell a peer from a client.
"""

import asyncio
import ipaddress
import socket
import struct
from typing import TYPE_CHECKING, Any, Protocol

from level_replicator.core.errors import RemoteProtocolError
from level_replicator.core.limits import SEND_BUFFER_BYTES
from level_replicator.protocol.client_messages import PREAMBLE
from level_replicator.protocol.framing import is_http_request
from level_replicator.protocol.messages import ByeCode
from level_replicator.replication.peers import Peer

if TYPE_CHECKING:
    from level_replicator.security.tls import Channel

LOCAL = "this machine"
"""The address of all clients on the Unix socket."""
CLOSE_LINGER_S = 2.0
"""Seconds that the last bytes may take to leave. A peer that does not read would otherwise keep its socket for ever."""
_HOST_BITS_V6 = 64
_KEEP_ALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""Seconds, and number of probes: the loss of a client's machine is detected after about a minute."""
_AT_ONCE = struct.pack("ii", 1, 0)
"""A value of SO_LINGER: closing discards the bytes that the kernel has not sent yet."""
_HTTP_TEXT = "this port speaks the replication protocol of level-replicator, not HTTP"
_HTTP_ANSWER = (
    "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n"
    f"Content-Length: {len(_HTTP_TEXT) + 1}\r\n\r\n{_HTTP_TEXT}\n"
).encode()


def host_port(address: Any) -> str:
    """Return "host:port" of a socket's address, with an IPv6 address in brackets."""
    host, port = address[0], address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def network_of(ip: str) -> str:
    """Return the network whose pending connections are limited together: the IPv4 address, or the /64 of an IPv6
    one."""
    try:
        address = ipaddress.ip_address(ip.split("%")[0])
    except ValueError:
        return ip
    if address.version == 4:
        return ip
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address) >> _HOST_BITS_V6 << _HOST_BITS_V6, _HOST_BITS_V6)))


class AcceptedConnection(Protocol):
    """The session of an accepted peer or client: it receives the bytes."""

    ended: bool

    @property
    def is_open(self) -> bool: ...

    def received(self, data: bytes) -> None: ...

    def drained(self) -> None:
        """The transport takes bytes again."""

    def lost(self, why: str) -> None: ...

    def end(self, code: ByeCode, text: str) -> None:
        """Send the reason, and close."""

    def cut(self, why: str) -> None:
        """Close at once. Bytes that wait to be sent are discarded."""


class StreamObserver(Protocol):
    """Accepts or refuses new connections (node.admission)."""

    def arrived(self, stream: "StreamTransport") -> None: ...

    def introduced(self, stream: "StreamTransport", *, client: bool) -> None: ...

    def authenticated(self, stream: "StreamTransport", certificate: bytes, *, client: bool) -> None: ...

    def failed(self, stream: "StreamTransport", why: str) -> None: ...

    def left(self, stream: "StreamTransport", why: str) -> None: ...


class StreamTransport(asyncio.Protocol):
    """`server`: record of the server that this node has dialed; None: the connection is incoming. `local`: over the
    Unix socket."""

    def __init__(self, admission: StreamObserver, server: Peer | None = None, *, local: bool = False) -> None:
        self.full = False
        self.local = local
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.server = server
        self.address = "?"
        self.network = "?"
        self.connection: AcceptedConnection | None = None
        self._first = b""
        self._received = False
        self._admission = admission
        self._tls: Channel | None = None
        self._introduced = False
        self._socket: asyncio.Transport | None = None

    # -- from the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._socket = transport
        transport.set_write_buffer_limits(high=SEND_BUFFER_BYTES)
        if self.local:
            self.network = self.address = LOCAL
        else:
            peer = transport.get_extra_info("peername") or ("?", 0)
            self.network = network_of(peer[0])
            self.address = self.server.address if self.server is not None else host_port(peer)
        self._admission.arrived(self)

    def data_received(self, data: bytes) -> None:
        if not self._received:
            self._received = True
            if self.server is None and is_http_request(data):
                self._answer_http()
                return
        if self._tls is None:
            if self.connection is None:
                data = self._first = self._first + data
                if len(data) < len(PREAMBLE):
                    return
                self._admission.introduced(self, client=data.startswith(PREAMBLE))
                self._first = b""
            if self.connection is not None and not self.connection.ended:
                self.connection.received(data)
            return
        try:
            self._tls.receive(data)
        except RemoteProtocolError as error:
            self._broken(error)
        else:
            self._read()

    def _answer_http(self) -> None:
        """Refuse an HTTP client in its own protocol."""
        assert self._socket is not None
        self._admission.failed(self, f"an HTTP client connected: {_HTTP_TEXT}")
        self._socket.write(_HTTP_ANSWER)
        self._socket.close()
        self._abort_later()

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        if self.connection is not None and not self.connection.ended:
            self.connection.drained()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)
        why = "the connection was lost" + (f": {exc}" if exc else "")
        self._admission.left(self, why)
        if self.connection is not None:
            self.connection.lost(why)

    # -- from admission

    def secure(self, channel: "Channel") -> None:
        """Use TLS for all further bytes."""
        self._tls = channel
        if self.server is not None:
            channel.begin()
        self._flush()

    def attach(self, connection: AcceptedConnection) -> None:
        """Pass received bytes to the session of an accepted peer or client."""
        self.connection = connection
        if self._tls is not None:
            assert self._socket is not None
            if not self._socket.is_closing():
                self._socket.resume_reading()
            self._read()

    # -- TLS

    def _read(self) -> None:
        """Pass decrypted bytes to the session. The peer may have sent some before it was accepted."""
        assert self._tls is not None
        assert self._socket is not None
        try:
            if not self._tls.established:
                self._flush()
                return
            if not self._introduced:
                self._introduced = True
                self._flush()
                # until the peer is accepted, its further bytes wait in the kernel
                self._socket.pause_reading()
                self._admission.authenticated(self, self._tls.certificate(), client=self._tls.is_client)
                return
            if self.connection is None or self.connection.ended:
                return
            parts = []
            while data := self._tls.read():
                parts.append(data)
            self._flush()  # TLS itself may have to reply
        except RemoteProtocolError as error:
            self._broken(error)
            return
        if parts:
            self.connection.received(parts[0] if len(parts) == 1 else b"".join(parts))
        if self._tls.ended:
            self._socket.close()

    def _broken(self, error: RemoteProtocolError) -> None:
        """The peer violated TLS: send the alert with the reason, and close."""
        assert self._socket is not None
        self._flush()
        if self.connection is None:
            self._admission.failed(self, str(error))
        elif not self.connection.ended:
            self.connection.end(ByeCode(error.code or ByeCode.PROTOCOL), str(error))
        self._socket.close()
        self._abort_later()

    def _flush(self) -> None:
        if self._tls is not None and self._socket is not None and not self._socket.is_closing():
            data = self._tls.take()
            if data:
                self._socket.write(data)

    # -- from the session

    def send(self, frames: list[bytes]) -> None:
        if self._socket is None or self._socket.is_closing():
            return
        # not writelines: before Python 3.12.8 it never says that the buffer is full (CVE-2024-12254)
        data = b"".join(frames)
        if self._tls is None:
            self._socket.write(data)
            return
        try:
            self._tls.write(data)
        except RemoteProtocolError:
            self.abort()
        else:
            self._flush()

    def pause(self) -> None:
        """Stop reading until `resume`."""
        if self._socket is not None:
            self._socket.pause_reading()

    def resume(self) -> None:
        if self._socket is not None:
            self._socket.resume_reading()

    def keep_alive(self) -> None:
        """Enable TCP keep-alive: an idle client may send nothing for days, and its machine may vanish meanwhile."""
        raw = None if self._socket is None else self._socket.get_extra_info("socket")
        if self.local or raw is None:
            return
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEP_ALIVE.items():
            if hasattr(socket, name):
                raw.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    def close(self) -> None:
        if self._socket is None:
            return
        if self._tls is not None:
            self._tls.shut()
            self._flush()
        self._socket.close()
        self._abort_later()

    def _abort_later(self) -> None:
        assert self._socket is not None
        if self.full:
            # a peer that does not read would never let the buffer run empty
            self._socket.abort()
        else:
            asyncio.get_running_loop().call_later(CLOSE_LINGER_S, self._socket.abort)

    def abort(self) -> None:
        """Close at once. Bytes that wait to be sent, here or in the kernel, are discarded."""
        if self._socket is None:
            return
        raw = self._socket.get_extra_info("socket")
        if raw is not None and not self._socket.is_closing():
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self._socket.abort()
