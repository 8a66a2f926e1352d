"""The cost of TLS: catch-up of an empty replica, over TLS and plain TCP in turns; and how long a connection takes."""

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import level_replicator as lrep
from bench import catch_up, replicas
from bench.figures import Collector, Series
from bench.options import Options
from bench.processes import Worker
from bench.worker import Context

PLAIN, TLS = "plain TCP", "TLS 1.3"
_HANDSHAKES = 20


def measure(options: Options, progress: Callable[[str], None]) -> list[Series]:
    ours, theirs = lrep.generate_pems(), lrep.generate_pems()
    server: dict[str, Any] = {"pems": ours, "trusted": [lrep.fingerprint(theirs)]}
    client: dict[str, Any] = {"pems": theirs, "trusted": [lrep.fingerprint(ours)]}
    filled = Collector("what TLS costs: catch-up", over="entries")
    for count in options.space:
        with TemporaryDirectory(dir=options.directory) as directory:
            source = str(Path(directory) / "source")
            progress(f"TLS, {count:,} entries: writing the source")
            with Worker() as worker:
                worker.call(replicas.fill, path=source, count=count)
            for run in range(options.runs):
                progress(f"TLS, {count:,} entries, run {run + 1} of {options.runs}")
                # in turns: whoever goes first finds a colder disk
                kinds = [(PLAIN, None, None), (TLS, server, client)]
                for kind, listening, dialling in kinds if run % 2 == 0 else kinds[::-1]:
                    with TemporaryDirectory(dir=directory) as target, Worker() as sender, Worker() as receiver:
                        address = sender.call(replicas.listen, path=source, keys=listening)
                        figures = catch_up.used(
                            sender, receiver, catch_up.catch_up, path=target, server=address, keys=dialling
                        )
                    _collect(filled, kind, figures, count)
    collector = Collector("a connection, from dialling until the peer is in sync")
    for run in range(options.runs):
        progress(f"handshakes, run {run + 1} of {options.runs}")
        for kind, listening, dialling in ((PLAIN, None, None), (TLS, server, client)):
            with TemporaryDirectory(dir=options.directory) as directory, Worker() as acceptor, Worker() as dialler:
                address = acceptor.call(replicas.listen, path=f"{directory}/a", keys=listening)
                seconds = dialler.call(connect_often, path=f"{directory}/b", server=address, keys=dialling)
            collector.add(kind, "ms", seconds * 1000, baseline=PLAIN if kind == TLS else None)
    return filled.series() + collector.series()


def _collect(collector: Collector, kind: str, figures: dict[str, float], count: int) -> None:
    baseline = PLAIN if kind == TLS else None
    collector.add(kind, "entries/s", count / figures["seconds"], baseline=baseline, at=count)
    for side in catch_up.SIDES:
        what, cpu_us = f": CPU of the {side}", figures[f"{side} cpu_s"] / count * 1e6
        collector.add(kind + what, "µs/entry", cpu_us, baseline=baseline and PLAIN + what, at=count)


# -- in a worker


def connect_often(_context: Context, *, path: str, server: str, keys: dict[str, Any] | None) -> float:
    """Return the mean seconds from opening a replica until it is in sync."""
    began = time.monotonic()
    for _ in range(_HANDSHAKES):
        with lrep.open(path, {"servers": {server: {}}, **(keys or {})}) as replica:
            if not replica.wait_synced(60):
                raise TimeoutError("not in sync")
    return (time.monotonic() - began) / _HANDSHAKES
