"""TLS 1.3 over memory: bytes of the socket in, bytes of the session out, and the other way round. No sockets here.

Both sides present a certificate and prove that they hold its key; whose certificates are welcome is not for TLS
to say (node.admission). pyOpenSSL, since the ssl of the standard library hands no unverified client certificate to the
program. Needs the extra `tls`.
"""

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_der_private_key
from OpenSSL import SSL

from level_replicator.core.errors import ConfigError, RemoteProtocolError
from level_replicator.core.limits import MAX_TLS_HANDSHAKE_BYTES, MIN_RSA_BITS
from level_replicator.protocol.client_messages import ALPN
from level_replicator.protocol.messages import ByeCode
from level_replicator.security.key_files import Pems

_READ_BYTES = 64 * 1024
_WRITE_BYTES = 1024 * 1024
_PLAIN = ("wrong version number", "http request", "packet length too long", "unexpected message")
_NO_CERTIFICATE = ("certificate required", "peer did not return a certificate")


def _any_certificate(channel: SSL.Connection, _certificate: object, _error: int, _depth: int, _ok: int) -> bool:
    """Whoever proves the key of its certificate gets through TLS; who that may be is judged before any data."""
    channel.get_app_data().presented = True
    return True


def _role(_channel: SSL.Connection, offered: list[bytes]) -> object:
    """A client says what it is before its key is judged; a peer says nothing."""
    return ALPN if ALPN in offered else SSL.NO_OVERLAPPING_PROTOCOLS


class Contexts:
    """What all connections of one key pair share. Raises ConfigError for one that OpenSSL forbids."""

    def __init__(self, pems: Pems) -> None:
        self.fingerprint = pems.fingerprint
        try:
            self._dialling = _context(SSL.TLS_CLIENT_METHOD, pems)
            self._accepting = _context(SSL.TLS_SERVER_METHOD, pems)
        except SSL.Error as error:
            raise ConfigError(f"pems: OpenSSL does not take this key pair: {_reasons(error)}") from error

    def channel(self, *, dialled: bool, client: bool = False) -> "Channel":
        """`client`: we dial as a client, and say so."""
        return Channel(self._dialling if dialled else self._accepting, dialled=dialled, client=client)


def _context(method: int, pems: Pems) -> SSL.Context:
    context = SSL.Context(method)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_max_proto_version(SSL.TLS1_3_VERSION)
    context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _any_certificate)
    context.set_verify_depth(1)
    context.use_certificate(x509.load_der_x509_certificate(pems.certificate))
    context.use_privatekey(load_der_private_key(pems.private, None))  # type: ignore[arg-type]
    context.check_privatekey()
    context.set_alpn_select_callback(_role)  # type: ignore[arg-type]
    return context


class Channel:
    """Of one connection. Each method that takes bytes raises RemoteProtocolError for what TLS does not allow."""

    def __init__(self, context: SSL.Context, *, dialled: bool, client: bool = False) -> None:
        self.established = False
        self.presented = False
        self._handshake_bytes = 0
        self._ended = False
        self._connection = SSL.Connection(context, None)
        self._connection.set_app_data(self)
        if client:
            self._connection.set_alpn_protos([ALPN])
        if dialled:
            self._connection.set_connect_state()
        else:
            self._connection.set_accept_state()

    def begin(self) -> None:
        """What a dialler says first is in `take` then."""
        self._shake()

    def receive(self, data: bytes) -> None:
        """What came from the socket. `read` gives what it was for the session."""
        if not self.established:
            self._handshake_bytes += len(data)
            if self._handshake_bytes > MAX_TLS_HANDSHAKE_BYTES:
                # with what comes behind the handshake in the same breath: an honest peer then says no more than Hello
                raise RemoteProtocolError(f"a TLS handshake of more than {MAX_TLS_HANDSHAKE_BYTES} bytes")
        view = memoryview(data)
        while view:
            view = view[self._write_bio(view) :]
        if not self.established:
            self._shake()

    def _write_bio(self, view: memoryview) -> int:
        return self._connection.bio_write(view)

    def _shake(self) -> None:
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return
        except SSL.Error as error:
            raise RemoteProtocolError(_explain(error), ByeCode.REJECTED) from error
        if not self.presented:
            # a resumed session proves nothing now
            raise RemoteProtocolError("a TLS session without a certificate of its own", ByeCode.REJECTED)
        self.established = True

    def certificate(self) -> bytes:
        """DER, of the peer; once established. Raises RemoteProtocolError for one that proves nothing."""
        try:
            certificate = self._connection.get_peer_certificate(as_cryptography=True)
            assert certificate is not None
            key = certificate.public_key()
            der = certificate.public_bytes(Encoding.DER)
        except Exception as error:  # whatever a parser makes of a stranger's bytes
            raise RemoteProtocolError("a certificate that cannot be read", ByeCode.REJECTED) from error
        if isinstance(key, rsa.RSAPublicKey) and key.key_size < MIN_RSA_BITS:
            raise RemoteProtocolError(f"an RSA key of {key.key_size} bits", ByeCode.REJECTED)
        return der

    @property
    def is_client(self) -> bool:
        """Whether the other side came as a client."""
        return self._connection.get_alpn_proto_negotiated() == ALPN

    def read(self) -> bytes:
        """The next bytes of the session, b"" when there are none for now. At the end of the peer's stream `ended`."""
        if self._ended:
            return b""
        try:
            return self._connection.recv(_READ_BYTES)
        except SSL.WantReadError:
            return b""
        except SSL.ZeroReturnError:
            self._ended = True
            return b""
        except SSL.Error as error:
            raise RemoteProtocolError(_explain(error), ByeCode.PROTOCOL) from error

    @property
    def ended(self) -> bool:
        return self._ended

    def write(self, data: bytes) -> None:
        """Session bytes; `take` gives what goes to the socket."""
        try:
            self._connection.sendall(data)
        except SSL.Error as error:
            raise RemoteProtocolError(_explain(error), ByeCode.PROTOCOL) from error

    def shut(self) -> None:
        """Nothing more is written. The peer is told so."""
        try:
            self._connection.shutdown()
        except SSL.Error:
            return

    def take(self) -> bytes:
        """What is to go to the socket now."""
        parts = []
        while True:
            try:
                parts.append(self._connection.bio_read(_WRITE_BYTES))
            except SSL.WantReadError:
                return b"".join(parts)


def _reasons(error: SSL.Error) -> str:
    """In the words of OpenSSL."""
    return ", ".join(
        str(each[-1]) for each in (error.args[0] if error.args and isinstance(error.args[0], list) else [])
    )


def _explain(error: SSL.Error) -> str:
    """For people, of what OpenSSL says in its own words."""
    text = _reasons(error) or "the connection ended"
    if any(known in text for known in _PLAIN):
        return f"the peer does not speak TLS: has it keys (`pems`)? ({text})"
    if any(known in text for known in _NO_CERTIFICATE):
        return f"one side has no certificate: both need keys (`pems`) ({text})"
    return f"TLS failed: {text}"
