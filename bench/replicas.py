"""What several workloads let a worker do with a replica."""

import time
from typing import Any

import level_replicator as lrep
from bench.worker import Context

SYNC_TIMEOUT_S = 600.0


def listen(context: Context, *, path: str, keys: dict[str, Any] | None = None) -> str:
    """Opens a replica that waits for peers, with `keys` (`pems`, `trusted`) over TLS. Gives its address."""
    context.replica = lrep.open(path, {"port": 0, **(keys or {})})
    address = context.replica.address
    assert address is not None
    return f"{address[0]}:{address[1]}"


def dial(context: Context, *, path: str, server: str, keys: dict[str, Any] | None = None) -> None:
    """Opens a replica that dials `server`, and waits until it has what that has."""
    context.replica = lrep.open(path, {"servers": {server: {}}, **(keys or {})})
    wait_level(context)


def wait_level(context: Context) -> float:
    """Waits until the replica has all that its peers have now. Gives the time at that moment: seconds of a clock
    that all processes share."""
    if not context.replica.wait_synced(SYNC_TIMEOUT_S):
        raise TimeoutError(f"not level after {SYNC_TIMEOUT_S:.0f} s: {context.replica.status()}")
    return time.monotonic()


def count_keys(context: Context) -> int:
    return int(context.replica.status()["keys"])
