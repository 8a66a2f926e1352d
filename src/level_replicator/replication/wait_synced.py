"""Waiting until this node covers what its peers have: they are asked for their vectors, then ours has to follow."""

import asyncio

from level_replicator.core.limits import MAX_WAITING_VECTOR_QUERIES
from level_replicator.core.version_vector import Vector, covers, raise_to
from level_replicator.protocol.messages import ByeCode
from level_replicator.protocol.session import Phase
from level_replicator.replication.coordinator import Coordinator
from level_replicator.replication.peer_connection import PeerConnection


class SyncWaiter:
    """Of one node, on its event loop. `dials`: whether there are servers to wait for."""

    def __init__(self, coordinator: Coordinator, dials: bool) -> None:
        self._coordinator = coordinator
        self._dials = dials
        self._asked: dict[int, tuple[PeerConnection, asyncio.Future[Vector | None]]] = {}
        self._token = 0
        self._progress: list[asyncio.Future[None]] = []
        coordinator.on_vector_received = self._told
        coordinator.on_vector_moved = self._moved
        coordinator.on_connection_ended = self._connection_ended

    async def wait(self, timeout_s: float | None) -> bool:
        """See Replica.wait_synced."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._until_synced()
        except TimeoutError:
            return False
        return True

    def cancel(self) -> None:
        """Ends every wait: the node stops."""
        for _, answer in self._asked.values():
            answer.cancel()
        for waiting in self._progress:
            waiting.cancel()

    async def _until_synced(self) -> None:
        while self._dials and not self._open_connections():
            await self._next_progress()
        answers = await asyncio.gather(*(self._ask(connection) for connection in self._open_connections()))
        target: Vector = {}
        for vector in answers:
            raise_to(target, vector or {})
        while not covers(self._coordinator.store.vector_copy(), target):
            await self._next_progress()

    def _open_connections(self) -> list[PeerConnection]:
        """Those whose changes we take."""
        connections = self._coordinator.by_origin.values()
        return [
            connection
            for connection in connections
            if connection.session.phase is Phase.OPEN and not connection.session.read_only
        ]

    async def _ask(self, connection: PeerConnection) -> Vector | None:
        """The peer's vector; None if the connection ends before the answer."""
        while not connection.ended and connection.session.unanswered >= MAX_WAITING_VECTOR_QUERIES:
            await self._next_progress()
        if connection.ended:
            return None
        self._token += 1
        answer: asyncio.Future[Vector | None] = asyncio.get_running_loop().create_future()
        self._asked[self._token] = (connection, answer)
        connection.session.query_vector(self._token)
        self._coordinator.has_output(connection)
        return await answer

    def _told(self, token: int, vector: Vector) -> None:
        _, answer = self._asked.pop(token, (None, None))
        if answer is not None and not answer.done():
            answer.set_result(vector)
        self._moved()

    def _connection_ended(self, connection: PeerConnection, _code: ByeCode | None) -> None:
        for token, (asked, answer) in list(self._asked.items()):
            if asked is connection:
                del self._asked[token]
                if not answer.done():
                    answer.set_result(None)
        self._moved()

    def _moved(self) -> None:
        waiting, self._progress = self._progress, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def _next_progress(self) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._progress.append(future)
        await future
