"""Single puts and batches: one bare LevelDB, two of them, a replica alone, a replica with a live peer."""

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import level_replicator as lrep
from bench import replicas
from bench.data import BATCH, pairs
from bench.figures import Collector, Series
from bench.options import Options
from bench.processes import Worker
from bench.worker import Context
from level_replicator import plyvel

GROUPS = {"puts": "single puts", "batches": "batches of 1,000"}
BARE, TWO, ALONE = "bare plyvel", "plyvel, two LevelDBs", "replica alone"
LIVE, LIVE_ARRIVED = "replica, peer connected: written", "replica, peer connected: peer has everything"

_Pairs = list[tuple[bytes, bytes]]


def measure(options: Options, progress: Callable[[str], None]) -> list[Series]:
    collectors = {how: Collector(group) for how, group in GROUPS.items()}
    for run in range(options.runs):
        for how, collector in collectors.items():
            progress(f"{GROUPS[how]}, run {run + 1} of {options.runs}")
            _measure_once(how, collector, options)
    return [series for collector in collectors.values() for series in collector.series()]


def _measure_once(how: str, collector: Collector, options: Options) -> None:
    def add(name: str, seconds: float) -> None:
        collector.add(name, "entries/s", options.puts / seconds, baseline=None if name == BARE else BARE)

    add(BARE, _in_one_worker(write_bare, how, options))
    add(TWO, _in_one_worker(write_two, how, options))
    add(ALONE, _in_one_worker(write_alone, how, options))
    written_s, arrived_s = _with_peer(how, options)
    add(LIVE, written_s)
    add(LIVE_ARRIVED, arrived_s)


def _in_one_worker(function: Callable[..., list[float]], how: str, options: Options) -> float:
    with TemporaryDirectory(dir=options.directory) as directory, Worker() as worker:
        began, ended = worker.call(function, path=directory, how=how, count=options.puts)
    return float(ended - began)


def _with_peer(how: str, options: Options) -> tuple[float, float]:
    """Return the seconds until everything was written, and until the peer, in a process of its own, had it."""
    with TemporaryDirectory(dir=options.directory) as directory, Worker() as writer, Worker() as peer:
        address = writer.call(replicas.listen, path=str(Path(directory) / "writer"))
        peer.call(replicas.dial, path=str(Path(directory) / "peer"), server=address)
        writer.call(replicas.wait_in_sync)
        began, ended = writer.call(write_live, how=how, count=options.puts)
        arrived = peer.call(replicas.wait_in_sync)
        keys = peer.call(replicas.count_keys)
    if keys != options.puts:
        raise AssertionError(f"the peer has {keys} keys of {options.puts}")
    return ended - began, arrived - began


# -- in a worker


def write_bare(_context: Context, *, path: str, how: str, count: int) -> list[float]:
    with plyvel.DB(f"{path}/db", create_if_missing=True) as db:
        return _timed(_HOW[how], [db], count)


def write_two(_context: Context, *, path: str, how: str, count: int) -> list[float]:
    one, two = (plyvel.DB(f"{path}/{name}", create_if_missing=True) for name in ("one", "two"))
    with one, two:
        return _timed(_HOW[how], [one, two], count)


def write_alone(_context: Context, *, path: str, how: str, count: int) -> list[float]:
    with lrep.open(path) as replica:
        return _timed(_HOW[how], [replica], count)


def write_live(context: Context, *, how: str, count: int) -> list[float]:
    return _timed(_HOW[how], [context.replica], count)


def _timed(write: Callable[[list[Any], _Pairs], None], databases: list[Any], count: int) -> list[float]:
    """Write, and return when it began and ended."""
    ready = list(pairs(count))
    began = time.monotonic()
    write(databases, ready)
    return [began, time.monotonic()]


def _put(databases: list[Any], ready: _Pairs) -> None:
    if len(databases) == 1:
        put = databases[0].put
        for key, value in ready:
            put(key, value)
        return
    one, two = (database.put for database in databases)
    for key, value in ready:
        one(key, value)
        two(key, value)


def _put_in_batches(databases: list[Any], ready: _Pairs) -> None:
    for start in range(0, len(ready), BATCH):
        for database in databases:
            with database.write_batch() as batch:
                put = batch.put
                for key, value in ready[start : start + BATCH]:
                    put(key, value)


_HOW: dict[str, Callable[[list[Any], _Pairs], None]] = {"puts": _put, "batches": _put_in_batches}
