"""Nodes in a full mesh, each a process of its own, which all write at once: the rate at which all have all writes."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import level_replicator as lrep
from bench import replicas
from bench.data import pairs
from bench.figures import Collector, Series
from bench.options import Options
from bench.processes import Worker
from bench.worker import Context

GROUP = "all nodes of a mesh write"
RATE, CROSSED, AT_MOST = (
    "written, and everywhere",
    "crossings of links, of the fewest there can be",
    "on the worst link",
)
PAIR = 2
MESH = 8
SETTLE_S = 0.2


def measure(options: Options, progress: Callable[[str], None]) -> list[Series]:
    collector = Collector(GROUP, over="nodes")
    for run in range(options.runs):
        for nodes in options.nodes:
            progress(f"{nodes} nodes, run {run + 1} of {options.runs}")
            with TemporaryDirectory(dir=options.directory) as directory:
                _run(collector, Path(directory), nodes, options.mesh_puts // nodes)
    return collector.series()


def _run(collector: Collector, directory: Path, nodes: int, each: int) -> None:
    total = nodes * each
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker()) for _ in range(nodes)]
        addresses: list[str] = []
        for number, worker in enumerate(workers):
            addresses.append(worker.call(join, path=str(directory / str(number)), servers=addresses))
        for worker in workers:
            worker.call(await_peers, count=nodes - 1)
        begin = time.monotonic() + SETTLE_S
        for number, worker in enumerate(workers):
            worker.begin(write, count=each, first=number * each, begin=begin)
        for worker in workers:
            worker.result()
        for worker in workers:
            worker.begin(await_keys, count=total)
        seconds = max(worker.result() for worker in workers) - begin
        links = [crossed for worker in workers for crossed in worker.call(crossings)]
    collector.add(RATE, "entries/s", total / seconds, at=nodes)
    # both ends of a link count what crosses it; each node but its writer must get a change once, over some link
    collector.add(CROSSED, "×", sum(links) / 2 / (total * (nodes - 1)), at=nodes)
    collector.add(f"{CROSSED}, {AT_MOST}", "× changes", max(links) / total, at=nodes)


# -- in a worker


def join(context: Context, *, path: str, servers: list[str]) -> str:
    """Open a replica that listens, and dials the earlier ones."""
    context.replica = lrep.open(path, {"port": 0, "servers": {server: {} for server in servers}})
    address = context.replica.address
    assert address is not None
    return f"{address[0]}:{address[1]}"


def await_peers(context: Context, *, count: int) -> None:
    give_up = time.monotonic() + replicas.SYNC_TIMEOUT_S
    while sum(peer["state"] == "live" for peer in context.replica.status()["peers"]) < count:
        if time.monotonic() > give_up:
            raise TimeoutError("the mesh does not stand")
        time.sleep(0.01)


def write(context: Context, *, count: int, first: int, begin: float) -> None:
    """Do single puts of keys that no other node writes, beginning at the same time as the others."""
    put, ready = context.replica.put, list(pairs(count, first=first))
    time.sleep(max(0.0, begin - time.monotonic()))
    for key, value in ready:
        put(key, value)


def await_keys(context: Context, *, count: int) -> float:
    """Wait for all keys, and return the time on the clock that all processes share."""
    give_up = time.monotonic() + replicas.SYNC_TIMEOUT_S
    while True:
        ended = replicas.wait_in_sync(context)
        if replicas.count_keys(context) == count:
            return ended
        if time.monotonic() > give_up:
            raise TimeoutError(f"{replicas.count_keys(context)} keys of {count}")


def crossings(context: Context) -> list[int]:
    """Return the number of entries that crossed the link with each peer, both ways."""
    peers: list[dict[str, Any]] = context.replica.status()["peers"]
    return [peer["entries_in"] + peer["entries_out"] for peer in peers]
