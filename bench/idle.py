"""The cost of idle nodes that are in sync: CPU and bytes, of a pair, and of a node with many peers."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import level_replicator as lrep
from bench import replicas
from bench.figures import Collector, Series
from bench.options import Options
from bench.processes import Worker
from bench.worker import Context

GROUP = "idle"
CPU, BYTES = "CPU of the node", "on the wire, for each peer"
KEYS = 1_000


def with_peers(count: int) -> str:
    return f", 1 peer of {KEYS:,} keys" if count == 1 else f", {count} peers"


def measure(options: Options, progress: Callable[[str], None]) -> list[Series]:
    collector = Collector(GROUP)
    for run in range(options.runs):
        for peers in (0, 1, options.idle_peers):
            progress(f"{GROUP}, {peers} peers, run {run + 1} of {options.runs}")
            with TemporaryDirectory(dir=options.directory) as directory, Worker() as node, Worker() as others:
                path = str(Path(directory) / "node")
                node.call(replicas.fill, path=path, count=KEYS if peers <= 1 else 1)
                address = node.call(replicas.listen, path=path)
                others.call(dial_often, path=directory, server=address, count=peers)
                figures = node.call(rest, seconds=options.idle_s)
            collector.add(CPU + with_peers(peers), "% of a core", figures["cpu_s"] / figures["seconds"] * 100)
            if peers:
                each = figures["bytes"] / figures["seconds"] / peers
                collector.add(BYTES + with_peers(peers), "bytes/s", each)
    return collector.series()


# -- in a worker


def dial_often(context: Context, *, path: str, server: str, count: int) -> None:
    """Open `count` replicas in this process, and wait until each is in sync."""
    stack = context.closing.enter_context(ExitStack())
    for number in range(count):
        replica = stack.enter_context(lrep.open(f"{path}/{number}", {"servers": {server: {}}}))
        if not replica.wait_synced(replicas.SYNC_TIMEOUT_S):
            raise TimeoutError(f"replica {number} is not in sync")


def rest(context: Context, *, seconds: float) -> dict[str, float]:
    """Sleep, and return the CPU and the bytes that the replica used meanwhile."""
    time.sleep(min(seconds, 1.0))  # until the handshakes of the connections are over
    wire = replicas.counters(context)["bytes"]
    cpu, began = time.process_time(), time.monotonic()
    time.sleep(seconds)
    cpu, slept = time.process_time() - cpu, time.monotonic() - began
    return {"cpu_s": cpu, "seconds": slept, "bytes": replicas.counters(context)["bytes"] - wire}
