"""The key pair of a client, and the certificates that it accepts from the node."""

from collections.abc import Collection, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

from level_replicator.api.keys import NO_EXTRA
from level_replicator.core.errors import ConfigError, ReplicationError
from level_replicator.core.fingerprint import fingerprint_of, parse_fingerprint

if TYPE_CHECKING:
    from level_replicator.security.tls import Channel, Contexts


class Credentials:
    """The TLS contexts of our key pair, and the fingerprints of which the node must show one."""

    def __init__(self, contexts: "Contexts", fingerprints: Collection[str]) -> None:
        self._contexts = contexts
        self._fingerprints = frozenset(fingerprints)

    def channel(self) -> "Channel":
        """Return the TLS channel of a new connection, on the dialing side."""
        return self._contexts.channel(dialled=True, client=True)

    def check(self, channel: "Channel") -> None:
        """Check the certificate of the node, before any request is sent to it.

        Raises ReplicationError when its fingerprint is none of the expected ones, RemoteProtocolError when the
        certificate cannot be read."""
        found = fingerprint_of(channel.certificate())
        if found not in self._fingerprints:
            raise ReplicationError(
                f"the node has the fingerprint {found}, but should have {' or '.join(sorted(self._fingerprints))}:"
                " another node answers at this address, or the node has a new key"
            )


def load_credentials(
    pems: "str | PathLike[str] | Mapping[str, Any] | None", fingerprint: "str | list[str] | None"
) -> Credentials | None:
    """Load the arguments `pems` and `fingerprint` of `connect`. Returns None if both are missing.

    Raises ConfigError when only one of them is given, for a broken key pair or fingerprint, and when the extra `tls`
    is not installed."""
    if pems is None:
        if fingerprint is not None:
            raise ConfigError("fingerprint: checking it needs TLS: give `pems`, a key pair of this client, as well")
        return None
    if fingerprint is None:
        raise ConfigError(
            "pems: without the `fingerprint` of the node's certificate any node would do: give it as well"
        )
    try:
        from level_replicator.security.key_files import PemsFile, load_pems
        from level_replicator.security.tls import Contexts
    except ImportError as error:
        raise ConfigError(f"pems: {NO_EXTRA}") from error
    loaded = load_pems(pems) if isinstance(pems, Mapping) else PemsFile(pems).load()
    pins = [fingerprint] if isinstance(fingerprint, str) else fingerprint
    return Credentials(Contexts(loaded), [parse_fingerprint(each) for each in pins])
