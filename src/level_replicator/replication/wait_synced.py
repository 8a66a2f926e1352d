"""Waits until this node covers the changes of its peers.

A wait queries the version vector of each peer; then the vector of this node has to cover all replies. It waits for:

- peers that are connected when the wait begins;
- configured servers that can be reached: a server that is not connected is dialed within a second, and counts as
  unreachable when this attempt has ended without a session;
- at least one connection, if servers are configured from which this node takes changes.

With a number of peers it waits until this node covers the vectors of that many connected peers, whichever they are.
"""

import asyncio
from collections.abc import Collection, Iterable
from typing import Protocol

from level_replicator.core.limits import MAX_WAITING_VECTOR_QUERIES
from level_replicator.core.version_vector import Vector, covers
from level_replicator.protocol.session import Phase
from level_replicator.replication.coordinator import Coordinator, CoordinatorObserver
from level_replicator.replication.peer_connection import PeerConnection
from level_replicator.replication.peers import Peer


class DialedServer(Protocol):
    """A configured server that this node dials (node.dialer)."""

    @property
    def peer(self) -> Peer: ...

    @property
    def attempts_ended(self) -> int:
        """Number of attempts to dial that have ended, with or without a session."""

    def hasten(self) -> int:
        """Dial soon. Returns the value of `attempts_ended` after the attempt that is under way, or else the next
        one."""


class SyncWaiter(CoordinatorObserver):
    """Observes the coordinator and the dialers of one node, on its event loop."""

    def __init__(self) -> None:
        self._queries: dict[int, tuple[PeerConnection, asyncio.Future[Vector | None]]] = {}
        self._token = 0
        self._progress: list[asyncio.Future[None]] = []

    async def wait(
        self,
        coordinator: Coordinator,
        timeout_s: float | None,
        *,
        servers: Iterable[DialedServer] = (),
        peers: int | None = None,
    ) -> bool:
        """Wait for the peers of the coordinator. `servers`: the configured ones; `peers`: wait for that many connected
        peers instead. Returns False if the time ran out; see Replica.wait_synced."""
        wait = _Wait(self, coordinator, [server for server in servers if not server.peer.read_only], peers)
        try:
            async with asyncio.timeout(timeout_s):
                await wait.run()
        except TimeoutError:
            return False
        finally:
            wait.close()
        return True

    def cancel(self) -> None:
        """Cancel every wait, since the node stops."""
        for _, reply in self._queries.values():
            reply.cancel()
        for waiting in self._progress:
            waiting.cancel()

    def progressed(self) -> None:
        """Let every wait check its condition again."""
        waiting, self._progress = self._progress, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def next_progress(self) -> None:
        """Return at the next progress of a connection or a dialer."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._progress.append(future)
        await future

    async def query(self, coordinator: Coordinator, connection: PeerConnection) -> Vector | None:
        """Returns the peer's vector; None if the connection ends before the reply."""
        while not connection.ended and connection.session.unanswered >= MAX_WAITING_VECTOR_QUERIES:
            await self.next_progress()
        if connection.ended:
            return None
        self._token += 1
        token = self._token
        reply: asyncio.Future[Vector | None] = asyncio.get_running_loop().create_future()
        self._queries[token] = (connection, reply)
        connection.session.query_vector(token)
        coordinator.has_output(connection)
        try:
            return await reply
        finally:
            self._queries.pop(token, None)

    # -- from the coordinator

    def vector_received(self, token: int, vector: Vector) -> None:
        _, reply = self._queries.pop(token, (None, None))
        if reply is not None and not reply.done():
            reply.set_result(vector)
        self.progressed()

    def vector_moved(self) -> None:
        self.progressed()

    def connection_opened(self, connection: PeerConnection) -> None:
        self.progressed()

    def connection_ended(self, connection: PeerConnection) -> None:
        for token, (queried, reply) in list(self._queries.items()):
            if queried is connection:
                del self._queries[token]
                if not reply.done():
                    reply.set_result(None)
        self.progressed()


class _Wait:
    """One call of SyncWaiter.wait."""

    def __init__(
        self, waiter: SyncWaiter, coordinator: Coordinator, servers: Collection[DialedServer], peers: int | None
    ) -> None:
        self._waiter = waiter
        self._coordinator = coordinator
        self._peers = peers
        self._tried_at = {server: server.hasten() for server in servers}
        self._queries: dict[PeerConnection, asyncio.Task[Vector | None]] = {}

    def close(self) -> None:
        """Give up the queries without a reply."""
        for query in self._queries.values():
            query.cancel()

    async def run(self) -> None:
        """Return when the condition holds."""
        self._query(_pulled_connections(self._coordinator))
        while not self._holds():
            await self._waiter.next_progress()
            connections = _pulled_connections(self._coordinator)
            if self._peers is None and self._has_peer():
                connections = [each for each in connections if self._is_server(each)]
            self._query(connections)

    def _query(self, connections: list[PeerConnection]) -> None:
        for connection in connections:
            if connection not in self._queries:
                query = asyncio.create_task(self._waiter.query(self._coordinator, connection))
                query.add_done_callback(lambda _: self._waiter.progressed())
                self._queries[connection] = query

    def _holds(self) -> bool:
        vector = self._coordinator.store.vector_copy()
        if self._peers is not None:
            return self._synced_peers(vector) >= self._peers
        if not all(query.done() for query in self._queries.values()) or (self._tried_at and not self._has_peer()):
            return False
        replies = [_reply(query) for query in self._queries.values()]
        return all(map(self._is_tried, self._tried_at)) and all(covers(vector, reply or {}) for reply in replies)

    def _has_peer(self) -> bool:
        """Whether a peer is queried, or has replied."""
        return any(not query.done() or _reply(query) is not None for query in self._queries.values())

    def _synced_peers(self, vector: Vector) -> int:
        """Returns how many of the connected peers are covered."""
        count = 0
        for connection, query in self._queries.items():
            reply = _reply(query) if query.done() and not connection.ended else None
            count += reply is not None and covers(vector, reply)
        return count

    def _is_tried(self, server: DialedServer) -> bool:
        """Whether the server is connected, or cannot be reached."""
        connection = self._coordinator.connection_of(server.peer)
        if connection is not None:
            return connection.session.read_only or connection in self._queries
        return server.attempts_ended >= self._tried_at[server]

    def _is_server(self, connection: PeerConnection) -> bool:
        return any(self._coordinator.connection_of(server.peer) is connection for server in self._tried_at)


def _reply(query: "asyncio.Task[Vector | None]") -> Vector | None:
    """Returns the reply of a query that is done; None if there is none."""
    return None if query.cancelled() else query.result()


def _pulled_connections(coordinator: Coordinator) -> list[PeerConnection]:
    """Returns the open connections over which this node takes changes."""
    connections = coordinator.by_origin.values()
    return [
        connection
        for connection in connections
        if connection.session.phase is Phase.OPEN and not connection.session.read_only
    ]
