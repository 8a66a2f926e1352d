"""All clients of one node: programs in other processes that use its database."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from typing import Any

from level_replicator.core.limits import CLIENT_THREADS, MAX_CLIENTS
from level_replicator.node.client_session import ClientSession, OpenRequestHandler
from level_replicator.node.stream import StreamTransport
from level_replicator.protocol.client_messages import Failed, encode
from level_replicator.protocol.messages import ByeCode
from level_replicator.replication.refusal_limiter import RefusalLimiter

_log = logging.getLogger("level_replicator.node")


class ClientAccess(StrEnum):
    """Permission of clients that connect over the port."""

    FULL = "read-write"
    READ = "read-only"
    NONE = "none"


class ClientRegistry:
    """The client sessions of one node, on its event loop.

    access                permission of clients that connect over the port
    refusals              limits how many refusals the node reports
    open_request_handler  returns the handler for the requests of a new client
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        access: ClientAccess,
        refusals: RefusalLimiter,
        open_request_handler: OpenRequestHandler,
    ) -> None:
        self.loop = loop
        self.access = access
        self.open_request_handler = open_request_handler
        self.connections: set[ClientSession] = set()
        self._refusals = refusals
        self._pools: dict[str, ThreadPoolExecutor] = {}

    def admit(self, stream: StreamTransport, *, fingerprint: str | None, read_only: bool) -> ClientSession | None:
        """Accept or refuse a client. Returns its session; None: it was refused, and the reason was sent."""
        if not stream.local and self.access is ClientAccess.NONE:
            self.refuse(stream, "this node accepts no clients over its port: set `clients` in its configuration")
        elif len(self.connections) >= MAX_CLIENTS:
            self.refuse(stream, f"{MAX_CLIENTS} clients are connected already, the most that a node accepts")
        else:
            read_only = read_only or (not stream.local and self.access is ClientAccess.READ)
            connection = ClientSession(self, stream, fingerprint=fingerprint, read_only=read_only, local=stream.local)
            self.connections.add(connection)
            stream.keep_alive()
            return connection
        return None

    def refuse(self, stream: StreamTransport, why: str) -> None:
        """Refuse a client: send the reason, and close."""
        stream.send([encode(Failed(0, "ReplicationError", f"not accepted: {why}"))])
        stream.close()
        if self._refusals.may_report(int(self.loop.time() * 1000)):
            if unreported := self._refusals.take_unreported():
                why += f" (and {unreported} more refusals before)"
            _log.info("a client at %s was not accepted: %s", stream.address, why)

    def left(self, session: ClientSession) -> None:
        """Forget a session that has ended."""
        self.connections.discard(session)

    def beside(self, lane: str, work: Callable[..., None], *arguments: Any) -> None:
        """Run work that may take long on a thread of this lane."""
        if lane not in self._pools:
            self._pools[lane] = ThreadPoolExecutor(CLIENT_THREADS, thread_name_prefix=f"level-replicator-{lane}")
        self._pools[lane].submit(work, *arguments)

    def cut(self, fingerprints: frozenset[str], why: str) -> None:
        """Close the connections of all clients with these fingerprints at once."""
        for connection in list(self.connections):
            if connection.fingerprint in fingerprints:
                connection.cut(why)

    def disconnect(self, name: str) -> int:
        """Close the connections of clients over the port with this fingerprint or address at once. Returns their
        number."""
        called = [
            connection
            for connection in self.connections
            if not connection.local and name in (connection.fingerprint, connection.transport.address)
        ]
        for connection in called:
            connection.cut("it was disconnected here")
        return len(called)

    def stop(self) -> list[StreamTransport]:
        """End all sessions, since the node stops. Returns the transports that still have bytes to send."""
        streams = [connection.transport for connection in self.connections]
        for connection in list(self.connections):
            connection.end(ByeCode.STOPPING, "the node stops")
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)
        return streams
