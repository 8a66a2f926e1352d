"""The growth of the cost of a local write: with the keys that a node holds, and with the size of the values."""

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import plyvel

import level_replicator as lrep
from bench import catch_up, replicas
from bench.data import key_of, pairs
from bench.figures import Collector, Series
from bench.options import Options
from bench.processes import Worker
from bench.worker import Context

HELD = "a put into a node that holds keys"
VALUES = "values of some size"
NEW, OVERWRITE = "of a new key", "over an old one"
BARE, PUT, SENT = "a put, bare plyvel", "a put, replica", "catch-up, an entry"
_PUTS = 2_000


def measure(options: Options, progress: Callable[[str], None]) -> list[Series]:
    held, values = Collector(HELD, over="keys held"), Collector(VALUES, over="bytes a value")
    for count in options.held:
        with TemporaryDirectory(dir=options.directory) as directory:
            path = str(Path(directory) / "node")
            progress(f"{HELD}: writing {count:,}")
            with Worker() as worker:
                worker.call(replicas.fill, path=path, count=count)
            for run in range(options.runs):
                with Worker() as worker:
                    figures = worker.call(put_some, path=path, count=count, first=count + run * _PUTS)
                for name in (NEW, OVERWRITE):
                    held.add(name, "µs", figures[name] * 1e6, at=count)
    for size in options.value_bytes:
        count = max(10, min(options.puts, options.values_total // size))
        for run in range(options.runs):
            progress(f"{count:,} values of {size:,} bytes, run {run + 1} of {options.runs}")
            with TemporaryDirectory(dir=options.directory) as directory:
                _measure_values(values, directory, size, count)
    return held.series() + values.series()


def _measure_values(collector: Collector, directory: str, size: int, count: int) -> None:
    source = f"{directory}/source"
    with Worker() as worker:
        seconds = worker.call(put_bare, path=f"{directory}/bare", size=size, count=count)
        collector.add(BARE, "µs", seconds / count * 1e6, at=size)
    with Worker() as sender, Worker() as receiver:
        address = sender.call(replicas.listen, path=source)
        seconds = sender.call(put, size=size, count=count)
        collector.add(PUT, "µs", seconds / count * 1e6, at=size, baseline=BARE)
        figures = receiver.call(catch_up.catch_up, path=f"{directory}/target", server=address)
        collector.add(SENT, "µs", figures["seconds"] / count * 1e6, at=size)
        collector.add(f"{SENT}: on the wire", "bytes", figures["bytes"] / count, at=size)


# -- in a worker


def put_some(context: Context, *, path: str, count: int, first: int) -> dict[str, float]:
    """Return the seconds of a put of a new key and of an existing one, for some keys spread over all."""
    context.replica = lrep.open(path)
    fresh = list(pairs(_PUTS, first=first))
    there = [(key_of(number * count // _PUTS), value) for number, (_, value) in enumerate(fresh)]
    return {name: _timed(context.replica, ready) / _PUTS for name, ready in ((NEW, fresh), (OVERWRITE, there))}


def put_bare(_context: Context, *, path: str, size: int, count: int) -> float:
    with plyvel.DB(path, create_if_missing=True) as db:
        return _timed(db, list(pairs(count, size)))


def put(context: Context, *, size: int, count: int) -> float:
    return _timed(context.replica, list(pairs(count, size)))


def _timed(database: plyvel.DB | lrep.Replica, ready: list[tuple[bytes, bytes]]) -> float:
    write = database.put
    began = time.monotonic()
    for key, value in ready:
        write(key, value)
    return time.monotonic() - began
