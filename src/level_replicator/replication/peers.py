"""Records of peers, which outlive their connections, for `status` and for events."""

from dataclasses import dataclass
from enum import StrEnum

from level_replicator.core.limits import MAX_REMEMBERED_ORIGINS, MAX_REMEMBERED_PEERS
from level_replicator.core.version_vector import Vector, origin_name
from level_replicator.protocol.messages import ByeCode
from level_replicator.replication.pull_backoff import PullBackoff


class PeerState(StrEnum):
    """State of the connection with a peer."""

    WAITING = "waiting"
    """Not connected; this node dials it again after a delay."""
    CONNECTING = "connecting"
    HANDSHAKE = "handshake"
    SCANNING = "scanning"
    """Connected; its first round is not complete yet."""
    RECONCILING = "reconciling"
    """Connected; this node reconciles with the peer's index, since the peer's log does not reach back far enough."""
    LIVE = "live"
    QUARANTINED = "quarantined"
    """Refused, since the clock of one side is wrong. Tried again."""
    REFUSED = "refused"
    """One side has refused the other; see last_error. Tried again."""
    GONE = "gone"
    """The peer had dialled this node, and its connection has ended."""


class PeerErrorCode(StrEnum):
    """The cause of the last error of a peer's connections, for programs. The others have the names of `ByeCode`."""

    UNREACHABLE = "unreachable"
    """No connection could be made."""
    INSECURE = "insecure"
    """The peer is on another machine, and without keys plain TCP is for loopback."""
    LOST = "lost"
    """The connection was lost."""
    TLS = "tls"
    """TLS failed: mostly because one side has keys and the other has none."""
    PIN = "pin"
    """The peer's certificate is not the one that `servers` pins."""
    UNTRUSTED = "untrusted"
    """This node does not accept the peer's key."""
    UNTRUSTED_THERE = "untrusted_there"
    """The peer does not accept this node's key, or has pinned another one."""
    REJECTED = "rejected"
    """`identify` of this node rejected the peer, or did not decide in time."""
    DISCONNECTED = "disconnected"
    """`disconnect` was called."""
    STOPPING = "stopping"
    PROTOCOL = "protocol"
    VERSION = "version"
    CLOCK = "clock"
    DUPLICATE_ORIGIN = "duplicate_origin"
    SELF = "self"
    DUPLICATE_CONNECTION = "duplicate_connection"
    ORIGIN_CHANGED = "origin_changed"
    BUSY = "busy"
    STORAGE = "storage"
    TIMEOUT = "timeout"


def error_code_of(code: ByeCode | None, *, from_peer: bool) -> PeerErrorCode:
    """Return the cause of the end of a connection. `code`: that of the Bye, None without a Bye; `from_peer`: the peer
    sent the Bye."""
    if code is None:
        return PeerErrorCode.LOST
    if code is ByeCode.REJECTED:
        return PeerErrorCode.UNTRUSTED_THERE if from_peer else PeerErrorCode.DISCONNECTED
    return PeerErrorCode(code.name.lower())


@dataclass
class Peer:
    """Record of one peer. Counters begin when this replica is opened. Bytes are those of sessions, without TLS; entries
    are those in frames."""

    address: str
    dialled: bool
    name: str | None = None
    origin: int = 0
    instance: bytes = b""
    """Instance of the process that has connected last; see Hello."""
    fingerprint: str | None = None
    """Fingerprint of its last certificate; None without TLS."""
    read_only: bool = False
    """It receives our changes, and this node accepts none from it."""
    state: PeerState = PeerState.WAITING
    last_error: str | None = None
    last_error_code: PeerErrorCode | None = None
    connections: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    entries_in: int = 0
    entries_out: int = 0
    clock_ahead_ms: int | None = None
    """Milliseconds by which its clock was ahead of ours at its last live change, less the time that it took to
    arrive."""
    vector: Vector | None = None
    """Its vector when its last connection ended; None: unknown."""
    stalled: bool = False
    """True if this node is connected to the peer and has waited for its changes for STALL_MS."""
    pull_backoff: PullBackoff | None = None

    server: "Peer | None" = None
    """The configured server that was the same node when this peer dialed us; see `configured`."""

    @property
    def configured(self) -> "Peer | None":
        """The record of the configured server that is this node: this one, if this node has dialed it."""
        if self.dialled:
            return self
        return self.server if self.server is not None and self.server.origin == self.origin else None

    @property
    def label(self) -> str:
        """Name and address for logs: the configured ones, if the peer is one of the configured servers."""
        peer = self.configured or self
        return f"{peer.name} at {peer.address}" if peer.name else peer.address

    def is_called(self, name: str) -> bool:
        """Returns whether this is an address or the name of the peer, its origin or its fingerprint.

        The peer has its own address and that of the configured server, whichever side has dialed."""
        origin = origin_name(self.origin) if self.origin else None
        server = self.configured or self
        return name in (self.address, server.address, server.name, origin, self.fingerprint)


@dataclass(frozen=True)
class PeerEvent:
    """Something happened to a peer. `kind`: connected, disconnected, quarantined, refused, or new_origin (of this
    node itself).

    `address`: host:port; `origin`: 16 hexadecimal digits, empty while unknown; `text`: for people; `fingerprint`: that
    of its certificate, None without TLS."""

    kind: str
    address: str
    origin: str
    text: str
    fingerprint: str | None = None


class Visitors:
    """Peers that have dialled us, by origin: their counters continue over their connections.

    At most MAX_REMEMBERED_PEERS are kept; the one that came first is forgotten above that."""

    def __init__(self) -> None:
        self._peers: dict[int, Peer] = {}

    def get(self, origin: int) -> Peer | None:
        """Returns the peer with this origin, if it has dialled us."""
        return self._peers.get(origin)

    def all(self) -> list[Peer]:
        """Returns all of them, from any thread."""
        return list(self._peers.values())

    def remember(self, peer: Peer) -> Peer:
        """Add a peer whose origin is known now. Returns the record to use for it: an earlier one, if there is one."""
        known = self._peers.pop(peer.origin, None)
        if known is None:
            if len(self._peers) >= MAX_REMEMBERED_PEERS:
                self._peers.pop(next(iter(self._peers)))
            known = peer
        else:
            known.bytes_in += peer.bytes_in
            known.bytes_out += peer.bytes_out
            known.address = peer.address
            known.state = peer.state
            known.instance = peer.instance
            known.fingerprint, known.read_only = peer.fingerprint, peer.read_only
        self._peers[peer.origin] = known
        return known

    def forget_vectors(self) -> None:
        """Forget vectors, those of the first visitors first, until MAX_REMEMBERED_ORIGINS origins are left in them."""
        known = sum(len(peer.vector or ()) for peer in self._peers.values())
        for peer in self._peers.values():
            if known <= MAX_REMEMBERED_ORIGINS:
                return
            known -= len(peer.vector or ())
            peer.vector = None
