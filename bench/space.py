"""What it costs to do without the log: truncation, filling an empty node, reconciling, adoption."""

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import plyvel

import level_replicator as lrep
from bench import catch_up, replicas
from bench.data import VALUE_BYTES, pairs
from bench.figures import Collector, Series
from bench.options import Options
from bench.processes import Worker
from bench.worker import Context, usage

BATCH = 1_000
DIFFER = 100
MIB = 1024 * 1024


def group_of(count: int) -> str:
    return f"without a log, {count:,} keys"


def measure(options: Options, progress: Callable[[str], None]) -> list[Series]:
    series: list[Series] = []
    for count in options.catch_up:
        collector = Collector(group_of(count))
        for run in range(options.runs):
            progress(f"{group_of(count)}, run {run + 1} of {options.runs}")
            with TemporaryDirectory(dir=options.directory) as directory:
                _run(collector, Path(directory), count)
        series += collector.series()
    return series


def _run(collector: Collector, directory: Path, count: int) -> None:
    source, target, raw = str(directory / "source"), str(directory / "target"), str(directory / "raw")
    with Worker() as worker:
        figures = worker.call(adopt, path=raw, count=count)
        collector.add("adoption", "keys/s", count / figures["seconds"])
        worker.call(catch_up.fill, path=source, count=count)
    with Worker() as sender:
        address = sender.call(replicas.listen, path=source)
        before = disk_bytes(source)
        figures = sender.call(truncate)
        collector.add("truncation", "entries/s", figures["entries"] / figures["seconds"])
        collector.add("on disk before it", "MiB", before / MIB)
        collector.add("on disk after it", "MiB", disk_bytes(source) / MIB)
        with Worker() as receiver:
            figures = receiver.call(catch_up.catch_up, path=target, server=address)
            collector.add("an empty node is filled", "entries/s", count / figures["seconds"])
            collector.add("an empty node is filled: on the wire", "bytes/entry", figures["bytes"] / count)
            collector.add("an empty node is filled: memory", "MiB", receiver.call(usage)["peak_mib"])
        with Worker() as receiver:
            receiver.call(catch_up.rest, path=target)
            receiver.call(replicas.dial, path=target, server=address)
            _account(collector, "equal keys compared", sender, receiver, compare)
        sender.call(overwrite, count=count)
        with Worker() as receiver:
            _account(collector, f"{DIFFER} keys differ", sender, receiver, reconnect, path=target, server=address)


def _account(
    collector: Collector,
    name: str,
    sender: Worker,
    receiver: Worker,
    function: Callable[..., dict[str, float]],
    **arguments: str,
) -> None:
    before = sender.call(usage)["cpu_s"]
    figures = receiver.call(function, **arguments)
    collector.add(name, "s", figures["seconds"])
    collector.add(f"{name}: on the wire", "bytes", figures["bytes"])
    collector.add(f"{name}: CPU of the reader", "s", figures["cpu_s"])
    collector.add(f"{name}: CPU of the peer", "s", sender.call(usage)["cpu_s"] - before)


def disk_bytes(path: str) -> int:
    return sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file())


# -- in a worker


def adopt(_context: Context, *, path: str, count: int) -> dict[str, float]:
    """Seconds to take over a LevelDB that another program wrote."""
    Path(path).mkdir()
    with plyvel.DB(f"{path}/db", create_if_missing=True) as db:
        batch = db.write_batch()
        for number, (key, value) in enumerate(pairs(count), 1):
            batch.put(key, value)
            if number % BATCH == 0 or number == count:
                batch.write()
                batch.clear()
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
    """Some keys, evenly spread over the order in which they were written, so anywhere in the order of keys."""
    step = count // DIFFER
    for number, (key, _) in enumerate(pairs(count)):
        if number % step == 0:
            context.replica.put(key, b"." * VALUE_BYTES)
    context.replica.truncate()


def compare(context: Context) -> dict[str, float]:
    """verify(peer), between two nodes that are level."""
    (peer,) = context.replica.status()["peers"]
    cpu, began = time.process_time(), time.monotonic()
    difference = context.replica.verify(peer["address"])
    seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    if not difference.equal:
        raise AssertionError(f"they differ: {difference}")
    (later,) = context.replica.status()["peers"]
    wire = later["bytes_in"] + later["bytes_out"] - peer["bytes_in"] - peer["bytes_out"]
    return {"seconds": seconds, "cpu_s": cpu, "bytes": wire}


def reconnect(context: Context, *, path: str, server: str) -> dict[str, float]:
    """From the connection to the last entry; opening the replica is not in it."""
    context.replica = lrep.open(path, {"servers": {server: {}}})
    cpu, began = time.process_time(), time.monotonic()
    replicas.wait_level(context)
    seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    (peer,) = context.replica.status()["peers"]
    return {"seconds": seconds, "cpu_s": cpu, "bytes": peer["bytes_in"] + peer["bytes_out"]}
