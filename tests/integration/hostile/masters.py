"""A real node on real LevelDBs, and an honest peer that stays connected to it."""

import asyncio
import resource
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NoReturn

from level_replicator.node.node import Node
from level_replicator.node.stream import StreamTransport
from level_replicator.replication.peers import PeerEvent
from level_replicator.storage.engine.plyvel import open_engine
from level_replicator.storage.store import Store

TIMEOUT_S = 30.0
"""Only ends a test that would hang."""


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _refuse_clients(*, read_only: bool, local: bool) -> NoReturn:
    raise AssertionError("these nodes have no clients")


class LocalNode:
    """One node on loopback."""

    def __init__(self, folder: Path, servers: list[tuple[str, int]]) -> None:
        folder.mkdir()
        self.events: list[PeerEvent] = []
        self._db, self._rs = open_engine(str(folder / "db")), open_engine(str(folder / "rs"))
        self.store = Store(self._db, self._rs, now_ms=_wall_ms, random_bytes=secrets.token_bytes, boot=b"boot")
        self.node = Node(
            self.store,
            host="127.0.0.1",
            port=0,
            servers={f"{host}:{port}": (host, port) for host, port in servers},
            names={},
            insecure=False,
            max_drift_ms=60_000,
            heartbeat_ms=5_000,
            wall_ms=_wall_ms,
            instance=secrets.token_bytes(16),
            random=Random(1),
            on_event=self.events.append,
            open_request_handler=_refuse_clients,
        )
        self.node.start()

    @property
    def address(self) -> tuple[str, int]:
        assert self.node.address is not None
        return self.node.address

    def put(self, key: bytes, value: bytes = b"") -> None:
        self.store.writer.put(key, value, False)
        self.node.local_change()

    def dump(self) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
        """Return all of db and rs."""
        return dict(self._db.scan()), dict(self._rs.scan())

    def wait_for(self, key: bytes) -> None:
        """Wait until a peer has brought this key."""

        async def arrives() -> None:
            async with asyncio.timeout(TIMEOUT_S):
                while self._db.get(key) is None:
                    await self.node.sync_waiter.next_progress()

        self.node.call(arrives()).result()

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds; it is called on the node's own thread at each turn of its loop."""

        async def holds() -> None:
            async with asyncio.timeout(TIMEOUT_S):
                while not condition():  # noqa: ASYNC110 - no event reports these conditions
                    await asyncio.sleep(0.001)

        self.node.call(holds()).result()

    def write_buffers(self) -> list[int]:
        """Return the bytes that wait in the transports of all connections, the greatest number first."""

        async def sizes() -> list[int]:
            wires = [link.transport for link in self.node.coordinator.connections]
            return sorted(
                (w._socket.get_write_buffer_size() for w in wires if isinstance(w, StreamTransport) and w._socket),
                reverse=True,
            )

        return self.node.call(sizes()).result()

    def close(self) -> None:
        self.node.stop()
        self.store.close()


class Masters:
    """`victim` is the node under attack; `honest` has dialled it."""

    def __init__(self, folder: Path) -> None:
        self.victim = LocalNode(folder / "victim", [])
        self.honest = LocalNode(folder / "honest", [self.victim.address])
        self._serial = 0
        self.check_served()
        self.check_served()

    def check_served(self) -> None:
        """Assert that a write of either node arrives at the other."""
        self._serial += 1
        one, other = b"victim %d" % self._serial, b"honest %d" % self._serial
        self.victim.put(one)
        self.honest.put(other)
        self.honest.wait_for(one)
        self.victim.wait_for(other)

    def honest_is_connected(self) -> bool:
        return self.honest.store.origin in self.victim.node.coordinator.by_origin

    def close(self) -> None:
        self.honest.close()
        self.victim.close()


def peak_memory_bytes() -> int:
    """Return the peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
