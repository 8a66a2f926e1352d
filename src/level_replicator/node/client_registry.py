"""All clients of one node: programs in other processes that use its database."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from level_replicator.core.limits import CLIENT_THREADS, MAX_CLIENTS
from level_replicator.node.client_session import ClientLink, Desk
from level_replicator.protocol.client_messages import Failed, encode
from level_replicator.protocol.messages import ByeCode
from level_replicator.replication.refusal_limiter import Notices

if TYPE_CHECKING:
    from level_replicator.node.stream import Wire

_log = logging.getLogger("level_replicator.runtime")


class Access(StrEnum):
    """What clients may do who come over the port."""

    FULL = "read-write"
    READ = "read-only"
    NONE = "none"


class Clients:
    """On the node's loop. `open_desk(read_only, local)` is set when the replica stands. `notices`: of all refusals that
    the node tells."""

    def __init__(self, loop: asyncio.AbstractEventLoop, access: Access, notices: Notices) -> None:
        self.loop = loop
        self.access = access
        self.open_desk: Callable[[bool, bool], Desk] | None = None
        self.links: set[ClientLink] = set()
        self._notices = notices
        self._pools: dict[str, ThreadPoolExecutor] = {}

    def admit(self, wire: "Wire", *, fingerprint: str | None, read_only: bool) -> ClientLink | None:
        """None: it is not to come in; it has been told why."""
        if not wire.local and self.access is Access.NONE:
            self.refuse(wire, "this node takes no clients (`clients` in its configuration)")
        elif len(self.links) >= MAX_CLIENTS:
            self.refuse(wire, f"{MAX_CLIENTS} clients are connected already")
        else:
            read_only = read_only or (not wire.local and self.access is Access.READ)
            link = ClientLink(self, wire, fingerprint=fingerprint, read_only=read_only, local=wire.local)
            self.links.add(link)
            wire.keep_alive()
            return link
        return None

    def refuse(self, wire: "Wire", why: str) -> None:
        """Tells a client that it may not come in."""
        wire.send([encode(Failed(0, "ReplicationError", f"not accepted: {why}"))])
        wire.close()
        if self._notices.may_tell(int(self.loop.time() * 1000)):
            if untold := self._notices.take_untold():
                why += f" (and {untold} more refusals before)"
            _log.info("a client at %s was not accepted: %s", wire.address, why)

    def left(self, link: ClientLink) -> None:
        self.links.discard(link)

    def beside(self, lane: str, work: Callable[..., None], *arguments: Any) -> None:
        """What may take long, on a thread of this lane."""
        if lane not in self._pools:
            self._pools[lane] = ThreadPoolExecutor(CLIENT_THREADS, thread_name_prefix=f"level-replicator-{lane}")
        self._pools[lane].submit(work, *arguments)

    def cut(self, fingerprints: frozenset[str], why: str) -> None:
        """Whoever has one of these is cut off."""
        for link in list(self.links):
            if link.fingerprint in fingerprints:
                link.cut(why)

    def disconnect(self, name: str) -> int:
        """Cuts off whoever came over the port with this fingerprint, or from this address."""
        called = [link for link in self.links if not link.local and name in (link.fingerprint, link.transport.address)]
        for link in called:
            link.cut("it was disconnected here")
        return len(called)

    def stop(self) -> list["Wire"]:
        """Says goodbye to all of them. Those that still have to leave."""
        wires = [link.transport for link in self.links]
        for link in list(self.links):
            link.end(ByeCode.STOPPING, "the node stops")
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)
        return wires
