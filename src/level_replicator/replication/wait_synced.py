"""Waits until this node covers the changes of its peers: it queries their vectors, then its own has to reach them."""

import asyncio

from level_replicator.core.limits import MAX_WAITING_VECTOR_QUERIES
from level_replicator.core.version_vector import Vector, covers, raise_to
from level_replicator.protocol.session import Phase
from level_replicator.replication.coordinator import Coordinator, CoordinatorObserver
from level_replicator.replication.peer_connection import PeerConnection


class SyncWaiter(CoordinatorObserver):
    """Observes the coordinator of one node, on its event loop. `dials`: whether there are servers to wait for."""

    def __init__(self, *, dials: bool) -> None:
        self._dials = dials
        self._queries: dict[int, tuple[PeerConnection, asyncio.Future[Vector | None]]] = {}
        self._token = 0
        self._progress: list[asyncio.Future[None]] = []

    async def wait(self, coordinator: Coordinator, timeout_s: float | None) -> bool:
        """Wait for all peers of the coordinator. Returns False if the time ran out; see Replica.wait_synced."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._until_synced(coordinator)
        except TimeoutError:
            return False
        return True

    def cancel(self) -> None:
        """Cancel every wait, since the node stops."""
        for _, reply in self._queries.values():
            reply.cancel()
        for waiting in self._progress:
            waiting.cancel()

    # -- from the coordinator

    def vector_received(self, token: int, vector: Vector) -> None:
        _, reply = self._queries.pop(token, (None, None))
        if reply is not None and not reply.done():
            reply.set_result(vector)
        self.vector_moved()

    def vector_moved(self) -> None:
        waiting, self._progress = self._progress, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def connection_ended(self, connection: PeerConnection) -> None:
        for token, (queried, reply) in list(self._queries.items()):
            if queried is connection:
                del self._queries[token]
                if not reply.done():
                    reply.set_result(None)
        self.vector_moved()

    # -- a wait

    async def _until_synced(self, coordinator: Coordinator) -> None:
        while self._dials and not _pulled_connections(coordinator):
            await self._next_progress()
        connections = _pulled_connections(coordinator)
        replies = await asyncio.gather(*(self._query(coordinator, connection) for connection in connections))
        target: Vector = {}
        for vector in replies:
            raise_to(target, vector or {})
        while not covers(coordinator.store.vector_copy(), target):
            await self._next_progress()

    async def _query(self, coordinator: Coordinator, connection: PeerConnection) -> Vector | None:
        """Returns the peer's vector; None if the connection ends before the reply."""
        while not connection.ended and connection.session.unanswered >= MAX_WAITING_VECTOR_QUERIES:
            await self._next_progress()
        if connection.ended:
            return None
        self._token += 1
        reply: asyncio.Future[Vector | None] = asyncio.get_running_loop().create_future()
        self._queries[self._token] = (connection, reply)
        connection.session.query_vector(self._token)
        coordinator.has_output(connection)
        return await reply

    async def _next_progress(self) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._progress.append(future)
        await future


def _pulled_connections(coordinator: Coordinator) -> list[PeerConnection]:
    """Returns the open connections over which this node takes changes."""
    connections = coordinator.by_origin.values()
    return [
        connection
        for connection in connections
        if connection.session.phase is Phase.OPEN and not connection.session.read_only
    ]
