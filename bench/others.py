"""PouchDB and Redis on the same work, where they are installed: the same groups of figures, beside ours.

Both copy from one side only here: Redis has one leader, and of PouchDB the reader's side is what is compared.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from bench import catch_up, differing, latency, local_writes, overwrites, pouchdb, redis
from bench.disk import GROUP as DISK_GROUP
from bench.disk import RAW
from bench.figures import Collector, Series
from bench.options import Options

_SINGLE_PART = 10
"""Single writes are so many times fewer than those in batches: some take a millisecond each."""


class Pair(Protocol):
    """A node that is written to, and one that receives the writes, both processes of their own."""

    def write(self, count: int, batch: int, first: int = 0, over: int | None = None) -> float:
        """Return the seconds to write `count` pairs in batches, or singly with batches of 1. The keys begin at `first`;
        `over`: the number of different keys, which are then written again and again."""
        ...

    def connect(self) -> dict[str, float]:
        """Connect, and return the `seconds` until the second has everything, and the `bytes` between them."""
        ...

    def keep(self) -> None:
        """Keep the connection, so that each write is sent at once."""
        ...

    def disconnect(self) -> None: ...

    def latency(self, count: int, first: int) -> list[float]:
        """Return the milliseconds from the beginning of each of `count` writes until the second can read it."""
        ...

    def disk_bytes(self) -> tuple[int, int]:
        """Return the bytes of both nodes on the disk."""
        ...


def measure(options: Options, progress: Callable[[str], None]) -> list[Series]:
    series: list[Series] = []
    systems: dict[str, tuple[str | None, Callable[[Path], AbstractContextManager[Pair]]]] = {
        pouchdb.NAME: (pouchdb.version(options.peers), lambda path: pouchdb.Pair(path, options.peers)),
        redis.NAME: (redis.version(options.peers), redis.Pair),
    }
    for name, (version, pair) in systems.items():
        if version is None:
            progress(f"{name} is not installed, and left out (bench/README.md says how)")
        else:
            series += _measure(name, pair, options, progress)
    return series


def _measure(
    name: str, pair: Callable[[Path], AbstractContextManager[Pair]], options: Options, progress: Callable[[str], None]
) -> list[Series]:
    collectors = {
        "puts": Collector(local_writes.GROUPS["puts"]),
        "batches": Collector(local_writes.GROUPS["batches"]),
        "catch-up": Collector(catch_up.GROUP, over="entries"),
        "latency": Collector(latency.GROUP),
        "differ": Collector(differing.BY_KEYS, over="keys held"),
        "overwrites": Collector(overwrites.GROUP),
        "disk": Collector(DISK_GROUP),
    }
    for run in range(options.runs):
        progress(f"{name}, run {run + 1} of {options.runs}")
        with TemporaryDirectory(dir=options.directory) as directory, pair(Path(directory)) as both:
            _write_live(name, collectors, both, options.others)
        with TemporaryDirectory(dir=options.directory) as directory, pair(Path(directory)) as both:
            _replicate(name, collectors, both, options)
    return [series for collector in collectors.values() for series in collector.series()]


def _write_live(name: str, collectors: dict[str, Collector], both: Pair, count: int) -> None:
    both.connect()
    both.keep()
    single = max(1, count // _SINGLE_PART)
    bare = local_writes.BARE
    collectors["puts"].add(name, "entries/s", single / both.write(single, 1), baseline=bare)
    seconds = both.write(count, overwrites.BATCH, first=single)
    collectors["batches"].add(name, "entries/s", count / seconds, baseline=bare)


def _replicate(name: str, collectors: dict[str, Collector], both: Pair, options: Options) -> None:
    count = options.others
    both.write(count, overwrites.BATCH)
    figures = both.connect()
    collector = collectors["catch-up"]
    collector.add(name, "entries/s", count / figures["seconds"], baseline=catch_up.COPY, at=count)
    wire = catch_up.WIRE
    collector.add(name + wire, "bytes/entry", figures["bytes"] / count, baseline=catch_up.COPY + wire, at=count)
    for side, size in zip(("first", "second"), both.disk_bytes(), strict=True):
        collectors["disk"].add(f"{name}: the {side} node", "bytes/key", size / count, baseline=RAW)
    both.disconnect()
    both.write(min(differing.DIFFER, count // 10), 1, first=count // 2)
    figures = both.connect()
    collectors["differ"].add(name, "ms", 1000 * figures["seconds"], at=count)
    collectors["differ"].add(name + differing.WIRE, "bytes", figures["bytes"], at=count)
    both.disconnect()
    both.write(options.overwrites, overwrites.BATCH, over=overwrites.KEYS)
    figures = both.connect()
    collectors["overwrites"].add(f"{name}: {overwrites.CAUGHT_UP}", "ms", 1000 * figures["seconds"])
    collectors["overwrites"].add(f"{name}: {overwrites.WIRE_BYTES}", "bytes", figures["bytes"])
    both.keep()
    latency.add_percentiles(collectors["latency"], both.latency(options.latency_samples, count), f"{name}: ")
