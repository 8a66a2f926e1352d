"""Functions on a replica for the workers of several workloads."""

import faulthandler
import sys
import threading
import time
from pathlib import Path
from typing import Any

import level_replicator as lrep
from bench.data import VALUE_BYTES, write_all
from bench.worker import Context
from level_replicator import plyvel

SYNC_TIMEOUT_S = 600.0
COMPLAIN_AFTER_S = 60.0
"""The time after which a node that is not in sync reports it on stderr, with a trace of its threads."""


class Connected(threading.Event):
    """Set when the first peer is there; `at`: when that was, on the clock that all processes share."""

    at = 0.0


def listen(context: Context, *, path: str, keys: dict[str, Any] | None = None) -> str:
    """Open a replica that listens, with `keys` (`pems`, `trusted`) over TLS. Return its address."""
    connected = context.kept["connected"] = Connected()

    def on_peer(event: lrep.PeerEvent) -> None:
        if event.kind == "connected" and not connected.is_set():
            connected.at = time.monotonic()
            connected.set()

    context.replica = lrep.open(path, {"port": 0, "on_peer": on_peer, **(keys or {})})
    address = context.replica.address
    assert address is not None
    return f"{address[0]}:{address[1]}"


def dial(context: Context, *, path: str, server: str, keys: dict[str, Any] | None = None) -> None:
    """Open a replica that dials `server`, and wait until it has everything of the server."""
    context.replica = lrep.open(path, {"servers": {server: {}}, **(keys or {})})
    wait_in_sync(context)


def wait_in_sync(context: Context) -> float:
    """Wait until the replica has everything that its peers have now. Return the time at that moment: seconds of a clock
    that all processes share."""
    began = time.monotonic()
    while not context.replica.wait_synced(COMPLAIN_AFTER_S):
        waited_s = time.monotonic() - began
        text = f"not in sync after {waited_s:.0f} s: {context.replica.status()}"
        if waited_s > SYNC_TIMEOUT_S:
            raise TimeoutError(text)
        print(text, file=sys.stderr, flush=True)
        faulthandler.dump_traceback()
    return time.monotonic()


def begin_dialling(context: Context, *, path: str, server: str) -> None:
    """Open a replica that dials `server`, without waiting."""
    context.replica = lrep.open(path, {"servers": {server: {}}})


def counters(context: Context) -> dict[str, float]:
    """Return counts over all peers since the replica was opened: bytes both ways, and received entries."""
    peers = context.replica.status()["peers"]
    return {
        "bytes": sum(peer["bytes_in"] + peer["bytes_out"] for peer in peers),
        "entries_in": sum(peer["entries_in"] for peer in peers),
    }


def close(context: Context) -> None:
    context.close_replica()


def count_keys(context: Context) -> int:
    return int(context.replica.status()["keys"])


def fill(
    _context: Context, *, path: str, count: int, value_bytes: int = VALUE_BYTES, first: int = 0, settled: bool = True
) -> None:
    """Write `count` entries to a replica, and close it; `settled`: also let LevelDB compact it."""
    with lrep.open(path) as replica:
        write_all(replica, count, value_bytes, first)
    if settled:
        rest(_context, path=path)


def rest(_context: Context, *, path: str) -> None:
    """Compact a closed replica, so that no compaction disturbs the next measurement."""
    for name, options in (("db", {}), ("rs", lrep.RS_OPTIONS)):
        if Path(f"{path}/{name}").exists():
            with plyvel.DB(f"{path}/{name}", **options) as db:
                db.compact_range(start=b"\x00", stop=b"\xff" * 17)
