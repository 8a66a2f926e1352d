"""A node in the process of the test, on a directory of its own, with a clock that the test can move."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import level_replicator as lrep
from level_replicator import plyvel
from tests.harness.waiting import wait_until

if TYPE_CHECKING:
    from level_replicator.testing.node_process import NodeProcess

HEARTBEAT_S = 0.1


class Clock:
    """The wall clock, moved by `offset_ms`, or stopped at `frozen_ms`."""

    def __init__(self, offset_ms: int = 0, frozen_ms: int | None = None) -> None:
        self.offset_ms = offset_ms
        self.frozen_ms = frozen_ms

    def __call__(self) -> int:
        return time.time_ns() // 1_000_000 + self.offset_ms if self.frozen_ms is None else self.frozen_ms


class LocalNode:
    """A node that is open after construction. It may be closed and opened again, and gets a new port each time."""

    def __init__(
        self, folder: Path, servers: Iterable[str] | dict[str, Any] = (), *, clock: Clock | None = None, **config: Any
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.clock = clock or Clock()
        self.servers = servers if isinstance(servers, dict) else list(servers)
        self.events: list[lrep.PeerEvent] = []
        self._config = config
        self.open()

    def open(self) -> None:
        db = plyvel.DB(str(self.folder / "db"), create_if_missing=True)
        rs = plyvel.DB(str(self.folder / "rs"), create_if_missing=True)
        config = {
            "servers": self.servers if isinstance(self.servers, dict) else {each: {} for each in self.servers},
            "port": 0,
            "heartbeat": HEARTBEAT_S,
            "on_peer": self.events.append,
            **self._config,
        }
        try:
            self.replica = lrep.install(db, rs, config, _wall_ms=self.clock)
        except BaseException:
            rs.close()
            db.close()
            raise

    def close(self) -> None:
        self.replica.close()

    @property
    def port(self) -> int:
        assert self.replica.address is not None
        return self.replica.address[1]

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def origin(self) -> str:
        return str(self.replica.status()["origin"])

    @property
    def vector(self) -> dict[str, int]:
        """Origin's name → stamp."""
        return dict(self.replica.status()["vector"])

    def put(self, key: bytes, value: bytes) -> None:
        self.replica.put(key, value)

    def contents(self) -> dict[bytes, bytes]:
        return dict(self.replica)

    def peer(self, other: "LocalNode") -> dict[str, Any]:
        """Return the status of `other` as a peer; zeros and None while it is unknown."""
        for peer in self.replica.status()["peers"]:
            if peer["origin"] == other.origin:
                return dict(peer)
        return {"state": None, "entries_in": 0, "entries_out": 0, "connections": 0, "last_error": None}

    def event_kinds(self) -> set[str]:
        return {event.kind for event in self.events}


def wait_in_sync(*nodes: "LocalNode | NodeProcess") -> None:
    """Wait until all vectors are equal: then the contents are equal as well."""

    def in_sync() -> bool:
        first = nodes[0].vector
        return all(node.vector == first for node in nodes)

    wait_until(in_sync, lambda: [node.vector for node in nodes])
