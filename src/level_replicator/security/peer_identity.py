"""Who a peer is, by its certificate, and what the application says to it."""

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
    """Of `identify`, or of the rules before it."""

    accepted: bool
    read_only: bool = False
    reason: str = ""


class PeerIdentity:
    """What `identify(peer)` is given: a peer that has proved to hold the key of its certificate.

    `fingerprint`: "sha256:…" of the certificate. `certificate`, `public_key`: PEM texts. `address`: host:port of the
    other end. `dialled`: whether we dialled it. `known`: whether a pin or the trusted list names it already. `role`:
    "peer", a master like this one, or "client", a program that uses the database of this node.

    `accept` or `reject` decides, at once or later, from any thread; the first call counts, and it is acted upon when
    `identify` has returned."""

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
        from cryptography.x509 import load_der_x509_certificate  # of the extra `tls`, which is there if this is called

        return load_der_x509_certificate(self._der)

    @cached_property
    def certificate(self) -> str:
        return DER_cert_to_PEM_cert(self._der)

    @cached_property
    def public_key(self) -> str:
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        return self._x509.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    @property
    def not_after(self) -> datetime:
        """When its certificate says it ends, UTC. Replicas do not look at it; an `identify` may."""
        return self._x509.not_valid_after_utc

    def accept(self, *, read_only: bool = False) -> None:
        """Lets it in. `read_only`: it gets our changes, and we take none over this connection. Raises TypeError."""
        if not isinstance(read_only, bool):
            raise TypeError(f"read_only: a bool is wanted, not {type(read_only).__name__}")
        self._decide(Decision(accepted=True, read_only=read_only))

    def reject(self, reason: str = "") -> None:
        """Turns it away. The reason, up to MAX_REASON_CHARACTERS of it, is told to the peer and logged by both."""
        self._decide(Decision(accepted=False, reason=plain(str(reason), MAX_REASON_CHARACTERS)))

    def _decide(self, decision: Decision) -> None:
        with suppress(InvalidStateError):
            self._decision.set_result(decision)

    @property
    def decision(self) -> "Future[Decision]":
        """For the library."""
        return self._decision
