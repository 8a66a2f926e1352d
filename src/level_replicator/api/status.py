"""The status of a replica: plain data, ready for JSON."""

from typing import TypedDict

from level_replicator.core.limits import BEHIND_COUNT_CAP
from level_replicator.core.version_vector import origin_name, raise_to
from level_replicator.node.node import Node
from level_replicator.protocol.messages import VERSION
from level_replicator.replication.peers import Peer

Vector = dict[str, int]


class PeerStatus(TypedDict):
    """One peer in `Status`: a server that this node dials, or a node that dialed this one.

    address          "host:port" of the server; of a node that dialed this one, the address that it came from
    name             name of the server in the configuration; None: it has none
    dialled          whether this node dials the peer, because it is one of `servers`
    origin           origin of the peer, 16 hexadecimal digits; None before the first handshake
    fingerprint      fingerprint of the certificate that the peer showed last; None without keys
    read_only        whether the peer receives our changes and this node takes none from it
    read_only_there  whether this node receives the changes of the peer and the peer takes none from it; False while
                     they are not connected
    state            waiting, connecting, handshake, scanning, reconciling, live, quarantined, refused or gone; see
                     `PeerState`
    last_error       text of the last error of a connection; None: there was none
    last_error_code  cause of the last error, for programs: unreachable, insecure, lost, tls, pin, untrusted,
                     untrusted_there, rejected, disconnected, stopping, protocol, version, clock, duplicate_origin,
                     self, duplicate_connection, origin_changed, busy, storage or timeout; see `PeerErrorCode`; None:
                     as `last_error`
    waiting_for      the event that this node waits for until it has everything that the peer has, as a text; None: it
                     waits for nothing, or is not connected
    waiting_s        seconds since a change of the peer was applied last, while this node waits; 0: it does not wait;
                     None: it is not connected
    stalled          whether `waiting_s` is above 60 s and the peer is the reason
    behind           entries of our log that the peer is not known to have, counted up to 100,000; None: the peer has
                     not sent a version vector yet
    lag_s            age in seconds of the oldest entry that the peer lacks; 0: it lacks none; None: as `behind`
    clock_ahead_s    seconds that the clock of the peer is ahead of ours, measured at the last live change that the peer
                     wrote, less the time of the transfer; None: there was no such change
    connections      connections since the replica was opened
    bytes_in         bytes received from the peer since the replica was opened, without the overhead of TLS
    bytes_out        bytes sent to the peer since the replica was opened, without the overhead of TLS
    entries_in       entries received from the peer since the replica was opened
    entries_out      entries sent to the peer since the replica was opened
    """

    address: str
    name: str | None
    dialled: bool
    origin: str | None
    fingerprint: str | None
    read_only: bool
    read_only_there: bool
    state: str
    last_error: str | None
    last_error_code: str | None
    waiting_for: str | None
    waiting_s: float | None
    stalled: bool
    behind: int | None
    lag_s: float | None
    clock_ahead_s: float | None
    connections: int
    bytes_in: int
    bytes_out: int
    entries_in: int
    entries_out: int


class Status(TypedDict):
    """The status of a replica, as `Replica.status` returns it.

    origin                origin of the replica, 16 hexadecimal digits
    protocol              version of the replication protocol
    time_ms               clock of the node, ms since 1970
    address               [host, port] where the node listens; None: it only dials
    fingerprint           fingerprint of the node's certificate; None without keys
    vector                version vector: origin → stamp up to which everything of this origin is known
    keys                  live keys in the database
    entries               entries in the log
    log_bytes             approximate size of the log on the disk in bytes
    floor                 origin → stamp up to which the log was truncated
    horizon               origin → newest stamp of a tombstone that was dropped
    bulk_load_incomplete  whether a bulk load was begun and is not complete
    lost                  values that are lost on this node and have not come back from a peer yet; see `verify`
    conflicts             conflicts that met on this node since the replica was opened
    restamped_values      values that were sent again under a new dot since the replica was opened
    restamped_tombstones  tombstones that were sent again under a new dot since the replica was opened
    clock_ahead_s         seconds that the newest stamp is ahead of the clock of the node, because the clock of some
                          node is or was ahead
    clients               clients that are connected
    failed                text of the error for which the replica takes no more writes; None: there is none
    peers                 a `PeerStatus` for each peer
    """

    origin: str
    protocol: int
    time_ms: int
    address: list[str | int] | None
    fingerprint: str | None
    vector: Vector
    keys: int
    entries: int
    log_bytes: int
    floor: Vector
    horizon: Vector
    bulk_load_incomplete: bool
    lost: int
    conflicts: int
    restamped_values: int
    restamped_tombstones: int
    clock_ahead_s: float
    clients: int
    failed: str | None
    peers: list[PeerStatus]


def status_of(node: Node) -> Status:
    """Return the status of a node. Any thread, while the stores are open."""
    store = node.store
    failed = store.failed
    security = node.admission.security
    peers = list(node.servers.values())
    known = {peer.origin for peer in peers if peer.origin}
    visitors = [peer for peer in node.coordinator.visitors.all() if peer.origin not in known]
    return {
        "origin": origin_name(store.origin),
        "protocol": VERSION,
        "time_ms": node.coordinator.wall_ms(),
        "address": list(node.address) if node.address else None,
        "fingerprint": security.contexts.fingerprint if security is not None else None,
        "vector": {origin_name(origin): stamp for origin, stamp in store.vector_copy().items()},
        "keys": store.keys,
        "entries": store.entries,
        "log_bytes": store.retention.log_bytes(),
        "floor": {origin_name(origin): stamp for origin, stamp in store.floor.items()},
        "horizon": {origin_name(origin): stamp for origin, stamp in store.horizon.items()},
        "bulk_load_incomplete": store.bulk_load_incomplete,
        "lost": store.lost,
        "conflicts": store.conflicts,
        "restamped_values": store.restamped[0],
        "restamped_tombstones": store.restamped[1],
        "clock_ahead_s": max(0, (store.clock.last >> 16) - node.coordinator.wall_ms()) / 1000,
        "clients": len(node.clients.connections),
        "failed": str(failed) if failed else None,
        "peers": [
            *(_peer(node, peer, dialled=True) for peer in peers),
            *(_peer(node, peer, dialled=False) for peer in visitors),
        ],
    }


def _peer(node: Node, peer: Peer, *, dialled: bool) -> PeerStatus:
    """Return the status of a peer. A server that also dials this node is one peer: the counters are added."""
    parts = [peer]
    visit = node.coordinator.visitors.get(peer.origin)
    if visit is not None and visit is not peer:
        parts.append(visit)
    connection = node.coordinator.by_origin.get(peer.origin)
    puller = connection.puller if connection is not None and connection.peer in parts else None
    current = connection.peer if connection is not None and puller is not None else peer
    vector = (
        dict(connection.session.push.peer_vector)
        if connection is not None and connection.send_queue is not None
        else _last_vector(parts)
    )
    oldest = None if vector is None else node.store.oldest_behind(vector)
    now_ms = node.coordinator.wall_ms()
    return {
        "address": peer.address,
        "name": peer.name,
        "dialled": dialled,
        "origin": origin_name(peer.origin) if peer.origin else None,
        "fingerprint": current.fingerprint,
        "read_only": current.read_only,
        "read_only_there": connection is not None and connection.session.peer_takes_nothing,
        "state": current.state.value,
        "last_error": current.last_error,
        "last_error_code": None if current.last_error_code is None else current.last_error_code.value,
        "waiting_for": None if puller is None else puller.waits_for,
        "waiting_s": None if puller is None else puller.waiting_ms / 1000,
        "stalled": current.stalled,
        "behind": None if vector is None else node.store.count_behind(vector, BEHIND_COUNT_CAP),
        "lag_s": None if vector is None else 0.0 if oldest is None else max(0, now_ms - (oldest >> 16)) / 1000,
        "clock_ahead_s": None if current.clock_ahead_ms is None else current.clock_ahead_ms / 1000,
        "connections": sum(part.connections for part in parts),
        "bytes_in": sum(part.bytes_in for part in parts),
        "bytes_out": sum(part.bytes_out for part in parts),
        "entries_in": sum(part.entries_in for part in parts),
        "entries_out": sum(part.entries_out for part in parts),
    }


def _last_vector(parts: list[Peer]) -> dict[int, int] | None:
    """Return the last known vector of the peer, whichever side dialled; None if it has never sent one."""
    known = [part.vector for part in parts if part.vector is not None]
    if not known:
        return None
    vector: dict[int, int] = {}
    for each in known:
        raise_to(vector, each)
    return vector
