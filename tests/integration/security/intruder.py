"""A peer that speaks TLS in any way that a test wants, over a real socket, and keeps every byte that it receives."""

import socket
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL

from level_replicator.core.limits import MAX_FRAME_BYTES
from level_replicator.protocol.framing import FrameReader
from level_replicator.protocol.messages import AnyMessage, Message, decode, encode
from tests.harness import waiting


def context(
    pems: dict[str, str] | None, *, method: int = SSL.TLS_METHOD, version: int | None = None, key: str | None = None
) -> SSL.Context:
    """Return a TLS context that trusts everybody. `key`: a private key that does not belong to the certificate."""
    made = SSL.Context(method)
    made.set_verify(SSL.VERIFY_PEER if method != SSL.TLS_SERVER_METHOD else SSL.VERIFY_NONE, lambda *_: True)
    made.set_cipher_list(b"DEFAULT:@SECLEVEL=0")
    if version is not None:
        made.set_min_proto_version(version)
        made.set_max_proto_version(version)
    if pems is not None:
        made.use_certificate(x509.load_pem_x509_certificate(pems["cert"].encode()))
        made.use_privatekey(load_pem_private_key((key or pems["private"]).encode(), None))  # type: ignore[arg-type]
    return made


class SecureIntruder:
    """A peer on a connected socket. `heard`: all session bytes; `raw_in`, `raw_out`: all bytes of the socket."""

    def __init__(
        self, sock: socket.socket, tls: SSL.Context, *, dialled: bool = True, session: SSL.Session | None = None
    ) -> None:
        self.socket = sock
        self.socket.settimeout(waiting.DEADLINE_S)
        self.heard = bytearray()
        self.raw_in, self.raw_out = bytearray(), bytearray()
        self.ended = False
        self.tls = SSL.Connection(tls, None)
        if dialled:
            self.tls.set_connect_state()
            if session is not None:
                self.tls.set_session(session)
        else:
            self.tls.set_accept_state()
        self._frames = FrameReader()
        self._frames.limit = MAX_FRAME_BYTES

    @classmethod
    def dial(cls, address: tuple[str, int], tls: SSL.Context, *, session: SSL.Session | None = None) -> Self:
        return cls(socket.create_connection(address, waiting.DEADLINE_S), tls, session=session)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.socket.close()

    def handshake(self) -> None:
        """Do the TLS handshake. Raises SSL.Error, or ConnectionError when the node hangs up first."""
        while True:
            try:
                self.tls.do_handshake()
            except SSL.WantReadError:
                self._flush()
                if not self._fill():
                    raise ConnectionResetError("hung up within the handshake") from None
            else:
                self._flush()
                return

    def send(self, data: bytes) -> None:
        """Session bytes."""
        self.tls.sendall(data)
        self._flush()

    def say(self, *messages: Message) -> None:
        self.send(b"".join(map(encode, messages)))

    def send_raw(self, data: bytes) -> None:
        """Past TLS."""
        self.raw_out += data
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            self.ended = True

    def hear(self) -> AnyMessage | None:
        """The next message; None at the end."""
        while True:
            for body in self._frames.feed(self._pending()):
                return decode(body)
            if not self._more():
                return None

    def hear_all(self) -> list[AnyMessage]:
        """Everything up to the end of the connection."""
        while self._more():
            pass
        frames = FrameReader()
        frames.limit = MAX_FRAME_BYTES
        return [decode(body) for body in frames.feed(bytes(self.heard))]

    def _pending(self) -> bytes:
        data, self._unread = self._unread, b""
        return data

    _unread = b""

    def _more(self) -> bool:
        """Reads on; False at the end of the connection."""
        while True:
            try:
                data = self.tls.recv(1 << 16)
            except SSL.WantReadError:
                if not self._fill():
                    return False
            except SSL.Error:
                return False
            else:
                self.heard += data
                self._unread += data
                return True

    def _fill(self) -> bool:
        try:
            data = self.socket.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        if not data:
            self.ended = True
            return False
        self.raw_in += data
        self.tls.bio_write(data)
        return True

    def _flush(self) -> None:
        while True:
            try:
                data = self.tls.bio_read(1 << 20)
            except SSL.WantReadError:
                return
            self.send_raw(data)
