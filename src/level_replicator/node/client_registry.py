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
    """What clients may do who come over the port."""

    FULL = "read-write"
    READ = "read-only"
    NONE = "none"


class ClientRegistry:
    """On the node's loop. `open_request_handler`: returns the handler for the requests of a new client. `refusals`: the
    limiter of all refusals that the node reports."""

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
        """None: it is not to come in; it has been told why."""
        if not stream.local and self.access is ClientAccess.NONE:
            self.refuse(stream, "this node takes no clients (`clients` in its configuration)")
        elif len(self.connections) >= MAX_CLIENTS:
            self.refuse(stream, f"{MAX_CLIENTS} clients are connected already")
        else:
            read_only = read_only or (not stream.local and self.access is ClientAccess.READ)
            connection = ClientSession(self, stream, fingerprint=fingerprint, read_only=read_only, local=stream.local)
            self.connections.add(connection)
            stream.keep_alive()
            return connection
        return None

    def refuse(self, stream: StreamTransport, why: str) -> None:
        """Tells a client that it may not come in."""
        stream.send([encode(Failed(0, "ReplicationError", f"not accepted: {why}"))])
        stream.close()
        if self._refusals.may_report(int(self.loop.time() * 1000)):
            if untold := self._refusals.take_unreported():
                why += f" (and {untold} more refusals before)"
            _log.info("a client at %s was not accepted: %s", stream.address, why)

    def left(self, session: ClientSession) -> None:
        self.connections.discard(session)

    def beside(self, lane: str, work: Callable[..., None], *arguments: Any) -> None:
        """What may take long, on a thread of this lane."""
        if lane not in self._pools:
            self._pools[lane] = ThreadPoolExecutor(CLIENT_THREADS, thread_name_prefix=f"level-replicator-{lane}")
        self._pools[lane].submit(work, *arguments)

    def cut(self, fingerprints: frozenset[str], why: str) -> None:
        """Whoever has one of these is cut off."""
        for connection in list(self.connections):
            if connection.fingerprint in fingerprints:
                connection.cut(why)

    def disconnect(self, name: str) -> int:
        """Cuts off whoever came over the port with this fingerprint, or from this address."""
        called = [
            connection
            for connection in self.connections
            if not connection.local and name in (connection.fingerprint, connection.transport.address)
        ]
        for connection in called:
            connection.cut("it was disconnected here")
        return len(called)

    def stop(self) -> list[StreamTransport]:
        """Says goodbye to all of them. Those that still have to leave."""
        streams = [connection.transport for connection in self.connections]
        for connection in list(self.connections):
            connection.end(ByeCode.STOPPING, "the node stops")
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)
        return streams
