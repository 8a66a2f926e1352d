"""Compares the indexes of two nodes over the connection between them, for `verify(peer)`."""

import asyncio

from level_replicator.core.errors import ConfigError, ReplicationError
from level_replicator.replication.coordinator import Coordinator
from level_replicator.replication.peer_connection import PeerConnection
from level_replicator.storage.reconcile.comparison import Difference


async def compare(coordinator: Coordinator, peer: str) -> Difference:
    """Compare with the connected peer of this address, name, origin or fingerprint. To be run on the event loop.

    Raises ConfigError if no such peer is connected, ReplicationError if the connection ends before the comparison."""
    connection = _connection_to(coordinator, peer)
    result: asyncio.Future[Difference | None] = asyncio.get_running_loop().create_future()

    def on_compared(difference: Difference | None) -> None:
        if not result.done():
            result.set_result(difference)

    connection.compare(on_compared)
    difference = await result
    if difference is None:
        raise ReplicationError(f"the connection with {peer} ended before the comparison did: try again")
    return difference


def _connection_to(coordinator: Coordinator, peer: str) -> PeerConnection:
    known = []
    for connection in coordinator.by_origin.values():
        if connection.peer.is_called(peer) and connection.is_open:
            return connection
        known.append(connection.peer.label)
    raise ConfigError(f"{peer!r} is not connected; connected are: {', '.join(known) or 'none'}")
