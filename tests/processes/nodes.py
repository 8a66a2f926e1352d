"""Replicas in this process, on real LevelDBs and sockets, with clocks that a test sets."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from threading import Event
from time import time_ns
from typing import Any

import plyvel

import level_replicator as lrep
from level_replicator.core.messages import Ping, encode
from level_replicator.storage.meta import load_meta, store_meta
from level_replicator.storage.plyvel_engine import PlyvelEngine
from tests.processes.cluster import eventually

HEARTBEAT_S = 0.2
PING_BYTES = len(encode(Ping()))


class Wall:
    """A wall clock. `set`: it stands still there; `shift_ms`: it runs, but wrongly."""

    def __init__(self) -> None:
        self.frozen_ms: int | None = None
        self.shift_ms = 0

    def __call__(self) -> int:
        return (time_ns() // 1_000_000 if self.frozen_ms is None else self.frozen_ms) + self.shift_ms


def open_node(path: Path, *servers: str, port: int | None = 0, wall: Wall | None = None, **config: Any) -> lrep.Replica:
    path.mkdir(parents=True, exist_ok=True)
    db = plyvel.DB(str(path / "db"), create_if_missing=True)
    rs = plyvel.DB(str(path / "rs"), create_if_missing=True)
    settings = {"heartbeat": HEARTBEAT_S, **config, "port": port, "servers": {server: {} for server in servers}}
    return lrep.install(db, rs, settings, _wall_ms=wall or Wall())


def address(replica: lrep.Replica) -> str:
    assert replica.address is not None
    return f"{replica.address[0]}:{replica.address[1]}"


def level(*replicas: lrep.Replica) -> None:
    """Waits until all vectors are equal, then compares contents."""

    def equal() -> bool:
        vectors = [replica.status()["vector"] for replica in replicas]
        return all(vector == vectors[0] for vector in vectors)

    eventually(equal, lambda: [replica.status() for replica in replicas])
    for replica in replicas[1:]:
        assert dict(replica) == dict(replicas[0])


def peer_state(replica: lrep.Replica, state: str) -> Callable[[], bool]:
    return lambda: any(peer["state"] == state for peer in replica.status()["peers"])


def wait_for_state(replica: lrep.Replica, state: str) -> None:
    eventually(peer_state(replica, state), replica.status)


def entries_in(replica: lrep.Replica) -> int:
    return sum(peer["entries_in"] for peer in replica.status()["peers"])


def bytes_in(replica: lrep.Replica) -> int:
    return sum(peer["bytes_in"] for peer in replica.status()["peers"])


def copy_directory(source: Path, target: Path, *, hidden: bool) -> None:
    """A copy; `hidden`: one that the identity of its directory does not give away, as in the image of a disk."""
    shutil.copytree(source, target)
    if not hidden:
        return
    engine = PlyvelEngine(plyvel.DB(str(target / "rs")))
    meta = load_meta(engine)
    assert meta is not None
    database = PlyvelEngine(plyvel.DB(str(target / "db")), leave_directory=True)
    meta.identity, meta.db_identity = engine.identity(), database.identity()
    store_meta(engine, meta)
    engine.close()
    database.close()


class Events(list[lrep.PeerEvent]):
    """Collects events; `seen` is set by the first of a kind that is waited for."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self._kind = kind
        self.seen = Event()

    def __call__(self, event: lrep.PeerEvent) -> None:
        self.append(event)
        if event.kind == self._kind:
            self.seen.set()
