"""TLS 1.3 without I/O: a channel converts bytes of the socket to bytes of the session, and back.

Both sides present a certificate and prove that they hold its private key. TLS accepts every certificate; the rules of
trust are applied after the handshake (node.admission). The module uses pyOpenSSL, since the `ssl` of the standard
library does not expose an unverified client certificate. Needs the extra `tls`.
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
_NOT_TLS = ("wrong version number", "http request", "packet length too long", "unexpected message")
_NO_CERTIFICATE = ("certificate required", "peer did not return a certificate")


def _any_certificate(channel: SSL.Connection, _certificate: object, _error: int, _depth: int, _ok: int) -> bool:
    """Accept every certificate whose private key is proved. The rules of trust are applied before any data passes."""
    channel.get_app_data().presented = True
    return True


def _select_alpn(_channel: SSL.Connection, offered: list[bytes]) -> object:
    """Select the ALPN protocol of a client, which identifies it before its key is judged. A peer offers none."""
    return ALPN if ALPN in offered else SSL.NO_OVERLAPPING_PROTOCOLS


class Contexts:
    """The TLS contexts of one key pair, shared by its connections.

    Raises ConfigError if OpenSSL rejects the key pair."""

    def __init__(self, pems: Pems) -> None:
        self.fingerprint = pems.fingerprint
        try:
            self._dialling = _context(SSL.TLS_CLIENT_METHOD, pems)
            self._accepting = _context(SSL.TLS_SERVER_METHOD, pems)
        except SSL.Error as error:
            raise ConfigError(f"pems: OpenSSL rejects this key pair: {_reasons(error)}") from error

    def channel(self, *, dialled: bool, client: bool = False) -> "Channel":
        """Return the channel of a new connection. With `client` the dialling side identifies itself as a client."""
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
    context.set_alpn_select_callback(_select_alpn)  # type: ignore[arg-type]
    return context


class Channel:
    """The TLS state of one connection.

    Pass received bytes to `receive`, then read session bytes with `read`. Pass session bytes to `write`, then send the
    bytes that `take` returns. `receive`, `read` and `write` raise RemoteProtocolError if TLS fails.

    established  True after the handshake
    presented    True after the peer has proved the key of a certificate in this session
    """

    def __init__(self, context: SSL.Context, *, dialled: bool, client: bool = False) -> None:
        self.established = False
        self.presented = False
        self._client = client
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
        """Start the handshake on the dialling side. `take` then returns its first bytes."""
        self._shake()

    def receive(self, data: bytes) -> None:
        """Process bytes that were received from the socket."""
        if not self.established:
            self._handshake_bytes += len(data)
            if self._handshake_bytes > MAX_TLS_HANDSHAKE_BYTES:
                # includes session bytes in the same read: an honest peer sends at most a Hello at this time
                raise RemoteProtocolError(f"the TLS handshake exceeds {MAX_TLS_HANDSHAKE_BYTES} bytes, the limit")
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
            raise RemoteProtocolError(_explain(error, client=self._client), ByeCode.REJECTED) from error
        if not self.presented:
            # a resumed session would not prove that the peer still holds the key
            raise RemoteProtocolError("the TLS session was established without a certificate", ByeCode.REJECTED)
        self.established = True

    def certificate(self) -> bytes:
        """Return the peer's certificate in DER. The channel must be established.

        Raises RemoteProtocolError if it cannot be read, or its RSA key is too short."""
        try:
            certificate = self._connection.get_peer_certificate(as_cryptography=True)
            assert certificate is not None
            key = certificate.public_key()
            der = certificate.public_bytes(Encoding.DER)
        except Exception as error:  # the parser may raise anything for bytes of a stranger
            raise RemoteProtocolError("the peer's certificate cannot be read", ByeCode.REJECTED) from error
        if isinstance(key, rsa.RSAPublicKey) and key.key_size < MIN_RSA_BITS:
            raise RemoteProtocolError(
                f"the peer's RSA key has {key.key_size} bits; expected {MIN_RSA_BITS} or more", ByeCode.REJECTED
            )
        return der

    @property
    def is_client(self) -> bool:
        """True if the dialling side identified itself as a client."""
        return self._connection.get_alpn_proto_negotiated() == ALPN

    def read(self) -> bytes:
        """Return received session bytes, b"" if there are none yet. Sets `ended` at the end of the peer's stream."""
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
            raise RemoteProtocolError(_explain(error, client=self._client), ByeCode.PROTOCOL) from error

    @property
    def ended(self) -> bool:
        """True after the peer has closed its side of the TLS session."""
        return self._ended

    def write(self, data: bytes) -> None:
        """Encrypt session bytes. `take` returns the result."""
        try:
            self._connection.sendall(data)
        except SSL.Error as error:
            raise RemoteProtocolError(_explain(error, client=self._client), ByeCode.PROTOCOL) from error

    def shut(self) -> None:
        """Close our side of the TLS session, and notify the peer."""
        try:
            self._connection.shutdown()
        except SSL.Error:
            return

    def take(self) -> bytes:
        """Return and remove the bytes to send on the socket."""
        parts = []
        while True:
            try:
                parts.append(self._connection.bio_read(_WRITE_BYTES))
            except SSL.WantReadError:
                return b"".join(parts)


def _reasons(error: SSL.Error) -> str:
    """Return the reasons in the words of OpenSSL, separated by commas."""
    return ", ".join(
        str(each[-1]) for each in (error.args[0] if error.args and isinstance(error.args[0], list) else [])
    )


def _explain(error: SSL.Error, *, client: bool) -> str:
    """Return the text of an OpenSSL error with a hint for the user. `client`: this side is a client of a node."""
    text = _reasons(error) or "the connection ended"
    if any(known in text for known in _NOT_TLS):
        if client:
            return f"the node does not speak TLS: if it has no keys, connect without `pems` and `fingerprint` ({text})"
        return f"the peer does not speak TLS: check that it has keys (`pems`) ({text})"
    if any(known in text for known in _NO_CERTIFICATE):
        return f"one side has no certificate: both sides need keys (`pems`) ({text})"
    return f"TLS failed: {text}"
