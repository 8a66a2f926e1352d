"""Puts with `sync=True`, beside bare LevelDBs that sync as often; by one thread, and by 16 at once."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import plyvel

import level_replicator as lrep
from bench.data import pairs
from bench.figures import Collector, Series
from bench.options import Options
from bench.processes import Worker
from bench.worker import Context

GROUP = "puts with sync=True"
ONE_DB, TWO_DBS, REPLICA = "bare plyvel", "plyvel, two LevelDBs", "replica"
THREADS = 16
_KINDS = (ONE_DB, TWO_DBS, REPLICA)


def by(threads: int, kind: str) -> str:
    return f"{kind}, {threads} thread{'s' if threads > 1 else ''}"


def measure(options: Options, progress: Callable[[str], None]) -> list[Series]:
    collector = Collector(GROUP)
    for run in range(options.runs):
        progress(f"{GROUP}, run {run + 1} of {options.runs}")
        for threads in (1, THREADS):
            # in turns: whoever goes first finds a colder disk
            for kind in _KINDS if run % 2 == 0 else _KINDS[::-1]:
                with TemporaryDirectory(dir=options.directory) as directory, Worker() as worker:
                    seconds = worker.call(write, path=directory, kind=kind, threads=threads, count=options.synced_puts)
                baseline = None if kind == TWO_DBS else by(threads, TWO_DBS)
                collector.add(by(threads, kind), "entries/s", options.synced_puts / seconds, baseline=baseline)
    return collector.series()


# -- in a worker


def write(context: Context, *, path: str, kind: str, threads: int, count: int) -> float:
    """Return the seconds for `count` puts of all threads together, after some puts that give the files a size."""
    databases: list[Any] = [
        context.closing.enter_context(plyvel.DB(str(Path(path) / name), create_if_missing=True))
        for name in {ONE_DB: ["one"], TWO_DBS: ["one", "two"]}.get(kind, [])
    ]
    if kind == REPLICA:
        databases = [context.closing.enter_context(lrep.open(path))]
    warm_up, ready = pairs(count // 10, first=count), list(pairs(count))

    def put(mine: list[tuple[bytes, bytes]]) -> None:
        for key, value in mine:
            for database in databases:
                database.put(key, value, sync=True)

    put(list(warm_up))
    workers = [threading.Thread(target=put, args=(ready[number::threads],)) for number in range(threads)]
    began = time.monotonic()
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    return time.monotonic() - began
