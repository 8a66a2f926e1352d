"""The time to open a node with many keys, after a clean stop and after a kill."""

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import level_replicator as lrep
from bench import replicas
from bench.data import pairs
from bench.figures import Collector, Series
from bench.options import Options
from bench.processes import Worker
from bench.worker import Context

GROUP = "opening a node"
CLEAN, KILLED = "after a clean stop", "after a kill"
_WRITES = 1_000
"""Writes between opening and kill."""


def measure(options: Options, progress: Callable[[str], None]) -> list[Series]:
    collector = Collector(GROUP, over="keys held")
    for count in options.held:
        with TemporaryDirectory(dir=options.directory) as directory:
            path = str(Path(directory) / "node")
            progress(f"{GROUP} of {count:,} keys: writing them")
            with Worker() as worker:
                worker.call(replicas.fill, path=path, count=count)
            for run in range(options.runs):
                progress(f"{GROUP} of {count:,} keys, run {run + 1} of {options.runs}")
                with Worker() as worker:
                    collector.add(CLEAN, "ms", 1000 * worker.call(open_it, path=path), at=count)
                    worker.call(write_some, count=min(count, _WRITES))
                    worker.kill()
                with Worker() as worker:
                    collector.add(KILLED, "ms", 1000 * worker.call(open_it, path=path), at=count)
    return collector.series()


# -- in a worker


def open_it(context: Context, *, path: str) -> float:
    """Return the seconds until a replica accepts writes and listens."""
    began = time.monotonic()
    context.replica = lrep.open(path, {"port": 0})
    return time.monotonic() - began


def write_some(context: Context, *, count: int) -> None:
    for key, value in pairs(count):
        context.replica.put(key, value[::-1])
