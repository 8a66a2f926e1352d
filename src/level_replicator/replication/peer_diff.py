"""verify(peer): two nodes compared, over the connection between them."""

import asyncio

from level_replicator.core.errors import ConfigError, ReplicationError
from level_replicator.protocol.session import Phase
from level_replicator.replication.coordinator import Coordinator
from level_replicator.replication.peer_connection import PeerConnection
from level_replicator.storage.reconcile.comparison import Difference


async def compare(coordinator: Coordinator, peer: str) -> Difference:
    """With the connected peer of this address, name, origin or fingerprint. On the event loop.

    Raises ConfigError when none such is connected, ReplicationError when the connection ends before."""
    connection = _connection_to(coordinator, peer)
    told: asyncio.Future[Difference | None] = asyncio.get_running_loop().create_future()

    def settle(difference: Difference | None) -> None:
        if not told.done():
            told.set_result(difference)

    connection.puller.compare(settle)
    difference = await told
    if difference is None:
        raise ReplicationError(f"the connection with {peer} ended before the comparison did: try again")
    return difference


def _connection_to(coordinator: Coordinator, peer: str) -> PeerConnection:
    known = []
    for connection in coordinator.by_origin.values():
        if connection.peer.is_called(peer) and connection.session.phase is Phase.OPEN:
            return connection
        known.append(connection.peer.address)
    raise ConfigError(f"{peer!r} is not connected; connected are: {', '.join(known) or 'none'}")
