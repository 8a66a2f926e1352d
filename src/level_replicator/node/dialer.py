"""One server of the configuration: dialled for ever, with backoff, unless a connection to it stands already."""

import asyncio
import ipaddress
import logging
import socket
from random import Random

from level_replicator.core.limits import BACKOFF_RESET_AFTER_S, CONNECT_TIMEOUT_S
from level_replicator.net.addresses import is_loopback
from level_replicator.net.backoff import Backoff
from level_replicator.net.offload import on_daemon_thread
from level_replicator.node.admission import Admission
from level_replicator.node.stream import StreamTransport
from level_replicator.replication.coordinator import Coordinator
from level_replicator.replication.peers import Peer, PeerState

_log = logging.getLogger("level_replicator.node")


def is_address(host: str) -> bool:
    """Whether this is an IP address, and no name."""
    try:
        ipaddress.ip_address(host.split("%")[0])
    except ValueError:
        return False
    return True


class Dialler:
    """`host` is resolved at each dial. `anywhere`: may leave loopback."""

    def __init__(
        self,
        coordinator: Coordinator,
        admission: Admission,
        host: str,
        port: int,
        peer: Peer,
        *,
        anywhere: bool,
        random: Random,
    ) -> None:
        self._coordinator = coordinator
        self._admission = admission
        self._host = host
        self._port = port
        self._peer = peer
        self._anywhere = anywhere
        self._backoff = Backoff(random)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._while_connected_otherwise()
            try:
                stream = await self._dial()
            except (OSError, ValueError) as error:
                self._peer.state = PeerState.WAITING
                self._peer.last_error = f"cannot connect: {str(error) or type(error).__name__}"
                _log.debug("%s: %s", self._peer.address, self._peer.last_error)
            else:
                began = loop.time()
                await stream.closed
                if loop.time() - began > BACKOFF_RESET_AFTER_S:
                    self._backoff.reset()
            await asyncio.sleep(self._backoff.next_delay_s())

    async def _while_connected_otherwise(self) -> None:
        """The server may have dialled us: its connection serves both directions."""
        while (connection := self._coordinator.by_origin.get(self._peer.origin)) is not None:
            if connection.peer.fingerprint != self._peer.fingerprint:
                return  # an origin is easily claimed: only its key says that this is the same node
            if connection.peer.instance != self._peer.instance:
                return  # it may be a duplicate of the node that was at this address
            assert isinstance(connection.transport, StreamTransport)
            await asyncio.wait([connection.transport.closed])

    async def _dial(self) -> StreamTransport:
        self._peer.state = PeerState.CONNECTING
        ips = await self._resolve()
        if not self._anywhere:
            ips = [ip for ip in ips if is_loopback(ip)]
            if not ips:
                raise OSError(
                    f"{self._host} is not on loopback, and plain TCP is for loopback only: give it keys (`pems`)"
                )
        return await self._first_that_answers(ips)

    async def _resolve(self) -> list[str]:
        if is_address(self._host):
            return [self._host]
        found = await on_daemon_thread(
            lambda: socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM), f"resolver of {self._host}"
        )
        return list(dict.fromkeys(str(where[4][0]) for where in found))

    async def _first_that_answers(self, ips: list[str]) -> StreamTransport:
        loop = asyncio.get_running_loop()
        error: OSError = OSError("the name has no address")
        for ip in ips:
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    _, stream = await loop.create_connection(
                        lambda: StreamTransport(self._admission, self._peer), ip, self._port
                    )
            except OSError as refused:
                error = refused
            else:
                return stream
        raise error
