"""verify(peer): two nodes compared, over the link that stands between them."""

import asyncio

from level_replicator.core.errors import ConfigError, ReplicationError
from level_replicator.protocol.session import Phase
from level_replicator.replication.coordinator import Hub
from level_replicator.replication.peer_connection import Link
from level_replicator.storage.reconcile.comparison import Difference


async def compare(hub: Hub, peer: str) -> Difference:
    """With the connected peer of this address, name, origin or fingerprint. On the event loop.

    Raises ConfigError when none such is connected, ReplicationError when the connection ends before."""
    link = _link_to(hub, peer)
    told: asyncio.Future[Difference | None] = asyncio.get_running_loop().create_future()

    def settle(difference: Difference | None) -> None:
        if not told.done():
            told.set_result(difference)

    link.pulling.compare(settle)
    difference = await told
    if difference is None:
        raise ReplicationError(f"the connection with {peer} ended before the comparison did: try again")
    return difference


def _link_to(hub: Hub, peer: str) -> Link:
    known = []
    for link in hub.by_origin.values():
        if link.peer.is_called(peer) and link.session.phase is Phase.OPEN:
            return link
        known.append(link.peer.address)
    raise ConfigError(f"{peer!r} is not connected; connected are: {', '.join(known) or 'none'}")
