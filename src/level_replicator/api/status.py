"""What a replica tells of itself: plain data, ready for JSON."""

from typing import Any

from level_replicator.core.limits import BEHIND_COUNT_CAP
from level_replicator.core.version_vector import Vector, origin_name, raise_to
from level_replicator.node.node import Node
from level_replicator.protocol.messages import VERSION
from level_replicator.replication.peers import Peer


def status_of(node: Node) -> dict[str, Any]:
    """See Replica.status."""
    store = node.store
    failed = store.failed
    security = node.admission.security
    peers = list(node.servers.values())
    known = {peer.origin for peer in peers if peer.origin}
    visitors = [peer for peer in list(node.coordinator.visitors.values()) if peer.origin not in known]
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


def _peer(node: Node, peer: Peer, *, dialled: bool) -> dict[str, Any]:
    """A server and its visits to us are one peer, whoever dialled."""
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


def _last_vector(parts: list[Peer]) -> Vector | None:
    """Return what the peer covered when its connections ended, whoever dialled the last one; None: it never told."""
    known = [part.vector for part in parts if part.vector is not None]
    if not known:
        return None
    vector: Vector = {}
    for each in known:
        raise_to(vector, each)
    return vector
