"""The identity of a peer, given by its certificate, and the application's decision about it."""

from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from ssl import DER_cert_to_PEM_cert
from typing import TYPE_CHECKING

from level_replicator.core.fingerprint import fingerprint_of
from level_replicator.core.limits import MAX_REASON_CHARACTERS
from level_replicator.protocol.messages import plain

if TYPE_CHECKING:
    from cryptography.x509 import Certificate


@dataclass(frozen=True)
class Decision:
    """A decision about a peer, made by `identify` or by the rules of `Trust`.

    accepted   True if the peer may connect
    read_only  True if nothing is accepted from it
    reason     text of a rejection, which is sent to the peer
    """

    accepted: bool
    read_only: bool = False
    reason: str = ""


class PeerIdentity:
    """The argument of `identify(peer)`: a peer that has proved that it holds the private key of its certificate.

    `fingerprint` is "sha256:…" of the certificate. `certificate` and `public_key` are PEM texts. `address` is the
    host:port of the peer. `dialled` is True if this node dialled it. `known` is True if it is pinned or trusted.
    `role` is "peer" for another node, or "client" for a program that uses the database of this node.

    Call `accept` or `reject` once, immediately or later, from any thread. Only the first call has an effect, and only
    after `identify` has returned."""

    def __init__(self, certificate: bytes, address: str, *, dialled: bool, known: bool, role: str = "peer") -> None:
        self.fingerprint = fingerprint_of(certificate)
        self.address = address
        self.dialled = dialled
        self.known = known
        self.role = role
        self._decision: Future[Decision] = Future()
        self._der = certificate

    def __repr__(self) -> str:
        return f"<PeerIdentity {self.fingerprint} at {self.address}>"

    @cached_property
    def _x509(self) -> "Certificate":
        from cryptography.x509 import load_der_x509_certificate  # imported late: part of the extra `tls`

        return load_der_x509_certificate(self._der)

    @cached_property
    def certificate(self) -> str:
        """The certificate as a PEM text."""
        return DER_cert_to_PEM_cert(self._der)

    @cached_property
    def public_key(self) -> str:
        """The public key as a PEM text."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        return self._x509.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    @property
    def not_after(self) -> datetime:
        """The end of the certificate's validity, in UTC. Replicas ignore it; `identify` may check it."""
        return self._x509.not_valid_after_utc

    def accept(self, *, read_only: bool = False) -> None:
        """Accept the peer. With `read_only` it receives our changes, and this connection accepts none from it.

        Raises TypeError if `read_only` is not a bool."""
        if not isinstance(read_only, bool):
            raise TypeError(f"read_only: expected a bool, not {type(read_only).__name__}")
        self._decide(Decision(accepted=True, read_only=read_only))

    def reject(self, reason: str = "") -> None:
        """Reject the peer. The first MAX_REASON_CHARACTERS of `reason` are sent to it, and logged by both nodes."""
        self._decide(Decision(accepted=False, reason=plain(str(reason), MAX_REASON_CHARACTERS)))

    def _decide(self, decision: Decision) -> None:
        with suppress(InvalidStateError):
            self._decision.set_result(decision)

    @property
    def decision(self) -> "Future[Decision]":
        """The pending decision. For use by this library only."""
        return self._decision
