"""The costs without a log: truncation, bulk load of an empty node, reconciliation, adoption."""

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import plyvel

import level_replicator as lrep
from bench import catch_up, replicas
from bench.connecting import connect
from bench.data import VALUE_BYTES, pairs, write_all
from bench.disk import MIB, disk_bytes
from bench.figures import Collector, Series
from bench.options import Options
from bench.processes import Worker
from bench.worker import Context, usage

DIFFER = 100


GROUP = "without a log"


def measure(options: Options, progress: Callable[[str], None]) -> list[Series]:
    collector = Collector(GROUP, over="keys")
    for count in options.space:
        for run in range(options.runs):
            progress(f"{GROUP}, {count:,} keys, run {run + 1} of {options.runs}")
            with TemporaryDirectory(dir=options.directory) as directory:
                _run(collector, Path(directory), count)
    return collector.series()


def _run(collector: Collector, directory: Path, count: int) -> None:
    source, target, raw = str(directory / "source"), str(directory / "target"), str(directory / "raw")
    with Worker() as worker:
        figures = worker.call(adopt, path=raw, count=count)
        collector.add("adoption", "keys/s", count / figures["seconds"], at=count)
        worker.call(replicas.fill, path=source, count=count)
    with Worker() as sender:
        address = sender.call(replicas.listen, path=source)
        before = disk_bytes(source)
        figures = sender.call(truncate)
        collector.add("truncation", "entries/s", figures["entries"] / figures["seconds"], at=count)
        collector.add("on disk before it", "MiB", before / MIB, at=count)
        collector.add("on disk after it", "MiB", disk_bytes(source) / MIB, at=count)
        with Worker() as receiver:
            figures = receiver.call(catch_up.catch_up, path=target, server=address)
            collector.add("an empty node is filled", "entries/s", count / figures["seconds"], at=count)
            collector.add("an empty node is filled: on the wire", "bytes/entry", figures["bytes"] / count, at=count)
            collector.add("an empty node is filled: memory", "MiB", receiver.call(usage)["peak_mib"], at=count)
        with Worker() as receiver:
            receiver.call(replicas.rest, path=target)
            receiver.call(replicas.dial, path=target, server=address)
            before = sender.call(usage)["cpu_s"]
            figures = receiver.call(compare)
            figures["cpu_s"] += sender.call(usage)["cpu_s"] - before
            _add(collector, "equal keys compared", figures, count)
            receiver.call(replicas.close)
            sender.call(overwrite, count=count)
            _add(collector, f"{DIFFER} keys differ", connect(sender, receiver, target, address), count)


def _add(collector: Collector, name: str, figures: dict[str, float], count: int) -> None:
    collector.add(name, "s", figures["seconds"], at=count)
    collector.add(f"{name}: on the wire", "bytes", figures["bytes"], at=count)
    collector.add(f"{name}: CPU of both", "s", figures["cpu_s"], at=count)


# -- in a worker


def adopt(_context: Context, *, path: str, count: int) -> dict[str, float]:
    """Return the seconds to adopt a LevelDB that another program wrote."""
    Path(path).mkdir()
    with plyvel.DB(f"{path}/db", create_if_missing=True) as db:
        write_all(db, count)
        db.compact_range(start=b"\x00", stop=b"\xff")
    began = time.monotonic()
    with lrep.open(path, adopt=True) as replica:
        seconds = time.monotonic() - began
        if replica.status()["keys"] != count:
            raise AssertionError("not all keys were adopted")
    return {"seconds": seconds}


def truncate(context: Context) -> dict[str, float]:
    began = time.monotonic()
    entries = context.replica.truncate()
    return {"seconds": time.monotonic() - began, "entries": entries}


def overwrite(context: Context, *, count: int) -> None:
    """Overwrite keys that are evenly spread over the order of writes, so anywhere in the order of keys."""
    step = count // DIFFER
    for number, (key, _) in enumerate(pairs(count)):
        if number % step == 0:
            context.replica.put(key, b"." * VALUE_BYTES)
    context.replica.truncate()


def compare(context: Context) -> dict[str, float]:
    """Run verify(peer) between two nodes that are in sync."""
    (peer,) = context.replica.status()["peers"]
    cpu, began = time.process_time(), time.monotonic()
    difference = context.replica.verify(peer["address"])
    seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    if not difference.equal:
        raise AssertionError(f"they differ: {difference}")
    (later,) = context.replica.status()["peers"]
    wire = later["bytes_in"] + later["bytes_out"] - peer["bytes_in"] - peer["bytes_out"]
    return {"seconds": seconds, "cpu_s": cpu, "bytes": wire}
