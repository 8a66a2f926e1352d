"""An empty replica connects to a full one, in two processes, until it has all; beside a plain copy."""

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import plyvel

import level_replicator as lrep
from bench import local_writes, plain_copy, replicas
from bench.data import pairs
from bench.figures import Collector, Series
from bench.options import Options
from bench.processes import Worker
from bench.worker import Context, usage

BATCH = 1_000
COPY, REPLICA, BARE_PUTS = "plain copy", "replica", "bare plyvel puts, meanwhile"


def group_of(count: int) -> str:
    return f"catch-up of {count:,} entries"


def measure(options: Options, progress: Callable[[str], None]) -> list[Series]:
    series: list[Series] = []
    for count in options.catch_up:
        collector = Collector(group_of(count))
        with TemporaryDirectory(dir=options.directory) as directory:
            source = str(Path(directory) / "source")
            progress(f"{group_of(count)}: filling the source")
            with Worker() as worker:
                worker.call(fill, path=source, count=count)
            for run in range(options.runs):
                progress(f"{group_of(count)}, run {run + 1} of {options.runs}")
                collector.add(BARE_PUTS, "entries/s", local_writes.bare_puts_per_s(options))
                for kind, transfer in ((COPY, _copy), (REPLICA, _catch_up)):
                    with (
                        TemporaryDirectory(dir=directory) as target,
                        Worker() as sender,
                        Worker() as receiver,
                    ):
                        figures = transfer(sender, receiver, source, target)
                    if figures["entries"] != count:
                        raise AssertionError(f"{kind}: {figures['entries']} entries of {count} arrived")
                    _collect(collector, kind, figures, count)
        series += collector.series()
    return series


def _collect(collector: Collector, kind: str, figures: dict[str, float], count: int) -> None:
    def add(what: str, unit: str, value: float) -> None:
        collector.add(kind + what, unit, value, baseline=None if kind == COPY else COPY + what)

    add("", "entries/s", count / figures["seconds"])
    add(": on the wire", "bytes/entry", figures["bytes"] / count)
    for side in ("sender", "receiver"):
        add(f": CPU of the {side}", "µs/entry", figures[f"{side} cpu_s"] / count * 1e6)
        add(f": peak memory of the {side}", "MiB", figures[f"{side} peak_mib"])


def _copy(sender: Worker, receiver: Worker, source: str, target: str) -> dict[str, float]:
    port = sender.call(plain_copy.listen, path=f"{source}/db")
    return used(sender, receiver, plain_copy.receive, path=f"{target}/db", port=port)


def _catch_up(sender: Worker, receiver: Worker, source: str, target: str) -> dict[str, float]:
    address = sender.call(replicas.listen, path=source)
    return used(sender, receiver, catch_up, path=target, server=address)


def used(sender: Worker, receiver: Worker, function: Callable[..., Any], **arguments: Any) -> dict[str, float]:
    """What the receiver says of the transfer, and what both sides used for it."""
    before = {"sender": sender.call(usage), "receiver": receiver.call(usage)}
    figures: dict[str, float] = receiver.call(function, **arguments)
    for side, worker in (("sender", sender), ("receiver", receiver)):
        after = worker.call(usage)
        figures[f"{side} cpu_s"] = after["cpu_s"] - before[side]["cpu_s"]
        figures[f"{side} peak_mib"] = after["peak_mib"]
    return figures


# -- in a worker


def fill(_context: Context, *, path: str, count: int) -> None:
    """A replica with `count` entries, at rest: what LevelDB still has to compact would disturb the first run."""
    with lrep.open(path) as replica:
        batch = replica.write_batch()
        for number, (key, value) in enumerate(pairs(count), 1):
            batch.put(key, value)
            if number % BATCH == 0 or number == count:
                batch.write()
                batch.clear()
    rest(_context, path=path)


def rest(_context: Context, *, path: str) -> None:
    """Lets a replica that nobody has open compact what it has to."""
    for name in ("db", "rs"):
        with plyvel.DB(f"{path}/{name}") as db:
            db.compact_range(start=b"\x00", stop=b"\xff")


def catch_up(context: Context, *, path: str, server: str, keys: dict[str, Any] | None = None) -> dict[str, float]:
    """Seconds from the opening of an empty replica until it has all, bytes both ways, and keys."""
    began = time.monotonic()
    replicas.dial(context, path=path, server=server, keys=keys)
    seconds = time.monotonic() - began
    status = context.replica.status()
    (peer,) = status["peers"]
    return {"seconds": seconds, "bytes": peer["bytes_in"] + peer["bytes_out"], "entries": status["keys"]}
