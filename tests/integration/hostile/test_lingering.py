"""A connection that is closed while its peer does not read: unsent data must not keep the socket open."""

import asyncio
import socket
from unittest.mock import patch

from level_replicator.core.limits import SEND_BUFFER_BYTES
from level_replicator.node import stream as wire_module
from level_replicator.node.stream import StreamTransport
from level_replicator.replication.coordinator import Coordinator
from level_replicator.replication.peer_connection import PeerConnection
from tests.conformance.protocol.stage import Stage
from tests.integration.hostile.masters import TIMEOUT_S


async def _close_while_nobody_reads(coordinator: Coordinator) -> None:
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)

    def attach(wire: StreamTransport, address: str) -> PeerConnection:
        return coordinator.connect(wire, address)

    with theirs:
        _, wire = await asyncio.get_running_loop().create_connection(lambda: StreamTransport(attach), sock=ours)
        wire.send([bytes(SEND_BUFFER_BYTES // 2)])
        assert not wire.full
        wire.close()
        async with asyncio.timeout(TIMEOUT_S):
            await wire.closed


def test_unsent_data_does_not_keep_a_closed_socket_open() -> None:
    with patch.object(wire_module, "CLOSE_LINGER_S", 0.0):
        asyncio.run(_close_while_nobody_reads(Stage().actor("A").coordinator))
